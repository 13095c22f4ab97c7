/** Drive options of a VM: their checks, their privileges and their volumes. */
import { died, invalid } from "../answer.ts";
import type { DataCentre } from "../data-centre.ts";
import type { Token, Vm, Volume } from "../model.ts";
import { needAll } from "../permissions.ts";
import { findVolume, storageOf } from "../storages.ts";
import { needVolume } from "../volume-access.ts";
import { keepsFiles, parseVolumeId, pathOf, storageIdOf } from "../volume-names.ts";
import type { Task } from "../tasks.ts";
import { allocate, allocateCloudInit, copyDisk, makeBase, sizeOption } from "../volumes.ts";
import { driveOptions } from "./formats.ts";
import type { Drive } from "./properties.ts";
import { propertyProblem } from "./property-format.ts";
import { isCdrom, isCloudInitDrive, parseDrive, parseSize, printDrive, printSize } from "./properties.ts";

/** Parts of `STORAGE:GIB`; undefined when it names an existing volume. */
function newDisk(file: string): { storage: string; gib: number } | undefined {
  const [, storage, gib] = /^([^:/]+):(\d+(?:\.\d+)?)$/.exec(file) ?? [];
  return storage === undefined ? undefined : { storage, gib: Number(gib) };
}

function storageNamed(file: string): string | undefined {
  return /^([^:/]+):/.exec(file)?.[1];
}

/** @throws ApiError 400 for a drive that cannot be parsed */
export function checkDriveSyntax(key: string, value: string): void {
  const drive = parseDrive(value);
  const size = drive.options.get("size");
  if (drive.file === "" || (size !== undefined && parseSize(size) === undefined)) {
    throw invalid({ [key]: "invalid format - format error\nfile: property is missing and it is not optional\n" });
  }
  const problem = propertyProblem(driveOptions, "", value);
  if (problem !== undefined) throw invalid({ [key]: problem });
  if (drive.options.has("import-from") && newDisk(drive.file)?.gib !== 0) {
    throw invalid({
      [key]: "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>",
    });
  }
}

function onlyRoot(): Error {
  return died("Only root can pass arbitrary filesystem paths. at /usr/share/perl5/PVE/Storage.pm line 581.");
}

/** Checks a token's privileges for a drive: on the VM for its kind, on the storage for its place. */
export function checkDriveAccess(dc: DataCentre, token: Token, vmid: number, key: string, value: string): void {
  const drive = parseDrive(value);
  if (drive.file === "none") return;
  if (drive.file === "cdrom") {
    needAll(dc, token, "/", ["Sys.Console"]);
    return;
  }
  const source = drive.options.get("import-from");
  if (source?.startsWith("/")) throw onlyRoot();
  const storage = storageNamed(drive.file);
  if (storage === undefined) throw onlyRoot();
  if (newDisk(drive.file)) needAll(dc, token, `/storage/${storage}`, ["Datastore.AllocateSpace"]);
  storageOf(dc, storage);
  // A new cloud-init drive is not checked: Proxmox VE allocates it whatever the privileges on the storage are.
  if (drive.file.endsWith(":cloudinit")) return;
  if (!newDisk(drive.file)) needVolume(dc, token, drive.file, vmid);
  if (source !== undefined) checkSource(dc, token, vmid, key, source);
}

/** Copying the disk of a VM needs the privilege to clone that VM; any other image is read as a volume. */
function checkSource(dc: DataCentre, token: Token, vmid: number, key: string, source: string): void {
  const { content, vmid: owner } = parseVolumeId(storageOf(dc, storageIdOf(source)), source);
  if (content !== "images" && content !== "import")
    throw invalid({ [key]: `${source} has wrong type '${content}' - needs to be 'images' or 'import'` });
  if (owner === undefined) needVolume(dc, token, source, vmid);
  else needAll(dc, token, `/vms/${owner}`, ["VM.Clone"]);
}

function isOwn(volid: string, vmid: number): boolean {
  return new RegExp(`(vm|base)-${vmid}-`).test(volid.split("/").pop() ?? "");
}

