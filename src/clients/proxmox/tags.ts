import { vmTags } from "../../domain/model/formats.ts";
import { nodeName } from "../../domain/model/generation.ts";

/** The node that our tags on a VM name. They are only a claim; the SMBIOS uuid proves it. */
export interface NodeTags {
  cluster: string;
  pool: string;
  slot: number;
  generation: string;
}

/** The tags of a node's VM, in the order in which Proxmox stores them. */
export function tagsOf({ cluster, pool, slot, generation }: NodeTags): string[] {
  return [
    vmTags.ours,
    `${vmTags.cluster}${cluster}`,
    `${vmTags.generation}${generation}`,
    `${vmTags.pool}${pool}`,
    `${vmTags.slot}${slot}`,
  ].sort();
}

/** The name of a node that is not adopted, by its tags. */
export function nodeNameIn({ cluster, pool, slot, generation }: NodeTags): string {
  return nodeName(cluster, pool, slot, generation);
}

/** Proxmox separates by semicolons; administrators also type commas and blanks. */
export function splitTags(tags: string): string[] {
  return tags.split(/[;,\s]+/).filter(Boolean);
}

/** The node that the VM claims to be, or undefined when one of our tags is missing or occurs twice. */
export function nodeTags(tags: readonly string[]): NodeTags | undefined {
  if (!tags.includes(vmTags.ours)) return undefined;
  const cluster = only(tags, vmTags.cluster);
  const pool = only(tags, vmTags.pool);
  const slot = only(tags, vmTags.slot);
  const generation = only(tags, vmTags.generation);
  if (cluster === undefined || pool === undefined || generation === undefined) return undefined;
  if (slot === undefined || !/^\d+$/.test(slot) || !/^[0-9a-f]{8}$/.test(generation)) return undefined;
  return { cluster, pool, slot: Number(slot), generation };
}

function only(tags: readonly string[], prefix: string): string | undefined {
  const has = (tag: string): boolean => tag.startsWith(prefix);
  const at = tags.findIndex(has);
  return at === tags.findLastIndex(has) ? tags[at]?.slice(prefix.length) : undefined;
}

/** Whether a tag is one of those that we give to nodes. */
export function isOurTag(tag: string): boolean {
  const { ours, member, ...prefixes } = vmTags;
  return tag === ours || tag === member || Object.values(prefixes).some((prefix) => tag.startsWith(prefix));
}

/** Whether a VM was started as a node and has not been decommissioned since. */
export function hasMemberTag(tags: readonly string[]): boolean {
  return tags.includes(vmTags.member);
}

/** How many characters of a cluster's uid its VMs show: enough to tell the clusters of one name apart. */
const shown = 8;

/** The tag of the cluster with this uid. @param uid of its namespace kube-system */
export function uidTag(uid: string): string {
  return `${vmTags.uid}${uid.slice(0, shown).toLowerCase()}`;
}

/** The tags that say of which cluster a VM was started as a node. One, unless somebody changed them by hand. */
export function uidTagsIn(tags: readonly string[]): string[] {
  return tags.filter((tag) => tag.startsWith(vmTags.uid));
}

/** The parameters with which a VM gets exactly these tags. */
export function tagsChange(tags: readonly string[]): { tags: string } | { delete: "tags" } {
  return tags.length > 0 ? { tags: tags.join(";") } : { delete: "tags" };
}
