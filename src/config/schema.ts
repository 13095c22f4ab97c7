import { z } from "zod";
import type { Json } from "../domain/model/canonical.ts";
import { nodeAddresses, registrationAddress, siteNetwork } from "./address-schema.ts";
import { backup } from "./backup-schema.ts";
import { hardware } from "./hardware-schema.ts";
import { images } from "./images-schema.ts";
import { registries } from "./registries-schema.ts";
import { onFailure, strategy } from "./strategy-schema.ts";
import { timeouts } from "./timeouts-schema.ts";
import { MAX_SLOTS } from "../domain/model/generation.ts";
import { LIFELONG_KEYS } from "../domain/rollout/cluster-keys.ts";

/*
 * The keys of a stack under `evergreen:`. docs/configuration.md and components/cluster-args.ts are made of this file
 * (`npm run docs`). The metadata of each key says:
 *   description: what it means, with its unit
 *   change:      what a change of it does to a live cluster (the page explains "In place", "New nodes", "New generation")
 *   unset:       what applies when the key is left out, where the default does not say it
 *   values:      which values are possible, where type and bounds do not say it
 */

const text = z.string().min(1);
const count = (least: number) => z.int().min(least);
const image = text
  .regex(
    /^[a-z0-9][a-z0-9.-]*-v\d+\.\d+\.\d+(-[0-9a-z.-]+)?$/,
    "must be the name of a template with its version, such as ubuntu-24.04-rke2-v1.0.0",
  )
  .meta({ values: "name of a template with its version, such as `ubuntu-24.04-rke2-v1.0.0`" });
const json = z.json() as z.ZodType<Json>;
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
const taint = text
  .refine(isTaint, "must be written as key=value:NoSchedule, key and value as those of a label")
  .meta({ values: "`key=value:Effect` or `key:Effect` with `NoSchedule`, `PreferNoSchedule` or `NoExecute`" });

const vmIds = z.strictObject({
  first: count(100).meta({ description: "First VMID of the range.", change: "New nodes." }),
  last: count(100)
    .max(999_999_999)
    .meta({ description: "Last VMID of the range; the range includes it.", change: "New nodes." }),
});

const entryChange =
  "Refused once an update has taken the node over. When the VM has left the cluster, the entry has no effect.";
const adoption = z.strictObject({
  slot: count(0).meta({
    description: "Slot that the node holds until its successor takes over. Slots are numbered from 0.",
    change: entryChange,
  }),
  vmid: count(100).meta({ description: "VMID of the VM.", change: entryChange }),
  uuid: text.regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, "must be an SMBIOS uuid in lower case").meta({
    description: "SMBIOS uuid of the VM; the Node reports the same value as its `systemUUID`.",
    values: "uuid in lower case",
    change: entryChange,
  }),
  node: text
    .regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/, "must be the name of a Node")
    .meta({ description: "Name of the Node and of the VM.", change: entryChange }),
});

const whenNodesLeave = z.enum(["refuse", "keep"]);

const localVolumes = z.strictObject({
  whenNodesLeave: whenNodesLeave.default("refuse").meta({
    description:
      "What a run does when a departing node has such volumes, and they are bound or hold retained data. `refuse`: the run stops before it changes anything. `keep`: the node is decommissioned, and its VM stays, powered off, with its disk. Likewise for volumes of a zone that loses its last node for their pods: no VM is kept for them. It applies to pools without a setting of their own, and to a pool that left the configuration.",
    change: "In place.",
  }),
  keepDays: count(0).max(3650).default(7).meta({
    description:
      "How long such a VM is kept, in days after its node was decommissioned; the first run after that destroys it. 0: the next run destroys it.",
    change: "In place, also for VMs that are kept already.",
  }),
});

