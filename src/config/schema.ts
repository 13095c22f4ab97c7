import { z } from "zod";
import type { Json } from "../domain/model/canonical.ts";
import { parseAddress } from "../domain/model/address.ts";
import { backup } from "./backup-schema.ts";
import { defaultTimeouts } from "../domain/model/step-environment.ts";

/*
 * The keys of a stack under `evergreen:`. Each docstring states the unit, the default and what a change does to a live
 * cluster:
 *   new generation: every node of the pool is replaced, according to the pool's strategy
 *   new nodes:      the value applies to nodes that are made later; existing nodes keep what they have
 *   in place:       the next run uses the new value, no node changes
 */

const text = z.string().min(1);
const count = (least: number) => z.int().min(least);
const address = z.string().refine((value) => parseAddress(value) !== undefined, "must be an IPv4 address");
const image = text.regex(
  /^[a-z0-9][a-z0-9.-]*-v\d+\.\d+\.\d+(-[0-9a-z.-]+)?$/,
  "must be the name of a template with its version, such as ubuntu-24.04-rke2-v1.0.0",
);
const json = z.json() as z.ZodType<Json>;
const share = z.custom<number | string>(
  (value) => (typeof value === "string" ? /^\d{1,3}%$/.test(value) : Number.isInteger(value) && Number(value) >= 0),
  'must be a number of nodes or a percentage such as "10%"',
);
/**
 * The prefix is a DNS name of at most 253 characters (`IsQualifiedName`); a node with any other label cannot register.
 */
const labelName =
  /^(?:(?=[^/]{1,253}\/)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
/** Whether a text is a valid taint: a kubelet does not start with an invalid one. */
const isTaint = (value: string): boolean => {
  const [, key = "", given = ""] =
    /^([^=:]+)(?:=([^=:]*))?:(?:NoSchedule|PreferNoSchedule|NoExecute)$/.exec(value) ?? [];
  return labelName.test(key) && labelValue.test(given);
};
const taint = text.refine(isTaint, "must be written as key=value:NoSchedule, key and value as those of a label");

/**
 * A range of VMIDs, both ends included. Old VMs are destroyed at the end of the run that replaces them, so a pool of
 * agents needs two per slot, and the servers one more than slots.
 */
const vmIds = z.strictObject({ first: count(100), last: count(100).max(999_999_999) });

const strategy = z.strictObject({
  /**
   * `rolling`: a few nodes at a time. `blueGreen`: all new nodes join first, then the old ones are decommissioned; this
   * needs twice the VMs.
   * @default "rolling"
   * A change: in place.
   */
  kind: z.enum(["rolling", "blueGreen"]).default("rolling"),
  /**
   * Number of VMs above the number of slots that may run at the same time: a number, or a percentage of the slots,
   * rounded up. Only for `rolling`.
   * @default 1
   * A change: in place.
   */
  surge: share.exactOptional(),
  /**
   * Number of slots that may be without a serving node at the same time: a number, or a percentage of the slots,
   * rounded down. A value above `surge` has no further effect, because each successor joins first. 0 means, as in a
   * Deployment, one slot at a time, after its successor serves.
   * @default 1
   * A change: in place.
   */
  maxUnavailable: share.default(1),
  /**
   * Slots that are replaced first; the other slots wait until these have soaked. A number, or a percentage of the
   * slots, rounded up.
   * @default none
   * A change: in place, also during a rollout.
   */
  canary: share.exactOptional(),
  /**
   * Time for which new nodes must stay healthy before their generation counts as proved, in seconds. The run itself
   * waits up to 120 s; with a longer soak, a later run continues the rollout.
   * @default 0
   * A change: in place, also for a soak that is running.
   */
  soakSeconds: count(0).default(0),
  /**
   * What the run after a failed verdict does: `hold` keeps everything as it is, `rollback` returns to the proved
   * generation.
   * @default "hold"
   * A change: in place.
   */
  onFailure: z.enum(["hold", "rollback"]).default("hold"),
});

/**
 * An existing node that the first rollout replaces. VMID, uuid and name must be those of the VM and of the Node:
 * together they identify it. `npx evergreen adopt` writes the entry; it can be removed once the VM has left the
 * cluster.
 */
const adoption = z.strictObject({
  /** Slot that the node holds until its successor takes over. */
  slot: count(0),
  vmid: count(100),
  /** SMBIOS uuid of the VM; the Node reports the same value as its systemUUID. */
  uuid: text.regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, "must be an SMBIOS uuid in lower case"),
  /** Name of the Node and of the VM. */
  node: text.regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/, "must be the name of a Node"),
});

const whenNodesLeave = z.enum(["refuse", "keep"]);

