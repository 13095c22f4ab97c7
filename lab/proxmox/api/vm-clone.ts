/** Endpoint that clones a VM or template. */
import { randomUUID } from "node:crypto";
import { died } from "../answer.ts";
import { fork } from "../call.ts";
import type { Call, Route } from "../call.ts";
import { canLink, ownVolumes } from "../config/drives.ts";
import { isDrive } from "../config/options.ts";
import {
  isCdrom,
  isCloudInitDrive,
  newMac,
  newSmbios,
  parseDrive,
  parseNic,
  printDrive,
  printNic,
} from "../config/properties.ts";
import type { Drive } from "../config/properties.ts";
import { checkBridge, checkDevices, checkLock } from "../config/update.ts";
import type { Value, Vm } from "../model.ts";
import { dnsName, spec, vmidSpec } from "../params.ts";
import { needAll } from "../permissions.ts";
import { needQuorum } from "../quorum.ts";
import { findVolume, storageOf } from "../storages.ts";
import { storageIdOf } from "../volume-names.ts";
import type { Task } from "../tasks.ts";
import { allocateCloudInit, copyDisk, freeVolume, linkClone, sizeOption } from "../volumes.ts";
import { needAllocate, needPool } from "./vm-create.ts";

interface Plan {
  source: Vm;
  full: boolean;
  /** The new configuration; its drives still name the source's volumes. */
  config: Map<string, Value>;
  /** Drives that get volumes of their own, by option name. */
  drives: [string, Drive][];
}

function isFull(call: Call, source: Vm): boolean {
  return call.params.has("full") ? call.params.flag("full") : source.config.get("template") !== 1;
}

