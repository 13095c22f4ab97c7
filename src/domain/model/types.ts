/**
 * The words of a rollout. A pool has slots; a slot holds one node at a time; a node is a VM of one generation; a
 * generation is the content that makes a node what it is.
 */

import type { Json } from "./canonical.ts";
import type { Displaced } from "../availability/placement.ts";

export type Role = "server" | "agent";

/** What makes a node what it is. A change of any field makes another generation, so other VMs. */
export interface NodeSpec {
  /** Name of the template that is cloned, with its version: `ubuntu-24.04-rke2-v1.0.0`. */
  image: string;
  /** RKE2 version that the image holds: `v1.34.4+rke2r1`. */
  rke2: string;
  cores: number;
  memoryMiB: number;
  diskGiB: number;
  /** Node labels beside our own. */
  labels?: Record<string, string>;
  /** Taints that the node keeps, as `key=value:Effect`. */
  taints?: string[];
  /** Taints that the node registers with and that its own daemons remove once they work, as `key=value:Effect`. */
  startupTaints?: string[];
  /** Counter that rolls a pool without any other change. */
  rollout?: number;
  /** RKE2 configuration beside our own, merged into the join fragment. */
  config?: Record<string, Json>;
  /**
   * Counts how often a slot of servers came back to this content while the VM that it had left was still there: a member
   * that was taken out of etcd can never come back with its data, so it gets a successor. Planned, never configured.
   * @default 0
   */
  incarnation?: number;
}

export interface Generation {
  /** Eight hex digits: the hash of the spec, defaults left out. */
  id: string;
  spec: NodeSpec;
}

/** A number of nodes, or a share of the pool's slots in percent, rounded up, at least one. */
export type Share = { nodes: number } | { percent: number };

export interface Strategy {
  kind: "blueGreen" | "rolling";
  /** VMs more than slots that may run at once. */
  surge: number;
  /** Slots that may lack a serving node at once. 0 is not possible: a handover takes one node out while its successor serves. */
  maxUnavailable: number;
  /** Replace this many slots first and stop until their soak is over. */
  canary?: Share;
  /** Time that new nodes must hold before they count as proved, in seconds. */
  soakSeconds: number;
  /** What the run after a failed verdict does: keep everything as it is, or return to the proved generation. */
  onFailure: "hold" | "rollback";
  /** Servers: whether the only one may be replaced. Absent: it may not. */
  replaceOnlyServer?: true;
}

/** The numbers that a pool owns. */
export interface Range {
  /** First and last VMID, both included. */
  first: number;
  last: number;
  /** IPv4 address of the first VMID; the others follow. Absent: DHCP. */
  firstAddress?: string;
}

/** A pool as the configuration wants it. */
export interface PoolSpec {
  cluster: string;
  name: string;
  role: Role;
  slots: number;
  node: NodeSpec;
  strategy: Strategy;
  range: Range;
  /** Absent: a node with volumes on it alone may not leave, and a VM that was kept for some stays a week. */
  localVolumes?: LocalVolumePolicy;
}

/** A volume that is on one disk alone. */
export interface KeptVolume {
  /** `namespace/name`. */
  claim: string;
  /** As the volume says it: `10Gi`. */
  size: string;
}

/** What becomes of volumes that only a leaving node can reach. */
export interface LocalVolumePolicy {
  /** Whether such a node may leave at all. */
  mayLeave: boolean;
  /** How long its VM is kept after that, off, in seconds. */
  keepSeconds: number;
}

/** A VM of ours as Proxmox shows it. */
export interface ObservedVm {
  vmid: number;
  name: string;
  /** Proxmox host. */
  host: string;
  running: boolean;
  /** What Proxmox calls its state when it is neither running nor stopped: `paused`, `io-error`, ... For a reader. */
  state?: string;
  /**
   * Why nobody can say how it is: its Proxmox host does not answer. `running` is false then and says nothing, and the uuid is
   * the one that is remembered, empty when none is.
   */
  unreachable?: string;
  /** SMBIOS uuid, lower case. */
  uuid: string;
  pool: string;
  slot: number;
  generation: string;
}

