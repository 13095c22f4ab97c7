/**
 * The terms of a rollout. A pool has slots; a slot holds one node at a time; a node is a VM of one generation; a
 * generation is the content that defines a node.
 */

import type { Json } from "./canonical.ts";
import type { NodeHardware, TemplateHardware } from "./hardware.ts";

export type Role = "server" | "agent";

/** The content that defines a node. A change of any field gives another generation, so other VMs. */
export interface NodeSpec {
  /** Name of the template that is cloned, with its version: `ubuntu-24.04-rke2-v1.0.0`. */
  image: string;
  /** RKE2 version that the image holds: `v1.34.4+rke2r1`. */
  rke2: string;
  cores: number;
  memoryMiB: number;
  diskGiB: number;
  /** Node labels in addition to Evergreen's own. */
  labels?: Record<string, string>;
  /** Node annotations in addition to Evergreen's own. */
  annotations?: Record<string, string>;
  /** Taints that the node keeps, as `key=value:Effect`. */
  taints?: string[];
  /** Taints that the node registers with and that its own daemons remove once they work, as `key=value:Effect`. */
  startupTaints?: string[];
  /** Hardware beyond cores, memory and size of the system disk. */
  hardware?: NodeHardware;
  /** Counter; a change of it replaces the nodes of a pool without any other change. */
  rollout?: number;
  /** RKE2 configuration in addition to Evergreen's own, merged into the join fragment. */
  config?: Record<string, Json>;
  /**
   * Counts how often a slot of servers returned to this content while the VM that it had left still existed. A member
   * that was removed from etcd can never rejoin with its data, so it gets a successor. Planned, never configured.
   * @default 0
   */
  incarnation?: number;
}

export interface Generation {
  /** Eight hexadecimal digits: the hash of the spec without defaults. */
  id: string;
  spec: NodeSpec;
}

/** A number of nodes, or a percentage of the pool's slots, rounded up, at least one node. */
export type Share = { nodes: number } | { percent: number };

export interface Strategy {
  kind: "blueGreen" | "rolling";
  /** How many more VMs than slots may run at once. */
  surge: number;
  /**
   * How many slots may lack a serving node at once. 0 is not possible: a handover takes a node out while its successor
   * serves.
   */
  maxUnavailable: number;
  /** Replace this many slots first, and stop until their soak is over. */
  canary?: Share;
  /** How long new nodes must stay healthy before they count as proved, in seconds. */
  soakSeconds: number;
  /** What the run after a failed verdict does: leave everything as it is, or return to the proved generation. */
  onFailure: "hold" | "rollback";
  /** Servers: whether the only server may be replaced. Absent: it may not. */
  replaceOnlyServer?: true;
}

/** The VMIDs and addresses that a pool owns. */
export interface Range {
  /** First and last VMID, both included. */
  first: number;
  last: number;
  /** IPv4 address of the first VMID; the other VMIDs get the addresses after it. Absent: DHCP. */
  firstAddress?: string;
  /** In place of it: addresses and blocks of them (`10.0.0.20-10.0.0.39`), which the VMIDs get in their order. */
  addresses?: readonly string[];
  /** The same of IPv6, beside IPv4. Absent: the network provides them, or there are none. */
  firstAddress6?: string;
  addresses6?: readonly string[];
}

/** The addresses that a VM is made with: by IPv4, else DHCP provides it, and by IPv6, else the network may. */
export interface NodeAddresses {
  address?: string;
  address6?: string;
}

/** A pool as the configuration defines it. */
export interface PoolSpec {
  cluster: string;
  name: string;
  role: Role;
  slots: number;
  node: NodeSpec;
  strategy: Strategy;
  range: Range;
  /**
   * Absent: a node that has the only copy of a volume may not leave, and a VM that was kept for such volumes stays a
   * week.
   */
  localVolumes?: LocalVolumePolicy;
}

/** A volume whose data is on one disk only. */
export interface KeptVolume {
  /** `namespace/name` of its PersistentVolumeClaim. */
  claim: string;
  /** The capacity that the volume states: `10Gi`. */
  size: string;
}

/** What happens to volumes that only the departing node can reach. */
export interface LocalVolumePolicy {
  /** Whether such a node may leave. */
  mayLeave: boolean;
  /** How long its VM is kept after that, powered off, in seconds. */
  keepSeconds: number;
}

