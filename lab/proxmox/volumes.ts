/** Allocates, clones, copies and frees volumes. */
import { setTimeout as delay } from "node:timers/promises";
import { died } from "./answer.ts";
import { printSize } from "./config/properties.ts";
import type { DataCentre } from "./data-centre.ts";
import type { Storage, Volume } from "./model.ts";
import { clonesOf, findVolume, storageOf, usedBytes } from "./storages.ts";
import type { Task } from "./tasks.ts";
import { imageId, keepsFiles, linkedId, pathOf, storageIdOf } from "./volume-names.ts";

const MiB = 1024 ** 2;

/** The output of `qemu-img create`, on storages that keep files. */
function formatting(dc: DataCentre, storage: Storage, volume: Volume): string | undefined {
  if (!keepsFiles(storage)) return undefined;
  const head = `Formatting '${pathOf(storage, volume.volid)}', fmt=${volume.format}`;
  if (volume.format === "raw") return `${head} size=${volume.size} preallocation=off`;
  const base = volume.parent === undefined ? undefined : findVolume(dc, volume.parent);
  const wide = base !== undefined && dc.version === "9.2";
  const preallocation =
    base === undefined
      ? " preallocation=metadata"
      : wide
        ? ` preallocation=${base.format === "raw" ? "off" : "metadata"}`
        : "";
  const backing = base
    ? ` backing_file=../${base.volid.slice(base.volid.indexOf(":") + 1)} backing_fmt=${base.format}`
    : "";
  return (
    `${head} cluster_size=${wide ? 131072 : 65536} extended_l2=${wide ? "on" : "off"}${preallocation} ` +
    `compression_type=zlib size=${volume.size}${backing} lazy_refcounts=off refcount_bits=16`
  );
}

function taken(storage: Storage, vmid: number, index: number): boolean {
  const name = new RegExp(`(vm|base)-${vmid}-disk-${index}(\\.\\w+)?$`);
  return [...storage.volumes.keys()].some((volid) => name.test(volid));
}

function nextDiskName(storage: Storage, vmid: number): string {
  let index = 0;
  while (taken(storage, vmid, index)) index += 1;
  return `vm-${vmid}-disk-${index}`;
}

function put(storage: Storage, volume: Pick<Volume, "volid" | "format" | "size"> & Partial<Volume>): Volume {
  const complete: Volume = {
    content: "images",
    vmid: undefined,
    used: 200_704,
    ctime: Math.floor(Date.now() / 1000),
    parent: undefined,
    image: undefined,
    checksum: undefined,
    digests: undefined,
    data: undefined,
    files: new Map(),
    ...volume,
  };
  storage.volumes.set(complete.volid, complete);
  return complete;
}

/** Registers an existing volume: an ISO, an imported image, a seeded disk. */
export const placeVolume = put;

function needSpace(storage: Storage, bytes: number, path: string, task: Task | undefined): void {
  if (usedBytes(storage) + bytes <= storage.total) return;
  task?.say(`qemu-img: ${path}: error while writing: No space left on device`);
  throw died(`unable to create image: qemu-img: ${path}: No space left on device`);
}

/** Works under the storage's lock, with the usual timeout. */
async function locked<T>(
  dc: DataCentre,
  storage: Storage,
  hold: number,
  task: Task | undefined,
  work: () => T,
): Promise<T> {
  return storage.lock.hold(
    "exclusive",
    dc.timing.lockWait,
    async () => {
      // The work comes last: a task that is cancelled meanwhile has created nothing yet.
      if (task) await task.pass(hold);
      else await new Promise((resolve) => setTimeout(resolve, hold));
      return work();
    },
    task,
  );
}

/** Milliseconds that a small allocation or removal holds the storage lock. */
function brief(dc: DataCentre): number {
  return dc.profile.cloneLock / 10;
}

/** Allocates a new, empty disk. */
export async function allocate(
  dc: DataCentre,
  storage: Storage,
  vmid: number,
  wanted: { size: number; format?: string | undefined },
  task?: Task,
): Promise<Volume> {
  const format = keepsFiles(storage) ? (wanted.format ?? "raw") : "raw";
  return locked(dc, storage, brief(dc), task, () => {
    const volid = imageId(storage, vmid, nextDiskName(storage, vmid), format);
    needSpace(storage, 331_776, pathOf(storage, volid), task);
    const volume = put(storage, { volid, vmid, format, size: wanted.size, used: format === "raw" ? 4096 : 331_776 });
    const line = formatting(dc, storage, volume);
    if (line !== undefined) task?.say(line);
    return volume;
  });
}