/** As Proxmox VE writes them: it turns capitals into small letters unless the data centre is set otherwise. */
const tags = z
  .array(text.max(100).regex(/^[a-z0-9_][a-z0-9_+.-]*$/, "must be a tag: small letters, digits and _ - + ."))
  .max(50)
  .exactOptional()
  .meta({
    description:
      "Tags of the VMs in Proxmox, beside those of Evergreen. Tags that somebody gives a VM by hand stay. A list of a pool takes the place of that in `site.defaults`.",
    unset: "none beside those of Evergreen",
    change:
      "In place: existing VMs get new tags, and lose those that were in the list when an update before this one saw the cluster.",
  });

const node = {
  image,
  cores: count(1).default(4).meta({ description: "Virtual CPUs of each node.", change: "New generation." }),
  memoryMiB: count(512).default(8192).meta({ description: "Memory of each node, in MiB.", change: "New generation." }),
  diskGiB: count(1).default(40).meta({
    description: "Size of the system disk in GiB; at least the size of the template's disk.",
    change: "New generation.",
  }),
  ...hardware,
  tags,
  hosts: z.array(text).min(1).exactOptional().meta({
    description:
      "Proxmox hosts that new VMs of it are distributed over: evenly, or as `evergreen:site.hostWeights` and `evergreen:site.zones` say.",
    unset: "`evergreen:site.hosts`",
    change: "New nodes.",
  }),
  storage: text.exactOptional().meta({
    description: "Storage of its system disks and cloud-init drives. Linked clones need it to be that of the template.",
    unset: "`evergreen:site.storage`",
    change: "New nodes.",
  }),
  fullClones: z.boolean().exactOptional().meta({
    description:
      "Whether its VMs are full copies of the template: they take longer and all their space, and may be on another storage.",
    unset: "`evergreen:site.fullClones`",
    change: "New nodes.",
  }),
  config: z.record(text, json).default({}).meta({
    description:
      "Additional RKE2 configuration, with keys as in `/etc/rancher/rke2/config.yaml`. It must not contain secrets, because it becomes part of the state, and no keys that Evergreen writes itself.",
    change: "New generation.",
  }),
  labels: z
    .record(text.regex(labelName, "must be a label name"), z.string().regex(labelValue, "must be a label value"))
    .default({})
    .meta({
      description:
        "Additional node labels. The join step sets those that a kubelet may not set itself, such as `node-role.kubernetes.io/worker`.",
      change: "New generation.",
    }),
  annotations: z.record(text.regex(labelName, "must be an annotation name"), z.string()).default({}).meta({
    description:
      "Annotations of the Nodes, such as `node.longhorn.io/default-node-tags`. The join step sets them once the node is Ready. Together at most 8 KiB.",
    change: "New generation.",
  }),
  taints: z.array(taint).default([]).meta({
    description:
      "Permanent taints of the nodes. A node with any other taint that keeps pods away does not count as serving.",
    change: "New generation.",
  }),
  startupTaints: z.array(taint).default([]).meta({
    description:
      "Taints that nodes register with, and that a daemon on the node removes once it works, such as `node.cilium.io/agent-not-ready:NoExecute`. A node does not count as serving until they are gone.",
    change: "New generation.",
  }),
  rollout: count(0).default(0).meta({
    description: "Counter: a higher value replaces every node without any other change.",
    change: "New generation.",
  }),
  vmIds: vmIds.meta({
    description:
      "VMIDs of its nodes. No other VM may have one of them. An old VM keeps its VMID until the run that replaces it ends, so agents need two VMIDs per slot, and the servers one more than there are servers.",
    change: "New nodes.",
  }),
  ...nodeAddresses,
  adopt: z.array(adoption).default([]).meta({
    description:
      "Existing nodes of a cluster that Evergreen did not make, each with the slot in which the first rollout replaces it. VMID, uuid and name must be those of the VM and of the Node: together they identify it. `npx evergreen adopt` writes the entries.",
    change:
      "In place: the next run takes new entries over, and replaces the nodes as the pool's strategy says. Remove an entry only when the VM has left the cluster.",
  }),
  localVolumes: whenNodesLeave.exactOptional().meta({
    description:
      "What a run does when a departing node of the pool has volumes that no other node can reach, and they are bound or hold retained data: `refuse` the run, or decommission the node and `keep` its VM. Likewise for volumes of a zone that loses its last node for their pods: no VM is kept for them.",
    unset: "as `evergreen:localVolumes.whenNodesLeave`",
    change: "In place.",
  }),
};

