import type { local } from "@pulumi/command";
import type { Resource } from "@pulumi/pulumi";
import { environmentOf, type Site } from "../rollout/step-environment.ts";
import { step } from "./step.ts";

export interface GuardArgs {
  cluster: string;
  site: Site;
  /** Whether `pulumi destroy` may take the cluster away. Counts as of the last update: a destroy does not run the program. */
  allowDestroy: boolean;
  /** Every join of the cluster. */
  joins: Resource[];
}

/**
 * Stands before every node of a cluster: a destroy deletes it first. It then refuses, or marks the cluster as going away,
 * so that nodes are powered off without draining them onto nodes that go as well.
 */
export function clusterGuard(name: string, { cluster, site, allowDestroy, joins }: GuardArgs): local.Command {
  const verbs = { create: "guard", update: "guard", delete: "unguard" };
  return step(name, verbs, environmentOf({ cluster, site, allowDestroy }), { dependsOn: joins });
}