/** A VM of Evergreen as Proxmox reports it. */
export interface ObservedVm {
  vmid: number;
  name: string;
  /** Proxmox host. */
  host: string;
  running: boolean;
  /** Proxmox' name for a state other than running and stopped: `paused`, `io-error`, ... For messages only. */
  state?: string;
  /**
   * Why the state of the VM is unknown: its Proxmox host does not answer. `running` is then false and has no meaning,
   * and the uuid is the recorded one, or empty when none is recorded.
   */
  unreachable?: string;
  /** SMBIOS uuid, lower case. */
  uuid: string;
  pool: string;
  slot: number;
  generation: string;
  /** It starts with its host, as members do. @default it does not, or nobody can say */
  onBoot?: true;
  /** It has not the tag that each start of a node gives. @default it has */
  lacksMemberTag?: true;
  /** The tag with the uid of the cluster that it was started for. @default it has none, as from an earlier version */
  uidTag?: string;
  /** Disks beside its system disk that are destroyed with it. @default none */
  furtherDisks?: VmDisk[];
  /** Those of them that it was not made with: somebody has attached them. @default none */
  addedDisks?: VmDisk[];
}

/** A disk of a VM whose volume has the VM's number. */
export interface VmDisk {
  /** `scsi1`, or `unused0` for one that is not attached. */
  name: string;
  /** `local:1100/vm-1100-disk-1.qcow2` */
  volume: string;
  /** As Proxmox states it: `500G`. */
  size: string;
}

/** A member of the cluster as Kubernetes reports it. */
export interface ObservedNode {
  name: string;
  /** SMBIOS uuid, lower case. */
  uuid: string;
  ready: boolean;
  /** When it became Ready, or ceased to be, ISO 8601. Absent: it has not reported yet. */
  readySince?: string;
  /** Id of its boot. Absent: it has not reported yet. */
  boot?: string;
  schedulable: boolean;
  kubelet: string;
  /** Every IP address that it reports, of both families. Absent: it has not said one yet. */
  addresses?: readonly string[];
  role: Role;
  pool: string;
  slot: number;
  generation: string;
  /** Its zone, whoever gave it: the label `topology.kubernetes.io/zone`. Absent: it has none. */
  zone?: string;
  /** Of a server: RKE2 keys that are fixed for the life of the cluster, as its RKE2 was started. Absent: not known. */
  lifelongKeys?: Readonly<Record<string, string>>;
}

/**
 * State of a slot's node.
 * - `made`: cloned and claimed, not a member yet.
 * - `joined`: a verified member that does not own its slot yet.
 * - `handedOver`: it owns the slot.
 * - `failed`: it was judged failed.
 * - `retired`: drained, wiped and off; the engine deletes its VM at the end of the run. The record is kept until a
 *   later run sees that the VM is gone: without it, a VM that Evergreen deleted looks like one that was deleted
 *   manually.
 */
export type SlotPhase = "made" | "joined" | "handedOver" | "failed" | "retired";

/** A controller by its names, as a record has it. */
export interface NamedController {
  namespace: string;
  kind: string;
  name: string;
}

/** A controller whose pods were evicted: they have to be scheduled elsewhere before another node is drained. */
export interface Displaced extends NamedController {
  /** The number of pods that it had before, on any node. */
  pods: number;
  /** The number of its pods that were not scheduled even before. */
  unplaced: number;
  /** The number of its pods that had a node and had not started there even before. Absent: none, or it was not counted. */
  unstarted?: number;
  /** None of its pods had started anywhere before, and some could not. Absent: one had, or all were just being made. */
  failing?: true;
}

/** What is recorded about a slot's node. The addresses are those that the VM was made with, wherever the range is now. */
export interface NodeRecord extends NodeAddresses {
  name: string;
  slot: number;
  generation: string;
  vmid: number;
  /** SMBIOS uuid, recorded when the VM was made: the only proof that the VM is Evergreen's. */
  uuid: string;
  phase: SlotPhase;
  /** ISO 8601. */
  since: string;
  /** The boot that a join has last seen it in, and when it first did, ISO 8601. Absent: not known. */
  boot?: { id: string; since: string };
  /**
   * Names of the disks that may be destroyed with its VM, beside the system disk: `scsi1`. Those that it was made with,
   * or all once the retention of its data is over. Absent: not known, as for VMs that were made without further disks.
   */
  disks?: string[];
  /**
   * Controllers whose pods its handover has evicted, or its own retirement, until all these pods run elsewhere. Absent:
   * none.
   */
  displaced?: Displaced[];
  /**
   * Bound volumes whose data is on the node's disk only: its VM is kept after the node was decommissioned
   * (src/domain/rollout/kept.ts). Written before the node is disturbed, and removed by a later run only. Absent: the VM
   * is deleted once the node was decommissioned.
   */
  keeps?: KeptVolume[];
  /**
   * PersistentVolumeClaims, as `namespace/name`, of volumes that no node reaches once this one has left, by consent: what
   * uses them is not waited for (src/domain/drain/zonal-volumes.ts). Written before the node is disturbed. Absent: none.
   */
  unplaceable?: string[];
}

