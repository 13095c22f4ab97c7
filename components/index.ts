/** The components, for any program (examples/). */
export { ArgumentErrors } from "./arguments.ts";
export { Cluster, declareCluster, type ClusterParts } from "./cluster.ts";
export type * from "./cluster-args.ts";
export { ControlPlane, type ControlPlaneArgs } from "./control-plane.ts";
export { clusterGuard, type GuardArgs } from "./guard.ts";
export { GoldenImage, type BakePlaceArgs, type GoldenImageArgs, type GoldenTemplate } from "./golden-image.ts";
export { NodePool, type NodePoolArgs } from "./node-pool.ts";
export type { PoolNode } from "./pool.ts";
export { Slot, type SlotArgs } from "./slot.ts";
export type { PlannedCluster, PlannedPool } from "../src/domain/rollout/planned.ts";