/** PersistentVolumes whose data is on one node only: local, TopoLVM, OpenEBS, local-path, hostPath. */
const localVolumes = z.strictObject({
  /**
   * What a run does when a departing node has such volumes, and they are bound. `refuse`: the run stops before it
   * changes anything. `keep`: the node is decommissioned, and its VM stays, powered off, with its disk. It applies to
   * pools without a setting of their own, and to a pool that left the configuration.
   * @default "refuse"
   * A change: in place.
   */
  whenNodesLeave: whenNodesLeave.default("refuse"),
  /**
   * How long such a VM is kept, in days after its node was decommissioned; the first run after that destroys it. 0: the
   * next run destroys it.
   * @default 7
   * A change: in place, also for VMs that are kept already.
   */
  keepDays: count(0).max(3650).default(7),
});

const node = {
  /**
   * Name of the template that nodes are cloned from, with its version: `ubuntu-24.04-rke2-v1.0.0`.
   * A change: new generation.
   */
  image,
  /**
   * Virtual CPUs.
   * A change: new generation.
   */
  cores: count(1).default(4),
  /**
   * Memory in MiB.
   * A change: new generation.
   */
  memoryMiB: count(512).default(8192),
  /**
   * Size of the system disk in GiB; at least the size of the template's disk.
   * A change: new generation.
   */
  diskGiB: count(1).default(40),
  /**
   * Additional RKE2 configuration, with keys as in `/etc/rancher/rke2/config.yaml`. It must not contain secrets,
   * because it becomes part of the state.
   * @default {}
   * A change: new generation.
   */
  config: z.record(text, json).default({}),
  /**
   * VMIDs of the pool. VMs of other pools, and VMs that Evergreen does not manage, must not use this range.
   * A change: new nodes.
   */
  vmIds,
  /**
   * IPv4 address of the first VMID; each further VMID has the address at the same offset.
   * @default none: DHCP
   * A change: new nodes.
   */
  firstAddress: address.exactOptional(),
  /**
   * Existing nodes of a cluster that Evergreen did not make, each with the slot in which it is replaced.
   * @default []
   * A change: in place. The next run takes these nodes over and replaces them according to the pool's strategy.
   */
  adopt: z.array(adoption).default([]),
  /**
   * What a run does when a departing node of the pool has bound volumes that no other node can reach: `refuse` the run,
   * or decommission the node and `keep` its VM. Absent: `localVolumes.whenNodesLeave` applies.
   * A change: in place.
   */
  localVolumes: whenNodesLeave.exactOptional(),
};

const pool = z.strictObject({
  /**
   * Name of the pool; part of every node's name. Lower-case letters, digits and dashes.
   * A change: creates another pool; the nodes of the old pool are drained and destroyed.
   */
  name: text,
  /**
   * Number of nodes.
   * A change: new nodes join, all at once; or the nodes in the slots with the highest numbers are drained and
   * destroyed.
   */
  slots: count(1),
  ...node,
  /**
   * Additional node labels. The join step sets those that a kubelet may not set itself, such as
   * `node-role.kubernetes.io/worker`.
   * @default {}
   * A change: new generation.
   */
  labels: z
    .record(text.regex(labelName, "must be a label name"), z.string().regex(labelValue, "must be a label value"))
    .default({}),
  /**
   * Permanent taints of the nodes, as `key=value:Effect`. A node with any other taint that keeps pods away does not
   * count as serving.
   * @default []
   * A change: new generation.
   */
  taints: z.array(taint).default([]),
  /**
   * Taints that nodes register with, and that a daemon on the node removes once it works, as `key=value:Effect`, such
   * as `node.cilium.io/agent-not-ready:NoExecute`. A node does not count as serving until they are gone.
   * @default []
   * A change: new generation.
   */
  startupTaints: z.array(taint).default([]),
  /**
   * Counter: a higher value replaces every node without any other change.
   * @default 0
   * A change: new generation.
   */
  rollout: count(0).default(0),
  /** How nodes are replaced. */
  strategy: strategy.prefault({}),
});

const controlPlane = z.strictObject({
  /**
   * Number of servers; odd, because etcd needs a majority of them.
   * @default 3
   * A change: servers join or are decommissioned one after the other.
   */
  servers: count(1).default(3),
  ...node,
  /**
   * What the run after a failed verdict does: `hold` keeps everything as it is, `rollback` returns to the proved
   * generation. A decommissioned server is never reused: the slot gets a new server with the former content.
   * @default "hold"
   * A change: in place.
   */
  onFailure: z.enum(["hold", "rollback"]).default("hold"),
  /**
   * Whether the only server of a control plane may be replaced. During the replacement etcd has two members and
   * tolerates the loss of neither: keep a fresh snapshot.
   * @default false
   * A change: in place.
   */
  replaceOnlyServer: z.boolean().default(false),
});

