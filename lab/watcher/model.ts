/** The facts that the watcher knows, so that every check is a pure function of them. */

export interface VmFact {
  vmid: number;
  name: string;
  uuid: string;
  running: boolean;
  template: boolean;
  tags: readonly string[];
  /** True when the lab created it, not the tool under test: only the lab may touch it. */
  seeded: boolean;
}

export interface NodeFact {
  name: string;
  uuid: string;
  ready: boolean;
  schedulable: boolean;
  /** `v1.34.4+rke2r1` */
  kubelet: string;
  server: boolean;
  /** Label `evergreen.dev/pool`; "" when it has none. */
  pool: string;
  /** Label `evergreen.dev/slot`; "" when it has none. */
  slot: string;
}

export interface PodFact {
  uid: string;
  namespace: string;
  name: string;
  node: string;
  labels: Readonly<Record<string, string>>;
  /** Kind of the controlling owner; "" when it has none. */
  owner: string;
  ready: boolean;
  /** A deletion is under way. */
  deleting: boolean;
  /** Reason of the condition DisruptionTarget; "" when it has none. */
  disruption: string;
  /** Succeeded or Failed: it no longer serves. */
  ended: boolean;
}

export interface BudgetFact {
  namespace: string;
  name: string;
  selector: Readonly<Record<string, string>>;
  /** Healthy pods that the budget requires, as the disruption controller computed it. */
  desiredHealthy: number;
}

export interface MemberFact {
  /** Name of the etcd member: its Node's name and a suffix, as RKE2 names it. */
  name: string;
  learner: boolean;
  healthy: boolean;
}

/** How far a pool may fall below or exceed its slots; set by the test or the demo. */
export interface PoolLimits {
  slots: number;
  /** VMs more than slots that may run and be nodes. */
  surge: number;
  maxUnavailable: number;
  /**
   * VMs besides these that may run before they are nodes: booted ahead, with RKE2 held back.
   * @default 0
   */
  ahead?: number;
}

/** Everything that is known at one moment. */
export interface Model {
  vms: ReadonlyMap<number, VmFact>;
  nodes: ReadonlyMap<string, NodeFact>;
  /** By uid. */
  pods: ReadonlyMap<string, PodFact>;
  /** By `namespace/name`. */
  budgets: ReadonlyMap<string, BudgetFact>;
  /** Budgets that were satisfied once: before that the workload is still starting. */
  armedBudgets: ReadonlySet<string>;
  members: readonly MemberFact[];
  /** Server slots that have had a voter: the cluster may never have fewer voters than that. */
  serverSlots: ReadonlySet<string>;
  limits: Readonly<Record<string, PoolLimits>>;
  /** Pools whose slots were all available once since their limits were set. */
  armedPools: ReadonlySet<string>;
}

export type Invariant =
  | "budget"
  | "eviction-only"
  | "owned-only"
  | "quorum"
  | "one-learner"
  | "members-kept"
  | "version-order"
  | "availability"
  | "surge"
  | "member-destroyed"
  | "cordon-left"
  | "orphan"
  | "empty-slot"
  | "duplicate";

/** A check's finding. The same invariant and subject are the same violation as long as it lasts. */
export interface Finding {
  invariant: Invariant;
  subject: string;
  evidence: string;
}

/** A recorded finding. */
export interface Violation extends Finding {
  /** When it was first seen, ISO 8601. */
  at: string;
}

/** Whether an etcd member is that of a node: RKE2 names it after its Node, followed by a dash and eight hex digits. */
export const isMemberOf = (member: string, node: string): boolean => member.replace(/-[0-9a-f]{8}$/, "") === node;

export const tagOf = (vm: VmFact, prefix: string): string =>
  vm.tags.find((tag) => tag.startsWith(prefix))?.slice(prefix.length) ?? "";