/** Allocates the cloud-init drive. @throws when the VM has one already */
export async function allocateCloudInit(dc: DataCentre, storage: Storage, vmid: number, task?: Task): Promise<Volume> {
  const format = keepsFiles(storage) ? "qcow2" : "raw";
  const volid = imageId(storage, vmid, `vm-${vmid}-cloudinit`, format);
  return locked(dc, storage, brief(dc), task, () => {
    if (storage.volumes.has(volid)) throw died(`disk image '${pathOf(storage, volid)}' already exists`);
    needSpace(storage, 266_240, pathOf(storage, volid), task);
    const volume = put(storage, { volid, vmid, format, size: 4 * MiB, used: 266_240 });
    const line = formatting(dc, storage, volume);
    if (line !== undefined) task?.say(line);
    return volume;
  });
}

/** Creates a linked clone of a base image. Holds the storage lock for the profile's time. */
export async function linkClone(dc: DataCentre, base: Volume, vmid: number, task: Task): Promise<Volume> {
  const storage = storageOf(dc, storageIdOf(base.volid));
  return locked(dc, storage, dc.profile.cloneLock, task, () => {
    const name = nextDiskName(storage, vmid);
    const volid = linkedId(storage, base, vmid, name);
    needSpace(storage, 200_704, pathOf(storage, volid), task);
    if (keepsFiles(storage)) {
      const baseName = base.volid.slice(base.volid.indexOf(":") + 1);
      task.say(`clone ${baseName}: images, ${name}.qcow2, ${vmid} to ${name}.qcow2 (base=../${baseName})`);
    }
    const format = keepsFiles(storage) ? "qcow2" : "raw";
    // A thin snapshot of LVM does not depend on its base, which may be removed.
    const parent = storage.type === "lvmthin" ? undefined : base.volid;
    const volume = put(storage, { volid, vmid, format, size: base.size, parent, image: base.image });
    volume.files = new Map(base.files);
    const line = formatting(dc, storage, volume);
    if (line !== undefined) task.say(line);
    return volume;
  });
}

/** Bytes as the log of a copy shows them. */
function rendered(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** power).toFixed(1)} ${units[power] ?? ""}`;
}

/** Creates an independent disk with the content of another. Copies without the lock. */
export async function copyDisk(
  dc: DataCentre,
  source: Volume,
  target: { storage: Storage; vmid: number; format?: string | undefined },
  task?: Task,
): Promise<Volume> {
  const { storage, vmid } = target;
  const volume = await allocate(dc, storage, vmid, { size: source.size, format: target.format ?? source.format }, task);
  if (dc.version === "9.2") task?.say(`allocated target volume '${volume.volid}'`);
  task?.say(`transferred 0.0 B of ${rendered(source.size)} (0.00%)`);
  try {
    needSpace(storage, source.used, pathOf(storage, volume.volid), task);
    await (task ? task.pass(dc.profile.fullClone) : delay(dc.profile.fullClone));
  } catch (error) {
    storage.volumes.delete(volume.volid);
    throw error;
  }
  task?.say(`transferred ${rendered(source.size)} of ${rendered(source.size)} (100.00%)`);
  volume.used = Math.max(volume.used, source.used);
  volume.image = source.image;
  volume.files = new Map(source.files);
  return volume;
}

/** Frees a volume. @throws when it has linked clones */
export async function freeVolume(dc: DataCentre, volid: string, task?: Task): Promise<void> {
  const storage = dc.storages.get(storageIdOf(volid));
  if (!storage) return;
  await locked(dc, storage, brief(dc), task, () => {
    if (clonesOf(dc, volid).length > 0) throw died(`base volume '${volid}' is still in use by linked cloned`);
    storage.volumes.delete(volid);
  });
}

/** Converts a disk to a base image. @returns its new volume */
export async function makeBase(dc: DataCentre, volume: Volume, task?: Task): Promise<Volume> {
  const storage = storageOf(dc, storageIdOf(volume.volid));
  return locked(dc, storage, brief(dc), task, () => {
    const volid = volume.volid.replace(/vm-(\d+-disk-\d+)/, "base-$1");
    storage.volumes.delete(volume.volid);
    volume.volid = volid;
    storage.volumes.set(volid, volume);
    return volume;
  });
}

/** The size of a volume as the `size` option of a drive shows it. */
export function sizeOption(volume: Volume): string {
  return printSize(volume.size);
}