const site = z.strictObject({
  /**
   * Host name or IPv4 address in front of the ready servers, ports 9345 and 6443: a load balancer or a virtual address
   * that no node owns.
   * A change: new nodes; existing nodes keep the address that they joined with, so the old address must stay available.
   */
  registrationAddress: text.regex(
    /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/,
    "must be a host name or an IPv4 address",
  ),
  /**
   * Additional names and addresses for the servers' certificates.
   * @default []
   * A change: new generation of servers.
   */
  tlsSans: z.array(text).default([]),
  /**
   * Proxmox pool of the node VMs; the token may change VMs only in this pool.
   * @default "evergreen-nodes"
   * A change: refused while the nodes are in the old pool. Move their VMs in Proxmox first.
   */
  proxmoxPool: text.default("evergreen-nodes"),
  /**
   * Proxmox pool of the templates.
   * @default "evergreen-templates"
   * A change: in place.
   */
  templatePool: text.default("evergreen-templates"),
  /**
   * Proxmox hosts that new VMs are distributed over, slot by slot.
   * A change: new nodes.
   */
  hosts: z.array(text).min(1),
  /**
   * Storage of disks and cloud-init drives.
   * A change: new nodes.
   */
  storage: text,
  /**
   * Factor by which the total full size of a run's new disks may exceed the free space of the storage. Linked clones on
   * thin storage start almost empty. A factor above 1 assumes that they stay small; a storage that fills up stops every
   * VM on it.
   * @default 1: the free space is enough even when all new disks are full
   * A change: in place.
   */
  storageOvercommit: z.number().min(1).default(1),
  /**
   * Network bridge.
   * @default "vmbr0"
   * A change: new nodes.
   */
  bridge: text.default("vmbr0"),
  /**
   * Gateway of the node network, IPv4.
   * @default none: DHCP provides it, or nodes have none
   * A change: new nodes.
   */
  gateway: address.exactOptional(),
  /**
   * Prefix length of the node network.
   * @default 24
   * A change: new nodes.
   */
  prefixLength: z.int().min(8).max(30).default(24),
  /**
   * Name servers of the nodes, IPv4.
   * @default []: DHCP provides them
   * A change: new nodes.
   */
  dnsServers: z.array(address).default([]),
});

const seconds = (value: number) => count(1).max(86_400).default(value);

/** Longest waits of the steps, in seconds. A change: in place. */
const timeouts = z.strictObject({
  /** From power-on until the guest agent answers. @default 300 */
  agentSeconds: seconds(defaultTimeouts.agent),
  /** From writing the join data until the Node is Ready and passes its gates. @default 600 */
  joinSeconds: seconds(defaultTimeouts.join),
  /** Until the Longhorn replicas of a node are rebuilt on other nodes, before its pods are evicted. @default 1800 */
  storageSeconds: seconds(defaultTimeouts.storage),
  /**
   * Until all pods of a node are evicted; after that the old node keeps serving and the generation gets its verdict.
   * @default 900
   */
  drainSeconds: seconds(defaultTimeouts.drain),
  /** Until all volumes of a drained node are detached. @default 300 */
  volumesSeconds: seconds(defaultTimeouts.volumes),
  /** Until a guest has shut down cleanly; after that its power is cut. @default 120 */
  shutdownSeconds: seconds(defaultTimeouts.shutdown),
  /** Until another step of the same slot ends, or a disruption lease of the pool is free. @default 1800 */
  leaseSeconds: seconds(defaultTimeouts.lease),
  /** Until every planned node of a pool is verified, not counting the soak. @default 300 */
  gateSeconds: seconds(defaultTimeouts.gate),
  /** Until an etcd snapshot is made, and uploaded when a bucket is configured. @default 600 */
  snapshotSeconds: seconds(defaultTimeouts.snapshot),
});

export const schema = z.strictObject({
  /**
   * Name of the cluster; part of every node's name. Lower-case letters, digits and dashes.
   * A change: refused while there are nodes, because the engine would destroy all of them. Another cluster needs
   * another stack.
   */
  cluster: text,
  /** The Proxmox VE site that the cluster runs on. */
  site,
  /** The servers: etcd and the Kubernetes API. */
  controlPlane,
  /**
   * Pools of agents.
   * @default []
   */
  pools: z.array(pool).default([]),
  /** The etcd snapshot that is made and verified before the first server is decommissioned. */
  backup: backup.prefault({}),
  /** What happens to data that only a departing node holds. */
  localVolumes: localVolumes.prefault({}),
  /** Longest waits of the steps. */
  timeouts: timeouts.prefault({}),
  /**
   * Whether `pulumi destroy` may tear the cluster down. The value of the last `pulumi up` counts.
   * @default false
   * A change: in place.
   */
  allowDestroy: z.boolean().default(false),
  /**
   * Whether a cluster that Rancher has imported may be updated. Set it only when version management of this cluster is
   * off in Rancher: otherwise both upgrade the cluster and drain each other's nodes.
   * @default false
   * A change: in place.
   */
  allowRancher: z.boolean().default(false),
});

/** The configuration of a stack, with all defaults filled in. */
export type Config = z.output<typeof schema>;
export type PoolConfig = Config["pools"][number];
export type StrategyConfig = PoolConfig["strategy"];
