import type { local } from "@pulumi/command";
import type { ComponentResourceOptions, Resource } from "@pulumi/pulumi";
import { environmentOf, type Site } from "../src/domain/model/step-environment.ts";
import { step } from "./step.ts";

export interface GuardArgs {
  cluster: string;
  site: Site;
  /**
   * Whether `pulumi destroy` may tear the cluster down. The last update's value counts: a destroy does not run the
   * program.
   */
  allowDestroy: boolean;
  /** The last steps of every pool: a destroy that is refused has then not removed any of them from the state. */
  after: Resource[];
}

/**
 * The guard of a cluster: a destroy deletes it before everything else. Its delete refuses the destroy, or marks the
 * cluster as being torn down, so that nodes are powered off without being drained onto nodes that are destroyed too. It
 * depends on everything, because the engine deletes by depth, so it exists once an update has succeeded. Until then the
 * claim and the join of each node themselves know whether a destroy is allowed (src/domain/rollout/graph.ts).
 */
export function clusterGuard(
  name: string,
  { cluster, site, allowDestroy, after }: GuardArgs,
  { parent, aliases }: Pick<ComponentResourceOptions, "parent" | "aliases"> = {},
): local.Command {
  const environment = environmentOf({ cluster, site, allowDestroy });
  const place = { ...(parent && { parent }), ...(aliases && { aliases }) };
  return step({ name, verb: "guard", deleteVerb: "unguard" }, environment, { ...place, dependsOn: after });
}