async function importDisk(
  dc: DataCentre,
  vm: Vm,
  key: string,
  drive: Drive,
  source: string,
  task: Task | undefined,
): Promise<Volume> {
  const image = findVolume(dc, source);
  const storage = storageOf(dc, storageNamed(drive.file) ?? "");
  if (!image) throw died(`failed to stat '${pathOf(storageOf(dc, storageIdOf(source)), source)}'`);
  task?.say(`create full clone of drive ${image.content === "images" ? `${key} ` : ""}(${source})`);
  const volume = await copyDisk(dc, image, { storage, vmid: vm.vmid, format: drive.options.get("format") }, task);
  // What becomes of this disk is no matter of others that were made of the same file.
  if (image.content === "import" && image.image) volume.image = { ...image.image };
  return volume;
}

/** Creates the disk that a drive requests. @returns the drive with its volume */
async function realise(dc: DataCentre, vm: Vm, key: string, drive: Drive, task: Task | undefined): Promise<Drive> {
  const wanted = newDisk(drive.file);
  const source = drive.options.get("import-from");
  if (isCloudInitDrive(drive) && drive.file.endsWith(":cloudinit")) {
    const volume = await allocateCloudInit(dc, storageOf(dc, storageNamed(drive.file) ?? ""), vm.vmid, task);
    return { file: volume.volid, options: new Map([["media", "cdrom"]]) };
  }
  const options = new Map(drive.options);
  if (wanted) {
    const size = Math.round(wanted.gib * 1024 ** 3);
    let volume =
      source === undefined
        ? await allocate(dc, storageOf(dc, wanted.storage), vm.vmid, { size, format: options.get("format") }, task)
        : await importDisk(dc, vm, key, drive, source, task);
    if (vm.config.get("template") === 1) volume = await makeBase(dc, volume, task);
    options.delete("format");
    options.delete("import-from");
    options.set("size", sizeOption(volume));
    return { file: volume.volid, options };
  }
  return existing(dc, drive, options);
}

/** A drive that names an existing volume. */
function existing(dc: DataCentre, drive: Drive, options: Map<string, string>): Drive {
  if (drive.file === "none" || drive.file === "cdrom") return { file: drive.file, options };
  const volume = findVolume(dc, drive.file);
  if (!volume) throw died(`volume '${drive.file}' does not exist`);
  if (volume.content === "iso") options.set("size", printSize(volume.size));
  else if (!isCloudInitDrive(drive)) options.set("size", sizeOption(volume));
  return { file: drive.file, options };
}

/**
 * Creates the volumes that a drive option requests.
 * @param task whose log reports it; absent for a synchronous request
 * @returns the option's value as the configuration stores it
 */
export async function makeDrive(dc: DataCentre, vm: Vm, key: string, value: string, task?: Task): Promise<string> {
  const asked = parseDrive(value);
  const printed = printDrive(await realise(dc, vm, key, asked, task));
  if (newDisk(asked.file) || asked.file.endsWith(":cloudinit"))
    task?.say(`${key}: successfully created disk '${printed}'`);
  return printed;
}

/** Ids of the volumes that the VM owns, from the current and pending drives of its configuration. */
export function ownVolumes(dc: DataCentre, vm: Vm): string[] {
  const volids = [...vm.config, ...vm.pending]
    .filter(([key]) => /^(ide|sata|scsi|virtio|efidisk|tpmstate|unused)\d+$/.test(key))
    .map(([, value]) => parseDrive(String(value)).file);
  return [...new Set(volids)].filter(
    (volid) => volid.includes(":") && isOwn(volid, vm.vmid) && storageKnown(dc, volid),
  );
}

function storageKnown(dc: DataCentre, volid: string): boolean {
  return dc.storages.has(storageIdOf(volid));
}

/** The privileges on the VM that a drive needs, in the order in which Proxmox VE checks them. */
export function drivePrivileges(value: string): string[] {
  const drive = parseDrive(value);
  if (isCloudInitDrive(drive)) return ["VM.Config.Cloudinit", "VM.Config.CDROM"];
  return [isCdrom(drive) ? "VM.Config.CDROM" : "VM.Config.Disk"];
}

/** True when the storage can hold linked clones of this volume. */
export function canLink(dc: DataCentre, volid: string): boolean {
  const storage = storageOf(dc, storageIdOf(volid));
  const able = keepsFiles(storage) || ["lvmthin", "zfspool", "rbd"].includes(storage.type);
  return able && /(^|[:/])base-\d+-/.test(volid.split("/").pop() ?? "");
}
