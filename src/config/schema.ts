import { z } from "zod";
import { registrationAddress, siteNetwork } from "./address-schema.ts";
import { backup } from "./backup-schema.ts";
import { hardware } from "./hardware-schema.ts";
import { images } from "./images-schema.ts";
import { node, tags, whenNodesLeave } from "./node-schema.ts";
import { registries } from "./registries-schema.ts";
import { onFailure, strategy } from "./strategy-schema.ts";
import { timeouts } from "./timeouts-schema.ts";
import { count, image, labelName, labelValue, text } from "./value-schema.ts";
import { MAX_SLOTS } from "../domain/model/generation.ts";
import { LIFELONG_KEYS } from "../domain/rollout/cluster-keys.ts";

/*
 * The keys of a stack under `evergreen:`. docs/configuration.md and components/cluster-args.ts are made of this file and those
 * of its parts (`*-schema.ts`) by `npm run docs`. The metadata of each key says:
 *   description: what it means, with its unit
 *   change:      what a change of it does to a live cluster (the page explains "In place", "New nodes", "New generation")
 *   unset:       what applies when the key is left out, where the default does not say it
 *   values:      which values are possible, where type and bounds do not say it
 */

const localVolumes = z.strictObject({
  whenNodesLeave: whenNodesLeave.default("refuse").meta({
    description:
      "What a run does when a departing node has such volumes, and they are bound or hold retained data, or such disks. `refuse`: the run stops before it changes anything. `keep`: the node is decommissioned, and its VM stays, powered off, with its disk. Likewise for volumes of a zone that loses its last node for their pods: no VM is kept for them. It applies to pools without a setting of their own, and to a pool that left the configuration.",
    change: "In place.",
  }),
  keepDays: count(0).max(3650).default(7).meta({
    description:
      "How long such a VM is kept, in days after its node was decommissioned; the first run after that destroys it. 0: the next run destroys it.",
    change: "In place, also for VMs that are kept already.",
  }),
});

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
    description:
      "The etcd snapshot that is made and verified before the first server is decommissioned, or a second one joins the only one.",
  }),
  localVolumes: localVolumes.prefault({}).meta({
    description:
      "What happens to data that only a departing node holds: PersistentVolumes on the disk of one node (local, TopoLVM, OpenEBS, local-path, hostPath), and disks that somebody has attached to its VM.",
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
      "What the record of a template must say before a node is cloned from it ([records and trust](images.md#records-and-trust)), and which images the stack bakes.",
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
