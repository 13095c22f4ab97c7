/** The node that our tags on a VM name. They are only a claim; the SMBIOS uuid proves it. */
export interface NodeTags {
  cluster: string;
  pool: string;
  slot: number;
  generation: string;
}

/** The tags of a node's VM, in the order in which Proxmox stores them. */
export function tagsOf({ cluster, pool, slot, generation }: NodeTags): string[] {
  return ["evergreen", `eg-cluster-${cluster}`, `eg-gen-${generation}`, `eg-pool-${pool}`, `eg-slot-${slot}`].sort();
}

/** Proxmox separates by semicolons; administrators also type commas and blanks. */
export function splitTags(tags: string): string[] {
  return tags.split(/[;,\s]+/).filter(Boolean);
}

/** The node that the VM claims to be, or undefined when one of our tags is missing or occurs twice. */
export function nodeTags(tags: readonly string[]): NodeTags | undefined {
  if (!tags.includes("evergreen")) return undefined;
  const cluster = only(tags, "eg-cluster-");
  const pool = only(tags, "eg-pool-");
  const slot = only(tags, "eg-slot-");
  const generation = only(tags, "eg-gen-");
  if (cluster === undefined || pool === undefined || generation === undefined) return undefined;
  if (slot === undefined || !/^\d+$/.test(slot) || !/^[0-9a-f]{8}$/.test(generation)) return undefined;
  return { cluster, pool, slot: Number(slot), generation };
}

function only(tags: readonly string[], prefix: string): string | undefined {
  const values = tags.filter((tag) => tag.startsWith(prefix));
  return values.length === 1 ? values[0]?.slice(prefix.length) : undefined;
}

/** Whether a tag is one of those that we give to nodes. */
export function isOurTag(tag: string): boolean {
  return tag === "evergreen" || /^eg-(cluster|gen|pool|slot)-/.test(tag);
}