export type GenerationState = "rolling" | "soaking" | "proved" | "failed";

/** What is recorded about a generation of a pool. */
export interface GenerationRecord {
  id: string;
  spec: NodeSpec;
  state: GenerationState;
  /** When it entered this state, ISO 8601. Proved: or when the pool went back to it from one that was proved later. */
  since: string;
  /** Soaking: a run has begun to watch its first nodes, and has not seen the end of their soak. */
  unwatched?: true;
  /** The reason, for the operator: the failing gate or the fault. */
  why?: string;
}

/** The record of a pool: a ConfigMap in the cluster. Absent before the first node has joined. */
export interface PoolRecord {
  pool: string;
  generations: GenerationRecord[];
  nodes: NodeRecord[];
  /** When the last run that repaired unhealthy nodes, or took servers out, was planned, ISO 8601. Absent: no run did. */
  healing?: string;
}

/** What both APIs report about one pool, read once at program start. */
export interface ObservedPool {
  vms: ObservedVm[];
  nodes: ObservedNode[];
  /** Every VMID in the data centre that the token can see, and those of `hiddenVmids`. */
  takenVmids: number[];
  /** VMIDs of recorded nodes that are in use by a VM that the token cannot see. @default none */
  hiddenVmids?: number[];
  /** Names of members whose registries are to change, and whose RKE2 can be restarted. @default none */
  outdated?: ReadonlySet<string>;
  /** Addresses of the cluster's nodes, of every pool. @default none */
  takenAddresses?: ReadonlySet<string>;
}

/** The planned state of one slot after this run. */
export interface SlotPlan extends NodeAddresses {
  slot: number;
  generation: Generation;
  /** `<cluster>-<pool>-<slot>-<generation>`: name of the VM, the Node and the host. */
  name: string;
  vmid: number;
  /** True when no VM of that name exists yet. */
  creates: boolean;
  /** Names of the live nodes of this slot that leave when the slot is handed over. */
  replaces: string[];
  /**
   * Set when a Proxmox host that does not answer has a VM of this slot: the slot does not move. `own`: it is the VM of
   * the slot's own node. Absent: every host answers.
   */
  unreachable?: { host: string; own: boolean };
  /**
   * Other nodes of the slot on such a host, and the one that serves in its owner's place. They stay as they are: the
   * engine must not delete their VMs either.
   */
  stranded?: StrandedNode[];
  /**
   * No node serves in the slot: its owner is powered off, not Ready or decommissioned, and no other node stands in.
   * Absent: a node serves.
   */
  down?: true;
  /**
   * The owner of the slot, a server, is down, or its next node is: while etcd has that voter, no other slot can change.
   * Absent: no voter of the slot is known to be down.
   */
  voterDown?: true;
  /**
   * An earlier run has begun the handover of the slot and has not ended it: what it has evicted may run nowhere yet.
   * Absent: no handover is open.
   */
  open?: true;
}

/** The VM of a decommissioned node that holds the only copy of some data. */
export interface KeptVm {
  slot: number;
  name: string;
  vmid: number;
  /** Proxmox host. */
  host: string;
  generation: string;
  /** Undefined: no record has it, as for an adopted node. */
  spec: NodeSpec | undefined;
  volumes: KeptVolume[];
  /**
   * When the retention ends, ISO 8601: the first run after that destroys the VM. Absent: the node is decommissioned in
   * this run.
   */
  until?: string;
}
/** A node that has no part in its slot any more, and whose VM can be neither queried nor destroyed. */
export type StrandedNode = Pick<SlotPlan, "name" | "vmid" | "generation" | keyof NodeAddresses>;

/** Where the VM of a node is or is to be placed, and what it is made of. */
export interface VmPlacement {
  /** Proxmox host of an existing VM; for a new VM, the host to clone it on. */
  host: string;
  /** The template to clone it from. Absent: the VM exists, and its template may be gone. */
  template?: { vmid: number; host: string };
  /** What the clone keeps of its template. Absent: the VM exists, and stays as it was made. */
  hardware?: TemplateHardware;
  tags: string[];
}

