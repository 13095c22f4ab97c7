/** Storages of the data centre and their volumes. */
import { died } from "./answer.ts";
import type { DataCentre } from "./data-centre.ts";
import { FileLock } from "./locks.ts";
import type { Storage, Volume } from "./model.ts";
import { keepsFiles, storageIdOf } from "./volume-names.ts";

const GiB = 1024 ** 3;

export function newStorage(id: string, options: Partial<Storage> = {}): Storage {
  const { shared = false, type = "dir" } = options;
  return {
    path: id === "local" ? "/var/lib/vz" : `/var/lib/${id}`,
    content: keepsFiles({ type })
      ? ["images", "iso", "import", "vztmpl", "backup", "rootdir", "snippets"]
      : ["images", "rootdir"],
    total: 2000 * GiB,
    baseUsed: 20 * GiB,
    volumes: new Map(),
    lock: shared
      ? new FileLock(`cfs-lock 'storage-${id}' error: got lock request timeout`)
      : FileLock.file(`/var/lock/pve-manager/pve-storage-${id}`),
    ...options,
    id,
    type,
    shared,
  };
}

/** @throws ApiError when there is no such storage */
export function storageOf(dc: DataCentre, id: string): Storage {
  const storage = dc.storages.get(id);
  if (!storage) throw died(`storage '${id}' does not exist`);
  return storage;
}

export function findVolume(dc: DataCentre, volid: string): Volume | undefined {
  return dc.storages.get(storageIdOf(volid))?.volumes.get(volid);
}

export function usedBytes(storage: Storage): number {
  let used = storage.baseUsed;
  for (const volume of storage.volumes.values()) used += volume.used;
  return used;
}

/** Whether a host has a volume: a storage that is not shared is a separate one on each host. */
export function isOn(dc: DataCentre, storage: Storage, volume: Volume, node: string): boolean {
  const owner = volume.vmid === undefined ? undefined : dc.vms.get(volume.vmid);
  return storage.shared || owner === undefined || owner.node === node;
}

/** Volumes whose base is this one. */
export function clonesOf(dc: DataCentre, volid: string): Volume[] {
  const storage = dc.storages.get(storageIdOf(volid));
  return storage ? [...storage.volumes.values()].filter((volume) => volume.parent === volid) : [];
}
