import { z } from "zod";
import type { Json } from "../domain/model/canonical.ts";
import { parseAddress } from "../domain/model/address.ts";
import { backup } from "./backup-schema.ts";
import { defaultTimeouts } from "../domain/model/step-environment.ts";

/*
 * The keys of a stack under `evergreen:`. Each says its unit, its default and what a change of it does to a live cluster:
 *   new generation: every node of the pool is replaced, as its strategy says
 *   new nodes:      nodes that exist keep what they have
 *   in place:       the next run works with the new value, no node changes
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
/** The prefix is a name of the DNS of at most 253 characters (`IsQualifiedName`); no node registers with another. */
const labelName =
  /^(?:(?=[^/]{1,253}\/)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
/** A kubelet does not start with another. */
const isTaint = (value: string): boolean => {
  const [, key = "", given = ""] =
    /^([^=:]+)(?:=([^=:]*))?:(?:NoSchedule|PreferNoSchedule|NoExecute)$/.exec(value) ?? [];
  return labelName.test(key) && labelValue.test(given);
};
const taint = text.refine(isTaint, "must be written as key=value:NoSchedule, key and value as those of a label");

/** VMIDs, both included. A pool needs two for each slot: old VMs are destroyed at the end of the run that replaces them. */
const vmIds = z.strictObject({ first: count(100), last: count(100).max(999_999_999) });

const strategy = z.strictObject({
  /**
   * `rolling`: a few nodes at a time. `blueGreen`: all new nodes first, then the old ones leave; needs twice the machines.
   * @default "rolling"
   * A change: in place.
   */
  kind: z.enum(["rolling", "blueGreen"]).default("rolling"),
  /**
   * VMs more than slots that run at once: a number, or a percentage of the slots, rounded up. Only for `rolling`.
   * @default 1
   * A change: in place.
   */
  surge: share.exactOptional(),
  /**
   * Slots that may lack a serving node at once: a number, or a percentage of the slots, rounded down. Not more than `surge`
   * has an effect: the successor of each comes first. 0, as for a Deployment, means one at a time, whose successor serves.
   * @default 1
   * A change: in place.
   */
  maxUnavailable: share.default(1),
  /**
   * Slots that are replaced first; the others wait until these have soaked. A number, or a percentage, rounded up.
   * @default none
   * A change: in place, also in the middle of a roll.
   */
  canary: share.exactOptional(),
  /**
   * Time that new nodes must hold before they count as proved, in seconds. Up to 120 s are waited for inside the run;
   * after a longer one the next run goes on.
   * @default 0
   * A change: in place, also for a soak that runs.
   */
  soakSeconds: count(0).default(0),
  /**
   * What the run after a failed verdict does: keep everything as it is, or return to the generation that held.
   * @default "hold"
   * A change: in place.
   */
  onFailure: z.enum(["hold", "rollback"]).default("hold"),
});

/**
 * A live node that the first rollout replaces. VMID, uuid and name must be those of the VM and of the Node: together they
 * are who it is. `npx evergreen adopt` writes the entry; it may be removed once the VM has left the cluster.
 */
const adoption = z.strictObject({
  /** Slot that it has until its successor comes. */
  slot: count(0),
  vmid: count(100),
  /** SMBIOS uuid of the VM, which the Node reports as its systemUUID. */
  uuid: text.regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, "must be an SMBIOS uuid in lower case"),
  /** Name of its Node and of its VM. */
  node: text.regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/, "must be the name of a Node"),
});

const whenNodesLeave = z.enum(["refuse", "keep"]);

