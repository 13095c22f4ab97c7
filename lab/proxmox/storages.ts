import { died } from "./answer.ts";
import type { DataCentre } from "./data-centre.ts";
import { FileLock } from "./locks.ts";
import type { Storage, Volume } from "./model.ts";

const GiB = 1024 ** 3;

export function newStorage(id: string, options: Partial<Storage> = {}): Storage {
  const shared = options.shared ?? false;
  return {
    type: "dir",
    path: id === "local" ? "/var/lib/vz" : `/var/lib/${id}`,
    content: ["images", "iso", "import", "vztmpl", "backup", "rootdir", "snippets"],
    total: 2000 * GiB,
    baseUsed: 20 * GiB,
    volumes: new Map(),
    lock: shared
      ? new FileLock(`cfs-lock 'storage-${id}' error: got lock request timeout`)
      : FileLock.file(`/var/lock/pve-manager/pve-storage-${id}`),
    ...options,
    id,
    shared,
  };
}

/** @throws ApiError when there is no such storage */
export function storageOf(dc: DataCentre, id: string): Storage {
  const storage = dc.storages.get(id);
  if (!storage) throw died(`storage '${id}' does not exist`);
  return storage;
}

export function storageIdOf(volid: string): string {
  return volid.slice(0, volid.indexOf(":"));
}

export function findVolume(dc: DataCentre, volid: string): Volume | undefined {
  return dc.storages.get(storageIdOf(volid))?.volumes.get(volid);
}

export function usedBytes(storage: Storage): number {
  let used = storage.baseUsed;
  for (const volume of storage.volumes.values()) used += volume.used;
  return used;
}

/** True for storages that keep files, whose volume ids have an extension. */
export function keepsFiles(storage: Storage): boolean {
  return ["dir", "nfs", "cifs", "glusterfs", "btrfs"].includes(storage.type);
}

/** Where a volume lies on its host. */
export function pathOf(storage: Storage, volid: string): string {
  const name = volid.slice(volid.indexOf(":") + 1);
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
  const name = volume.parent.slice(volume.parent.indexOf(":") + 1);
  return keepsFiles(storage) ? `../${name}` : name;
}

/** Volumes whose base is this one. */
export function clonesOf(dc: DataCentre, volid: string): Volume[] {
  const storage = dc.storages.get(storageIdOf(volid));
  return storage ? [...storage.volumes.values()].filter((volume) => volume.parent === volid) : [];
}