/** A member of the cluster as Kubernetes shows it. */
export interface ObservedNode {
  name: string;
  /** SMBIOS uuid, lower case. */
  uuid: string;
  ready: boolean;
  schedulable: boolean;
  kubelet: string;
  role: Role;
  pool: string;
  slot: number;
  generation: string;
}

/**
 * `made`: cloned and claimed, not a member yet. `joined`: a verified member that does not own its slot yet. `handedOver`: it owns the slot. `failed`: it was judged.
 * `retired`: drained, wiped and off; the engine deletes its VM at the end of the run. The fact is kept until a later run
 * sees that the VM is gone: without it, a VM that we deleted looks like one that was deleted by hand.
 */
export type SlotPhase = "made" | "joined" | "handedOver" | "failed" | "retired";

/** What is remembered of a slot's node. */
export interface NodeRecord {
  name: string;
  slot: number;
  generation: string;
  vmid: number;
  /** SMBIOS uuid recorded when we made the VM: the only proof that it is ours. */
  uuid: string;
  /** IPv4 address that the VM was made with; it keeps it when the pool's range moves. Absent: DHCP. */
  address?: string;
  phase: SlotPhase;
  /** ISO 8601. */
  since: string;
  /** Controllers whose pods its handover has evicted, until all of them have a place again. Absent: none. */
  displaced?: Displaced[];
  /**
   * Bound volumes that are on its disk alone: its VM outlives its retirement (src/domain/rollout/kept.ts). Written before the node is
   * disturbed, and taken off by a later run alone. Absent: its VM goes when it was retired.
   */
  keeps?: KeptVolume[];
}

export type GenerationState = "rolling" | "soaking" | "proved" | "failed";

/** What is remembered of a generation of a pool. */
export interface GenerationRecord {
  id: string;
  spec: NodeSpec;
  state: GenerationState;
  /** When it came into this state, ISO 8601. */
  since: string;
  /** Why, in words for the operator: the failing gate, the fault. */
  why?: string;
}

/** A pool's memory: a ConfigMap in the cluster. Absent before the first node has joined. */
export interface PoolRecord {
  pool: string;
  generations: GenerationRecord[];
  nodes: NodeRecord[];
  /** When the last run that healed somebody set out to do so, ISO 8601. Absent: none did. */
  healing?: string;
}

/** What both APIs say about one pool, read once at program start. */
export interface ObservedPool {
  vms: ObservedVm[];
  nodes: ObservedNode[];
  /** Every VMID that exists in the data centre as far as the token can see, and those of `hiddenVmids`. */
  takenVmids: number[];
  /** VMIDs of remembered nodes that somebody has without the token seeing the VM. @default none */
  hiddenVmids?: number[];
}

/** What one slot shall be after this run. */
export interface SlotPlan {
  slot: number;
  generation: Generation;
  /** `<cluster>-<pool>-<slot>-<generation>`: VM, Node and host name. */
  name: string;
  vmid: number;
  address?: string;
  /** True when no VM of that name exists yet. */
  creates: boolean;
  /** Names of the live nodes of this slot that leave when it is handed over. */
  replaces: string[];
  /**
   * A Proxmox host that does not answer has a VM of this slot, of its own node or of another: nothing of the slot moves.
   * Absent: all can be asked.
   */
  unreachable?: { host: string; own: boolean };
  /** Other nodes of the slot on such a host, which stay as they are: the engine must not delete their VMs either. */
  stranded?: StrandedNode[];
  /** Nobody serves in it: who had it has no power, is not Ready, or was taken out, and nobody stands in. Absent: somebody does. */
  fallen?: true;
}

