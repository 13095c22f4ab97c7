/** How storages name their volumes: a directory has files; LVM-thin, ZFS and Ceph have devices without an extension. */
import { died } from "./answer.ts";
import type { Storage, Volume } from "./model.ts";

/** What a volume id states by itself, whether the volume exists or not. */
export interface VolumeName {
  content: Volume["content"] | "snippets" | "backup";
  /** Owner of a disk image. */
  vmid: number | undefined;
}

/** True for storages that keep files, whose volume ids have an extension. */
export function keepsFiles({ type }: Pick<Storage, "type">): boolean {
  return ["dir", "nfs", "cifs", "glusterfs", "btrfs"].includes(type);
}

export function storageIdOf(volid: string): string {
  return volid.slice(0, volid.indexOf(":"));
}

function nameOf(volid: string): string {
  return volid.slice(volid.indexOf(":") + 1);
}

/** The id of a disk image. */
export function imageId(storage: Storage, vmid: number, name: string, format: string): string {
  return keepsFiles(storage) ? `${storage.id}:${vmid}/${name}.${format}` : `${storage.id}:${name}`;
}

/** The id of a linked clone's disk: LVM-thin does not include the base image in it. */
export function linkedId(storage: Storage, base: Volume, vmid: number, name: string): string {
  if (storage.type === "lvmthin") return `${storage.id}:${name}`;
  return `${base.volid}/${keepsFiles(storage) ? `${vmid}/${name}.qcow2` : name}`;
}

const kinds: readonly [VolumeName["content"], RegExp][] = [
  ["iso", /^iso\/[^/]+\.(iso|img)$/i],
  ["vztmpl", /^vztmpl\/[^/]+\.tar\.(gz|xz|zst)$/i],
  ["import", /^import\/[^/]+\.(qcow2|raw|vmdk|ova|ovf)$/i],
  ["snippets", /^snippets\/[^/]+$/],
  ["backup", /^backup\/[^/]+$/],
];

const plugins: Record<string, string> = { lvmthin: "lvm", zfspool: "zfs" };

/** @throws ApiError for an id that is invalid for this kind of storage */
export function parseVolumeId(storage: Storage, volid: string): VolumeName {
  const name = nameOf(volid);
  if (!keepsFiles(storage)) {
    const owner = /^(?:base-\d+-[^\s/]+\/)?(?:vm|base)-(\d+)-[^\s/]+$/.exec(name)?.[1];
    if (owner === undefined)
      throw died(`unable to parse ${plugins[storage.type] ?? storage.type} volume name '${name}'`);
    return { content: "images", vmid: Number(owner) };
  }
  const owner = /^(?:\d+\/[^\s/]+\/)?(\d+)\/[^\s/]+\.(?:qcow2|raw|vmdk)$/.exec(name)?.[1];
  if (owner !== undefined) return { content: "images", vmid: Number(owner) };
  const content = kinds.find(([, shape]) => shape.test(name))?.[0];
  if (content === undefined) throw died(`unable to parse directory volume name '${name}'`);
  return { content, vmid: undefined };
}

/** Path of a volume on its host. */
export function pathOf(storage: Storage, volid: string): string {
  const name = nameOf(volid);
  if (!keepsFiles(storage)) return `/dev/${storage.id}/${name.split("/").pop() ?? name}`;
  if (name.startsWith("iso/") || name.startsWith("vztmpl/"))
    return `${storage.path}/template/${name.replace("vztmpl/", "cache/")}`;
  if (name.startsWith("import/") || name.startsWith("snippets/")) return `${storage.path}/${name}`;
  const parts = name.split("/");
  return `${storage.path}/images/${parts.slice(-2).join("/")}`;
}

/** The base image of a linked clone, as its storage names it. */
export function parentName(storage: Storage, volume: Volume): string | null {
  if (volume.parent === undefined) return null;
  const name = nameOf(volume.parent);
  return keepsFiles(storage) ? `../${name}` : name;
}
