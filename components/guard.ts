import type { local } from "@pulumi/command";
import type { Resource } from "@pulumi/pulumi";
import { environmentOf, type Site } from "../src/domain/model/step-environment.ts";
import { step } from "./step.ts";

export interface GuardArgs {
  cluster: string;
  site: Site;
  /** Whether `pulumi destroy` may take the cluster away. Counts as of the last update: a destroy does not run the program. */
  allowDestroy: boolean;
  /** The last step of every pool: a destroy that is refused has then not forgotten a single one. */
  after: Resource[];
}

/**
 * Stands before everything of a cluster: a destroy deletes it first. It then refuses, or marks the cluster as going away,
 * so that nodes are powered off without draining them onto nodes that go as well. It depends on everything, for the engine
 * deletes by depth; so it is there once an update has succeeded. Until then the claim and the join of each node know
 * themselves whether a destroy is allowed (src/domain/rollout/graph.ts).
 */
export function clusterGuard(name: string, { cluster, site, allowDestroy, after }: GuardArgs): local.Command {
  const environment = environmentOf({ cluster, site, allowDestroy });
  return step({ name, verb: "guard", deleteVerb: "unguard" }, environment, { dependsOn: after });
}