/** The VM of a retired node that holds data which nothing else has. */
export interface KeptVm {
  slot: number;
  name: string;
  vmid: number;
  /** Proxmox host. */
  host: string;
  generation: string;
  /** Undefined: nobody remembers it, as of an adopted node. */
  spec: NodeSpec | undefined;
  volumes: KeptVolume[];
  /** The first run after that destroys it, ISO 8601. Absent: it is retired in this run. */
  until?: string;
}
/** A node that is nothing to its slot any more, and whose VM cannot be asked or destroyed. */
export type StrandedNode = Pick<SlotPlan, "name" | "vmid" | "generation" | "address">;

/** Where the VM of a node is, or shall be, and what it is made of. */
export interface VmPlacement {
  /** Proxmox host: where it is; of a new one where it shall be cloned. */
  host: string;
  /** The template that it is cloned from. Absent: it exists, and its template may be gone. */
  template?: { vmid: number; host: string };
  tags: string[];
}

/** A node whose VM has its place. */
export type PlacedNode = Omit<SlotPlan, "stranded"> & { vm: VmPlacement };

/** A slot whose nodes' VMs have their places. */
export type PlacedSlot = PlacedNode & { stranded?: (StrandedNode & { vm: VmPlacement })[] };

/** A plan whose nodes' VMs have their places: all that a component needs to know. */
export type PlacedPool = Omit<PoolPlan, "slots"> & { slots: PlacedSlot[] };

export type PlanKind = "steady" | "create" | "roll" | "canary" | "soaking" | "held" | "rollback" | "scale" | "remove";

/** What this run does with a pool. */
export interface PoolPlan {
  pool: string;
  role: Role;
  kind: PlanKind;
  /** The generation that the configuration asks for. Absent when the pool left the configuration. */
  wanted?: Generation;
  /**
   * The generation that this run moves the pool to; the Rollout step marks it `rolling` unless it is proved. Differs from
   * `wanted` in a rollback; absent when the pool is held or removed.
   */
  target?: Generation;
  slots: SlotPlan[];
  /**
   * Names of live nodes that leave without a successor: scale-in, removed pool, half-made generations. The half-made
   * ones serve nobody, and the Rollout step retires them before any VM is made.
   */
  leaving: string[];
  /** Names of adopted nodes that keep their slots in this run. Their slots are not in `slots`: nothing of ours is made of them. */
  keeps: string[];
  /** VMs of nodes that leave or have left, and that this run keeps because data is on their disks alone. */
  kept: KeptVm[];
  /** Names of nodes that shall be members and are not: VM off, no Node, not Ready. Their Join heals them. */
  unwell: string[];
  /** Nodes whose Proxmox host does not answer: not replaced, not mended and not deleted. Absent: there are none. */
  unreachable?: { name: string; host: string }[];
  /**
   * When a run set out to heal somebody, ISO 8601: this one, if somebody is unwell, or an earlier one. The last step
   * of the pool remembers it, so that the run after a healing finds nothing to do. Absent: none did.
   */
  healing?: string;
  strategy: Strategy;
  /** What the last step of the pool writes once everything holds. Absent: it writes nothing. */
  verdict: PlanVerdict | undefined;
  /** In a soak: when its time ends or ended, ISO 8601. The first run after that goes on, if its nodes are well. */
  soaksUntil?: string;
  /** The plan for a reader: which nodes come, which go, in what order, and why nothing happens when nothing does. */
  words: string[];
  /**
   * Changes exactly when something changes that joins and handovers act on: nodes and their places, the target, the
   * strategy, that somebody is to be healed. Not when a plan was merely carried out, so an update without news changes nothing.
   */
  digest: string;
}

/**
 * `soaking`: write it when the handovers are over. `proved`: likewise, at once. With `watchSeconds` (a short soak that is
 * waited for inline) the step writes `soaking` first, watches the new nodes that long, and then writes `state`.
 */
export interface PlanVerdict {
  generation: string;
  state: "soaking" | "proved";
  /** @default 0 */
  watchSeconds?: number;
}
