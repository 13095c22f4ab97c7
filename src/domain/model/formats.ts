/**
 * Everything that outlives a run, in one place: names in the state of the engine, in the cluster, on Proxmox VE and in
 * the scripts of users. None of it changes without a migration; test/domain/model/formats.test.ts holds it. Elsewhere:
 * the environment of a step (step-environment.ts), guest paths (images/contract.ts), configuration keys (src/config/).
 */

/** Type tokens of our components. Another token is another resource. */
export const typeTokens = {
  cluster: "evergreen:index:Cluster",
  nodePool: "evergreen:index:NodePool",
  slot: "evergreen:index:Slot",
  goldenImage: "evergreen:index:GoldenImage",
} as const;

/** The interpreter of a step, relative to the project, so that the state is the same from every checkout. */
export const stepInterpreter = "./bin/step";

/** Namespace of all objects that we keep in a cluster. */
export const namespace = "evergreen-system";

/** Labels of our nodes. */
export const labels = {
  cluster: "evergreen.dev/cluster",
  pool: "evergreen.dev/pool",
  slot: "evergreen.dev/slot",
  generation: "evergreen.dev/generation",
  server: "node-role.kubernetes.io/control-plane",
} as const;

/** Annotation with the id of the run that cordoned a node: only such a cordon is ever undone. */
export const cordonedBy = "evergreen.dev/cordoned-by";

/** Annotation with the id of the run that began to empty a node which somebody else had cordoned. */
export const emptiedBy = "evergreen.dev/emptied-by";

/** Taint of nodes that are about to be replaced: new pods prefer other nodes, so that they do not move twice. */
export const leaving = { key: "evergreen.dev/leaving", effect: "PreferNoSchedule" } as const;

/** Annotation with the id of the run that asked Longhorn to evict a node: only such a request is ever undone. */
export const evictionRequestedBy = "evergreen.dev/eviction-requested-by";

/**
 * Annotation with the id of the run that turned Longhorn's scheduling off for a node. When missing, scheduling was off
 * before and stays so.
 */
export const schedulingStoppedBy = "evergreen.dev/scheduling-stopped-by";

/** Leases, by name. `slot`: one step at a time works on its nodes. `disruption`: one of `maxUnavailable` of a pool. */
export const leaseNames = {
  update: "update",
  slot: (pool: string, slot: number) => `slot-${pool}-${slot}`,
  disruption: (pool: string, number: number) => `ticket-${pool}-${number}`,
} as const;

/** ConfigMaps of the record, by name: facts about the cluster, about a pool, and about the nodes of one slot. */
export const recordMaps = {
  cluster: "cluster",
  pool: (pool: string) => `pool-${pool}`,
  slot: (pool: string, slot: number) => `slot-${pool}-${slot}`,
} as const;

/** Keys of the ConfigMap about the cluster: what the last update wants of it. */
export const clusterKeys = {
  goingAway: "goingAway",
  servers: "servers",
  slots: (pool: string) => `slots.${pool}`,
  maxUnavailable: (pool: string) => `maxUnavailable.${pool}`,
  tags: (pool: string) => `tags.${pool}`,
} as const;

/**
 * Tags of a node's VM: one alone, and four that begin with a prefix. `member` is there from the first start of a node
 * until its decommissioning; `uid`, with the beginning of its cluster's uid, from that start on for good.
 */
export const vmTags = {
  ours: "evergreen",
  member: "eg-member",
  cluster: "eg-cluster-",
  generation: "eg-gen-",
  pool: "eg-pool-",
  slot: "eg-slot-",
  uid: "eg-uid-",
} as const;

/** Tags of a template: it is an image, and of which version of RKE2; `bake`: of the VM that shall become one. */
export const imageTags = { image: "eg-image", rke2: "rke2-", bake: "eg-bake" } as const;