/** PersistentVolumes whose data is on one node alone: local, TopoLVM, OpenEBS, local-path, hostPath. */
const localVolumes = z.strictObject({
  /**
   * What a run does when a node leaves that has bound ones: `refuse` before anything is touched; or `keep`: the node leaves, and
   * its VM stays, off, with its disk. For pools that do not say otherwise, and for one that left the configuration.
   * @default "refuse"
   * A change: in place.
   */
  whenNodesLeave: whenNodesLeave.default("refuse"),
  /**
   * How long such a VM is kept, in days from its retirement; the first run after that destroys it. 0: the next run does.
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
   * Size of the system disk in GiB; not smaller than the template's.
   * A change: new generation.
   */
  diskGiB: count(1).default(40),
  /**
   * RKE2 configuration beside our own, as in `/etc/rancher/rke2/config.yaml`. No secrets: it is part of the state.
   * @default {}
   * A change: new generation.
   */
  config: z.record(text, json).default({}),
  /**
   * VMIDs of the pool. Other pools, and machines that are not ours, keep out of the range.
   * A change: new nodes.
   */
  vmIds,
  /**
   * IPv4 address of the first VMID; the address of every other follows from its number.
   * @default none: DHCP
   * A change: new nodes.
   */
  firstAddress: address.exactOptional(),
  /**
   * Nodes of a cluster that was not made by Evergreen, each in the slot in which it is replaced.
   * @default []
   * A change: in place. The next run takes them over and replaces them as the pool's strategy says.
   */
  adopt: z.array(adoption).default([]),
  /**
   * What a run does with a node of the pool that leaves with bound volumes on it that no other node can reach: `refuse`, or
   * let it leave and `keep` its VM. Absent: as `localVolumes.whenNodesLeave` says.
   * A change: in place.
   */
  localVolumes: whenNodesLeave.exactOptional(),
};

const pool = z.strictObject({
  /**
   * Name, part of every node's name. Lower-case letters, digits and dashes.
   * A change: another pool; the nodes of the old one are drained and destroyed.
   */
  name: text,
  /**
   * Number of nodes.
   * A change: nodes come, all at once; or the ones with the highest numbers are drained and destroyed.
   */
  slots: count(1),
  ...node,
  /**
   * Node labels beside our own. Those that a kubelet may not give itself, such as `node-role.kubernetes.io/worker`, are
   * set by the join of the node.
   * @default {}
   * A change: new generation.
   */
  labels: z
    .record(text.regex(labelName, "must be a label name"), z.string().regex(labelValue, "must be a label value"))
    .default({}),
  /**
   * Taints that the nodes keep, as `key=value:Effect`. Any other taint that keeps pods away means that a node does not serve.
   * @default []
   * A change: new generation.
   */
  taints: z.array(taint).default([]),
  /**
   * Taints at registration that a daemon of the node removes once it works, as `key=value:Effect`, such as
   * `node.cilium.io/agent-not-ready:NoExecute`. A node does not serve before they are gone.
   * @default []
   * A change: new generation.
   */
  startupTaints: z.array(taint).default([]),
  /**
   * Counter: raising it replaces every node without any other change.
   * @default 0
   * A change: new generation.
   */
  rollout: count(0).default(0),
  /** How nodes are replaced. */
  strategy: strategy.prefault({}),
});

const controlPlane = z.strictObject({
  /**
   * Number of servers; odd, because a majority of them must agree.
   * @default 3
   * A change: servers join or leave one after the other.
   */
  servers: count(1).default(3),
  ...node,
  /**
   * What the run after a failed verdict does: keep everything as it is, or return to the generation that held. Servers
   * never come back: the slot gets another server of the former content.
   * @default "hold"
   * A change: in place.
   */
  onFailure: z.enum(["hold", "rollback"]).default("hold"),
  /**
   * Whether a control plane of one server may be replaced. For the time of it etcd has two members and survives the loss
   * of neither: keep a fresh snapshot.
   * @default false
   * A change: in place.
   */
  replaceOnlyServer: z.boolean().default(false),
});

const site = z.strictObject({
  /**
   * Name or IPv4 address in front of the ready servers, ports 9345 and 6443: a load balancer or a virtual address that no
   * node owns.
   * A change: new nodes; nodes that exist keep the address that they joined with, so keep the old one alive.
   */
  registrationAddress: text.regex(
    /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/,
    "must be a host name or an IPv4 address",
  ),
  /**
   * More names and addresses for the servers' certificates.
   * @default []
   * A change: new generation of servers.
   */
  tlsSans: z.array(text).default([]),
  /**
   * Proxmox pool of the node VMs: the token's rights end there.
   * @default "evergreen-nodes"
   * A change: refused while the nodes are in the old one. Move their VMs in Proxmox first.
   */
  proxmoxPool: text.default("evergreen-nodes"),
  /**
   * Proxmox pool of the templates.
   * @default "evergreen-templates"
   * A change: in place.
   */
  templatePool: text.default("evergreen-templates"),
  /**
   * Proxmox hosts that new VMs are spread over, slot by slot.
   * A change: new nodes.
   */
  hosts: z.array(text).min(1),
  /**
   * Storage of disks and cloud-init drives.
   * A change: new nodes.
   */
  storage: text,
  /**
   * How many times its free space the full sizes of a run's new disks may add up to, a factor. Linked clones on thin
   * storage begin almost empty; more than 1 trusts that they stay so, and a storage that fills up stops every VM on it.
   * @default 1: the free space takes them all even when they are full
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
   * @default none: DHCP brings it, or nodes have none
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
   * @default []: DHCP brings them
   * A change: new nodes.
   */
  dnsServers: z.array(address).default([]),
});

const seconds = (value: number) => count(1).max(86_400).default(value);

/** Longest waits, in seconds. A change: in place. */
const timeouts = z.strictObject({
  /** Power on until the guest agent answers. @default 300 */
  agentSeconds: seconds(defaultTimeouts.agent),
  /** Join data written until the Node is Ready and passes its gates. @default 600 */
  joinSeconds: seconds(defaultTimeouts.join),
  /** The Longhorn replicas of a node rebuilt elsewhere, before its pods are evicted. @default 1800 */
  storageSeconds: seconds(defaultTimeouts.storage),
  /** All pods of a node evicted; after it the old node serves on and the generation is judged. @default 900 */
  drainSeconds: seconds(defaultTimeouts.drain),
  /** All volumes of a drained node detached. @default 300 */
  volumesSeconds: seconds(defaultTimeouts.volumes),
  /** Orderly shutdown; after it the power is cut. @default 120 */
  shutdownSeconds: seconds(defaultTimeouts.shutdown),
  /** Another step of the same slot, or a free ticket of the pool. @default 1800 */
  leaseSeconds: seconds(defaultTimeouts.lease),
  /** Every planned node of a pool proved, beside the soak. @default 300 */
  gateSeconds: seconds(defaultTimeouts.gate),
  /** An etcd snapshot made, and uploaded when there is a bucket. @default 600 */
  snapshotSeconds: seconds(defaultTimeouts.snapshot),
});

export const schema = z.strictObject({
  /**
   * Name of the cluster, part of every node's name. Lower-case letters, digits and dashes.
   * A change: refused while there are nodes. The engine would destroy them all; another cluster is another stack.
   */
  cluster: text,
  /** Where the cluster lives. */
  site,
  /** The servers: etcd and the Kubernetes API. */
  controlPlane,
  /**
   * Pools of agents.
   * @default []
   */
  pools: z.array(pool).default([]),
  /** The etcd snapshot that is made and proved before the first server leaves. */
  backup: backup.prefault({}),
  /** What happens to data that is on a node alone when it leaves. */
  localVolumes: localVolumes.prefault({}),
  /** Longest waits of the steps. */
  timeouts: timeouts.prefault({}),
  /**
   * Whether `pulumi destroy` may take the cluster away. It counts as of the last `pulumi up`.
   * @default false
   * A change: in place.
   */
  allowDestroy: z.boolean().default(false),
  /**
   * Whether to update a cluster that Rancher has imported. Only with version management off for it in Rancher: two that
   * upgrade drain each other's nodes.
   * @default false
   * A change: in place.
   */
  allowRancher: z.boolean().default(false),
});

/** The configuration of a stack, complete. */
export type Config = z.output<typeof schema>;
export type PoolConfig = Config["pools"][number];
export type StrategyConfig = PoolConfig["strategy"];
