/** The keys that the servers and each pool of agents have: what their nodes are, and which VMs are theirs. */
import { z } from "zod";
import { nodeAddresses } from "./address-schema.ts";
import { hardware } from "./hardware-schema.ts";
import { count, image, json, labelName, labelValue, taint, text } from "./value-schema.ts";

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

export const whenNodesLeave = z.enum(["refuse", "keep"]);

/** As Proxmox VE writes them: it turns capitals into small letters unless the data centre is set otherwise. */
export const tags = z
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

export const node = {
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
