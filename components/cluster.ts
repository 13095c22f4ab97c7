import { type ComponentResourceOptions, type Input, type Resource } from "@pulumi/pulumi";
import type { local } from "@pulumi/command";
import type { PlannedCluster } from "../src/domain/rollout/planned.ts";
import { ControlPlane } from "./control-plane.ts";
import { clusterGuard } from "./guard.ts";
import { NodePool } from "./node-pool.ts";

/** What a cluster consists of. */
export interface ClusterParts {
  controlPlane: ControlPlane;
  /** Pools of agents, removed ones included while nodes or VMs of them are left. */
  pools: NodePool[];
  /** Its delete refuses a destroy that is not allowed. It comes after everything else of the cluster. */
  guard: local.Command;
}

/**
 * Declares a planned cluster: the control plane, then the pools of agents, and the guard after all of them.
 * @param options of each part; what they depend on, all resources of the cluster wait for
 */
export function declareCluster(
  { cluster, site, allowDestroy, ...planned }: PlannedCluster,
  { dependsOn, ...options }: ComponentResourceOptions = {},
): ClusterParts {
  const before = [dependsOn ?? []].flat() as Input<Resource>[];
  const name = (pool: string): string => `${cluster}-${pool}`;
  const controlPlane = new ControlPlane(name(planned.controlPlane.plan.pool), planned.controlPlane, {
    ...options,
    dependsOn: before,
  });
  const after = { ...options, dependsOn: [...before, ...controlPlane.verified] };
  const pools = planned.pools.map((pool) => new NodePool(name(pool.plan.pool), pool, after));
  const all = [controlPlane, ...pools].flatMap(({ verified, kept }) => [...verified, ...kept]);
  const guard = clusterGuard(`${cluster}-guard`, { cluster, site, allowDestroy, after: all }, options);
  return { controlPlane, pools, guard };
}