const pool = z.strictObject({
  name: text.meta({
    description: "Name of the pool; part of every node's name. The name `servers` is taken.",
    values: "lower-case letters, digits and dashes; begins with a letter",
    change: "Another pool is created; the nodes of the old one are drained and destroyed.",
  }),
  slots: count(0).meta({
    description: "Number of nodes.",
    values: `whole number from 0 to ${MAX_SLOTS}`,
    change:
      "More: new nodes join, all at once. Fewer: the nodes in the slots with the highest numbers are drained and destroyed.",
  }),
  ...node,
  image: image.meta({
    description: "Template that the nodes are cloned from.",
    change:
      "New generation. Refused when its RKE2 is newer than the servers have after the run, or more than three minor versions older.",
  }),
  strategy: strategy.prefault({}).meta({ description: "How the nodes of the pool are replaced." }),
});

const controlPlane = z.strictObject({
  servers: count(1).default(3).meta({
    description: "Number of servers; odd, because etcd needs a majority of them.",
    values: "1, 3, 5 or 7",
    change: "Servers join or are decommissioned, one after the other.",
  }),
  ...node,
  image: image.meta({
    description: "Template that the servers are cloned from.",
    change:
      "New generation. Refused when its RKE2 is older than that of a server, more than one minor version newer, or too new for the agents.",
  }),
  config: node.config.meta({
    change: `New generation. Refused for keys that are fixed for the life of a cluster: ${LIFELONG_KEYS.map((key) => `\`${key}\``).join(", ")}.`,
  }),
  onFailure: onFailure.meta({
    description:
      "What the run after a failed verdict does. `hold`: every slot keeps the node that it has. `rollback`: every slot returns to the proved generation that the pool served on before. A decommissioned server is never reused: the slot gets a new server with the former content.",
    change: "In place.",
  }),
  replaceOnlyServer: z.boolean().default(false).meta({
    description:
      "Whether the only server of a control plane may be replaced. During the replacement etcd has two members and tolerates the loss of neither: keep a fresh snapshot.",
    change: "In place.",
  }),
});

const site = z.strictObject({
  registrationAddress,
  tlsSans: z.array(text).default([]).meta({
    description: "Additional names and addresses for the servers' certificates.",
    change: "New generation of servers.",
  }),
  proxmoxPool: text.default("evergreen-nodes").meta({
    description: "Proxmox pool of the node VMs; the token may change VMs only in this pool.",
    change: "Refused while the nodes are in the old pool: move their VMs in Proxmox first.",
  }),
  templatePool: text.default("evergreen-templates").meta({
    description: "Proxmox pool of the templates.",
    change: "In place.",
  }),
  defaults: z
    .strictObject({ ...hardware, tags })
    .prefault({})
    .meta({
      description: "Hardware and tags of the servers and of all pools, where they do not say otherwise.",
    }),
  hosts: z.array(text).min(1).meta({
    description:
      "Proxmox hosts that new VMs are distributed over: evenly, or as `hostWeights` and `zones` say. An existing VM stays where it is.",
    change: "New nodes.",
  }),
  hostWeights: z.record(text, z.int().min(0).max(1000)).exactOptional().meta({
    description:
      "Weight of each Proxmox host: one with 2 gets twice the new VMs of a pool that one with 1 gets, and one with 0 gets none. Every host gets one before any gets a second. Servers are spread evenly, over all hosts with a weight above 0.",
    values: "map of hosts to whole numbers from 0 to 1000",
    unset: "1 for each host",
    change: "New nodes.",
  }),
  zones: z.record(text, z.string().min(1).regex(labelValue, "must be a label value")).exactOptional().meta({
    description:
      "Zone of each Proxmox host: its nodes have the label `topology.kubernetes.io/zone` with it, also after their VM was migrated (from the next update on). New VMs are spread over the zones first, and then over the hosts of each zone. A host that is left out is a zone of its own, without a label.",
    unset: "no zones",
    change: "Labels in place; new nodes are spread over the new zones.",
  }),
  hostLabel: text.regex(labelName, "must be a label name").exactOptional().meta({
    description: "Label of nodes that has the name of their Proxmox host, such as `topology.example.com/host`.",
    unset: "none",
    change: "In place. The label that it was called before stays.",
  }),
  storage: text.meta({ description: "Storage of disks and cloud-init drives.", change: "New nodes." }),
  fullClones: z.boolean().default(false).meta({
    description: "Whether VMs are full copies of their templates, where a pool does not say otherwise.",
    change: "New nodes.",
  }),
  storageOvercommit: z.number().min(1).default(1).meta({
    description:
      "Factor by which the total full size of a run's new disks may exceed the free space of the storage. Linked clones on thin storage start almost empty. A factor above 1 assumes that they stay small; a storage that fills up stops every VM on it.",
    change: "In place.",
  }),
  bridge: text.default("vmbr0").meta({ description: "Network bridge of the nodes.", change: "New nodes." }),
  ...siteNetwork,
});

export const schema = z.strictObject({
  cluster: text.meta({
    description: "Name of the cluster; part of every node's name.",
    values: "lower-case letters, digits and dashes; begins with a letter",
    change:
      "Refused while there are nodes, because the engine would destroy all of them. Another cluster needs another stack.",
  }),
  site: site.meta({ description: "The Proxmox VE site that the cluster runs on." }),
  controlPlane: controlPlane.meta({ description: "The servers: etcd and the Kubernetes API." }),
  pools: z.array(pool).default([]).meta({
    description: "Pools of agents.",
    change: "An added pool is created. The nodes of a removed one are drained and destroyed.",
  }),
  backup: backup.prefault({}).meta({
    description: "The etcd snapshot that is made and verified before the first server is decommissioned.",
  }),
  localVolumes: localVolumes.prefault({}).meta({
    description:
      "What happens to data that only a departing node holds: PersistentVolumes on the disk of one node (local, TopoLVM, OpenEBS, local-path, hostPath).",
  }),
  registries: registries.exactOptional().meta({
    description:
      "Private registries and mirrors of all nodes: RKE2's `registries.yaml`, as a map or as its text. It belongs to no generation, and nodes have it before RKE2 starts. Keep it, or each password in it, as a secret: credentials in clear are refused.",
    unset: "none; a `registries.yaml` of the image counts",
    change:
      "In place, where the image has the unit for it: RKE2 restarts, pods stay, one node of a pool after the other, before anything else in the pool. A node that is down gets it in the first update after it is back. Nodes of other images keep theirs and are named: raise `rollout` of their pool to replace them. Without the key, nodes keep what they have, but for one whose RKE2 does not start with it, which gets none; `{}` takes it from all.",
  }),
  images: images.exactOptional().meta({
    description:
      "What the record of a template must say before a node is cloned from it ([records and trust](images.md#records-and-trust)).",
    unset: "nothing is demanded: any template with the tags of an image is cloned",
  }),
  timeouts: timeouts.prefault({}).meta({ description: "Longest waits of the steps, in seconds." }),
  allowDestroy: z.boolean().default(false).meta({
    description: "Whether `pulumi destroy` may tear the cluster down. The value of the last `pulumi up` counts.",
    change: "In place.",
  }),
  allowRancher: z.boolean().default(false).meta({
    description:
      "Whether a cluster that Rancher has imported may be updated. Set it only when version management of this cluster is off in Rancher: otherwise both upgrade the cluster and drain each other's nodes.",
    change: "In place.",
  }),
});

/** The configuration of a cluster, with all defaults filled in. */
export type Config = z.output<typeof schema>;
export type PoolConfig = Config["pools"][number];
export type StrategyConfig = PoolConfig["strategy"];