function drivesOf(source: Vm): [string, Drive][] {
  return [...source.config]
    .filter(([key]) => isDrive(key))
    .map(([key, value]): [string, Drive] => [key, parseDrive(String(value))])
    .filter(([, drive]) => !isCdrom(drive) || isCloudInitDrive(drive))
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

function newConfig(call: Call, source: Vm): Map<string, Value> {
  const { params } = call;
  const config = new Map(source.config);
  for (const key of config.keys()) if (/^(unused\d+|template|lock|parent|snaptime)$/.test(key)) config.delete(key);
  for (const [key, value] of config) {
    if (/^net\d+$/.test(key)) config.set(key, printNic({ ...parseNic(String(value)), mac: newMac() }));
  }
  config.set("smbios1", newSmbios());
  if (config.has("vmgenid")) config.set("vmgenid", randomUUID());
  config.set("name", params.get("name") ?? `Copy-of-VM-${String(source.config.get("name") ?? source.vmid)}`);
  if (params.has("description")) config.set("description", params.text("description"));
  return config;
}

/** Everything that can be refused without a lock; checked at once, and again by the task. */
function check(call: Call): Plan {
  const { dc, token, params } = call;
  const newid = params.int("newid");
  const source = dc.vms.get(params.int("vmid"));
  if (source?.node !== params.text("node")) {
    throw died(`unable to find configuration file for VM ${params.text("vmid")} on node '${params.text("node")}'`);
  }
  needQuorum(dc);
  checkLock(source);
  const snapshot = params.get("snapname");
  if (snapshot !== undefined) throw died(`snapshot '${snapshot}' does not exist`);
  const full = isFull(call, source);
  if (!full && params.has("storage")) throw died("parameter 'storage' not allowed for linked clones");
  if (!full && params.has("format")) throw died("parameter 'format' not allowed for linked clones");
  if (dc.vms.has(newid)) throw died(`unable to create VM ${newid}: config file already exists`);
  const drives = drivesOf(source);
  for (const [key, drive] of drives) {
    const storage = params.get("storage") ?? storageIdOf(drive.file);
    if (!full && !isCloudInitDrive(drive) && !canLink(dc, drive.file)) {
      throw died(`Linked clone feature is not supported for '${drive.file}' (${key})`);
    }
    // What a CD drive holds is cloned without a right on its storage.
    if (!isCloudInitDrive(drive)) needAll(dc, token, `/storage/${storage}`, ["Datastore.AllocateSpace"]);
  }
  const isHostsCd = [...source.config].some(
    ([key, value]) => isDrive(key) && parseDrive(String(value)).file === "cdrom",
  );
  if (isHostsCd) needAll(dc, token, "/", ["Sys.Console"]);
  checkDevices(dc, token, source.config);
  const target = params.get("target");
  const isShared = drives.every(([, drive]) => storageOf(dc, storageIdOf(drive.file)).shared);
  if (target !== undefined && target !== source.node && !isShared)
    throw died(`can't clone VM to node '${target}' (VM uses local storage)`);
  for (const [key, value] of source.config) if (/^net\d+$/.test(key)) checkBridge(dc, token, String(value));
  return { source, full, config: newConfig(call, source), drives };
}

async function cloneDrive(call: Call, plan: Plan, key: string, drive: Drive, task: Task): Promise<Drive> {
  const { dc, params } = call;
  const newid = params.int("newid");
  const storage = storageOf(dc, params.get("storage") ?? storageIdOf(drive.file));
  const options = new Map(drive.options);
  const kind = plan.full || isCloudInitDrive(drive) ? "full" : "linked";
  task.say(`create ${kind} clone of drive ${key} (${drive.file})`);
  if (isCloudInitDrive(drive)) {
    const volume = await allocateCloudInit(dc, storage, newid, task);
    if (dc.version === "9.2") task.say(`allocated target volume '${volume.volid}'`);
    options.set("media", "cdrom").set("size", sizeOption(volume));
    return { file: volume.volid, options };
  }
  const base = findVolume(dc, drive.file);
  if (!base) throw died(`volume '${drive.file}' does not exist`);
  const volume = plan.full
    ? await copyDisk(dc, base, { storage, vmid: newid, format: params.get("format") }, task)
    : await linkClone(dc, base, newid, task);
  options.set("size", sizeOption(volume));
  return { file: volume.volid, options };
}

async function copyAll(call: Call, plan: Plan, vm: Vm, task: Task): Promise<void> {
  for (const [key, value] of plan.config) {
    if (!plan.drives.some(([drive]) => drive === key)) vm.config.set(key, value);
  }
  for (const [key, drive] of plan.drives) {
    vm.config.set(key, printDrive(await cloneDrive(call, plan, key, drive, task)));
  }
}

async function clone(call: Call, task: Task): Promise<void> {
  const { dc, params, token } = call;
  const newid = params.int("newid");
  const plan = check(call);
  const vm = dc.addVm(params.get("target") ?? params.text("node"), newid, [["lock", "clone"]]);
  try {
    if (dc.version === "9.2") task.say(`creating a clone of VM ${plan.source.vmid} with ID ${newid}`);
    await copyAll(call, plan, vm, task);
  } catch (error) {
    for (const volid of ownVolumes(dc, vm)) await freeVolume(dc, volid).catch(() => undefined);
    dc.vms.delete(newid);
    throw died(`clone failed: ${error instanceof Error ? error.message : String(error)}`);
  }
  vm.config.delete("lock");
  const pool = params.get("pool");
  if (pool !== undefined) dc.pools.get(pool)?.vms.add(newid);
  dc.tell("created", vm, token.id);
}

function begin(call: Call): string {
  const { dc, params } = call;
  const target = params.get("target");
  if (target !== undefined && !dc.nodes.has(target)) throw died(`no such cluster node '${target}'`);
  const storage = params.get("storage");
  if (storage !== undefined) storageOf(dc, storage);
  needPool(dc, params.get("pool"));
  const { source } = check(call);
  const wait = dc.timing.cloneLockWait;
  return fork(call, "qmclone", String(source.vmid), (task) =>
    source.lock.hold(
      source.power ? "exclusive" : "shared",
      wait,
      () => dc.configLock(params.int("newid")).hold("exclusive", wait, () => clone(call, task), task),
      task,
    ),
  );
}

export const vmCloneRoutes: Route[] = [
  {
    method: "POST",
    path: "nodes/{node}/qemu/{vmid}/clone",
    allow: (call) => {
      needAll(call.dc, call.token, `/vms/${call.params.get("vmid") ?? ""}`, ["VM.Clone"]);
      if (call.params.has("newid"))
        needAllocate(call.dc, call.token, call.params.get("newid"), call.params.get("pool"));
    },
    params: {
      newid: { ...vmidSpec, required: true },
      name: { type: "string", format: dnsName },
      description: spec.text,
      pool: spec.text,
      snapname: spec.text,
      storage: spec.text,
      format: { type: "string", enum: ["raw", "qcow2", "vmdk"] },
      full: spec.flag,
      target: spec.text,
      bwlimit: spec.integer,
    },
    run: begin,
  },
];