/** Where node VMs are placed and what they are connected to. A change of any of it counts for VMs made from then on. */
export interface VmSite {
  /** Proxmox pool of the node VMs; the token may change VMs only in this pool. */
  proxmoxPool: string;
  /** Storage of disks and cloud-init drives. */
  storage: string;
  /** New VMs are full copies of their templates. @default false: linked clones */
  fullClones?: boolean;
  /** Network bridge. */
  bridge: string;
  /** Gateway of the node network, IPv4. @default none; with DHCP, what DHCP provides */
  gateway?: string;
  /** Prefix length of the node network, in bits. */
  prefixLength: number;
  /**
   * What new VMs are told of IPv6: how they get an address, or the network of those that they are given. Absent: nothing.
   */
  ipv6?: { method: "auto" | "dhcp" } | { prefixLength: number; gateway?: string };
  /** Name servers written to the cloud-init drive. An empty list: DHCP provides them. */
  dnsServers: string[];
  /** Domain in which nodes look for host names without one. @default what DHCP provides, or that of the Proxmox host */
  searchDomain?: string;
}

/** A node whose VM has a placement. */
export type PlacedNode = Omit<SlotPlan, "stranded"> & { vm: VmPlacement };

/** A slot whose nodes' VMs have placements. */
export type PlacedSlot = PlacedNode & { stranded?: (StrandedNode & { vm: VmPlacement })[] };

/** A plan whose nodes' VMs have placements: all that a component needs to know. */
export type PlacedPool = Omit<PoolPlan, "slots"> & { slots: PlacedSlot[] };

export type PlanKind = "steady" | "create" | "roll" | "canary" | "soaking" | "held" | "rollback" | "scale" | "remove";

/** What this run does with a pool. */
export interface PoolPlan {
  pool: string;
  role: Role;
  kind: PlanKind;
  /** The generation that the configuration asks for. Absent when the pool was removed from the configuration. */
  wanted?: Generation;
  /**
   * The generation that this run moves the pool to; the Rollout step marks it `rolling` unless it is proved. It differs
   * from `wanted` in a rollback; absent when the pool is held or removed.
   */
  target?: Generation;
  slots: SlotPlan[];
  /**
   * Names of live nodes that leave without a successor: scale-in, removed pool, incomplete nodes. Incomplete nodes
   * serve nothing, and the Rollout step decommissions them before any VM is made.
   */
  leaving: string[];
  /**
   * Names of adopted nodes that keep their slots in this run. Their slots are not in `slots`: no VM is made for them.
   */
  unreplaced: string[];
  /** VMs of nodes that leave or have left, and that this run keeps because some data is on their disks only. */
  kept: KeptVm[];
  /** By name of a node that leaves: what its record will have as `unplaceable`. @default none */
  unplaceable?: ReadonlyMap<string, string[]>;
  /**
   * Names of nodes that are to be members and are not: VM off, no Node, not Ready, or not in the record. Their Join
   * repairs them.
   */
  unhealthy: string[];
  /** Names of members that get other registries in place: their RKE2 is restarted. Absent: none. */
  reloads?: string[];
  /** Nodes whose Proxmox host does not answer: they are not replaced, repaired or deleted. Absent: there are none. */
  unreachable?: { name: string; host: string }[];
  /**
   * When a run set out to repair unhealthy nodes or to take servers out, ISO 8601: this run, if there are any now, or an
   * earlier run. The last step of the pool records it, so that the run after a repair finds nothing to do. Absent: no
   * run did.
   */
  healing?: string;
  strategy: Strategy;
  /** What the last step of the pool writes when all its checks have passed. Absent: it writes nothing. */
  verdict: PlanVerdict | undefined;
  /**
   * During a soak: when its time ends or ended, ISO 8601. The first run after that continues, if its nodes are healthy.
   */
  soaksUntil?: string;
  /** The plan for a reader: which nodes come, which leave, in what order, and why nothing happens when nothing does. */
  words: string[];
  /**
   * Changes exactly when something changes that joins and handovers act on: nodes and their placement, the target, the
   * strategy, or that nodes are to be repaired. Carrying a plan out does not change it, so an update without other
   * changes does nothing.
   */
  digest: string;
}

/**
 * The state that the last step of a pool writes for a generation. `soaking` and `proved` are both written once the
 * handovers are over. With `watchSeconds` (a short soak that the run waits for) the step writes `soaking` first,
 * watches the new nodes for that time, and then writes `state`; until then a soak counts as not watched.
 */
export interface PlanVerdict {
  generation: string;
  state: "soaking" | "proved";
  /** @default 0 */
  watchSeconds?: number;
}
