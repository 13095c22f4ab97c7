import { died, invalid } from "../answer.ts";
import type { Call } from "../call.ts";
import type { Token, Value, Vm } from "../model.ts";
import type { DataCentre } from "../data-centre.ts";
import { needAll, needAny } from "../permissions.ts";
import { needWritable } from "../quorum.ts";
import type { Task } from "../tasks.ts";
import { freeVolume } from "../volumes.ts";
import { checkDriveAccess, checkDriveSyntax, drivePrivileges, makeDrive } from "./drives.ts";
import { isCloudInit, isDrive, optionOf, valueOf } from "./options.ts";
import { isCloudInitDrive, normaliseTags, parseDrive, parseNic, printNic } from "./properties.ts";
import { checkSshKeys } from "./sshkeys.ts";
import { applyPending, digestOf, hotplugs } from "./store.ts";
import { checkBoot, removeFromBoot } from "./boot.ts";

const root = "only root can set";

/** Privileges that an option needs beside what its value decides. */
function checkOption(dc: DataCentre, token: Token, vmid: number, key: string): void {
  const path = `/vms/${vmid}`;
  const group = optionOf(key)?.group;
  if (group === undefined || group === "drive" || group === "device" || key === "tags") return;
  if (group === "root") throw died(`${root} '${key}' config`);
  if (group === "Cloudinit") needAny(dc, token, path, ["VM.Config.Cloudinit", "VM.Config.Network"]);
  else needAll(dc, token, path, [group === "PowerMgmt" ? "VM.PowerMgmt" : `VM.Config.${group}`]);
  if (key === "startup") needAll(dc, token, "/", ["Sys.Modify"]);
}

/** The privileges that a device or drive needs, by its value. */
function devicePrivileges(key: string, value: string): string[] {
  if (isDrive(key)) return drivePrivileges(value);
  if (/^unused\d+$/.test(key)) return ["VM.Config.Disk"];
  if (key === "tags") return ["VM.Config.Options"];
  const real = `${root} '${key}' config for real devices`;
  if (/^serial\d+$/.test(key) && value !== "socket") throw died(real);
  if (/^(usb|hostpci|parallel)\d+$/.test(key) && !value.includes("mapping=") && !value.includes("spice")) {
    throw died(real);
  }
  return ["VM.Config.HWType"];
}

function checkDevice(call: Call, vmid: number, key: string, value: string): void {
  const group = optionOf(key)?.group;
  if (group !== "drive" && group !== "device" && key !== "tags") return;
  needAll(call.dc, call.token, `/vms/${vmid}`, devicePrivileges(key, value));
}

/** A bridge may be used by those who have SDN.Use on it, a VLAN of it by those who have it there. */
export function checkBridge(dc: DataCentre, token: Token, value: string): void {
  const { bridge, options } = parseNic(value);
  if (bridge === undefined) throw died("no sdn vnet ID specified");
  const tag = options.get("tag");
  needAll(dc, token, `/sdn/zones/localnetwork/${bridge}${tag === undefined ? "" : `/${tag}`}`, ["SDN.Use"]);
}

/** The privileges for a set of options, in the order in which Proxmox VE asks for them. */
export function checkRights(dc: DataCentre, token: Token, vmid: number, settings: ReadonlyMap<string, string>): void {
  for (const key of settings.keys()) checkOption(dc, token, vmid, key);
  for (const [key, value] of settings) {
    if (isDrive(key)) checkDriveAccess(dc, token, vmid, key, value);
    if (/^net\d+$/.test(key)) checkBridge(dc, token, value);
  }
}

/** Checks and values beyond the schema. */
export function checkValues(settings: ReadonlyMap<string, string>): void {
  for (const [key, value] of settings) {
    if (isDrive(key)) checkDriveSyntax(key, value);
    if (key === "sshkeys") checkSshKeys(value);
    if (key === "hookscript") throw invalid({ hookscript: `script '${value}' does not exist\n` });
  }
}

/** An option as the configuration keeps it; drives are made elsewhere. */
export function stored(key: string, value: string): Value {
  if (/^net\d+$/.test(key)) return printNic(parseNic(value));
  if (key === "tags") return normaliseTags(value);
  return valueOf(key, value);
}

function set(vm: Vm, key: string, value: Value): void {
  if (vm.power && !hotplugs(vm, key, value)) {
    if (vm.config.get(key) === value) vm.pending.delete(key);
    else vm.pending.set(key, value);
    return;
  }
  vm.pending.delete(key);
  vm.config.set(key, value);
}

async function setAll(call: Call, vm: Vm, settings: ReadonlyMap<string, string>, task?: Task): Promise<void> {
  for (const [key, value] of settings) {
    const before = vm.config.get(key);
    // A drive that another takes the place of is asked about too.
    if (isDrive(key) && before !== undefined) checkDevice(call, vm.vmid, key, String(before));
    checkDevice(call, vm.vmid, key, value);
    if (isDrive(key)) {
      const after = await makeDrive(call.dc, vm, key, value, task);
      if (before !== undefined) unuse(vm, String(before), after);
      set(vm, key, after);
    } else set(vm, key, stored(key, value));
  }
}

/** A disk that loses its slot to another one stays with the VM as unused. */
function unuse(vm: Vm, before: string, after: string): void {
  const old = parseDrive(before);
  if (old.options.get("media") === "cdrom" || !old.file.includes(":") || old.file === parseDrive(after).file) return;
  let index = 0;
  while (vm.config.has(`unused${index}`)) index += 1;
  vm.config.set(`unused${index}`, old.file);
}

async function remove(call: Call, vm: Vm, key: string): Promise<void> {
  const value = vm.config.get(key);
  if (value === undefined && !vm.pending.has(key)) return;
  const text = String(value ?? vm.pending.get(key) ?? "");
  checkDevice(call, vm.vmid, key, text);
  if (isDrive(key)) {
    if (vm.config.get("protection") === 1) throw died(`can't remove drive '${key}' - protection mode enabled`);
    const drive = parseDrive(text);
    if (isCloudInitDrive(drive)) await freeVolume(call.dc, drive.file);
    else unuse(vm, text, "");
    removeFromBoot(vm, key);
  } else if (/^unused\d+$/.test(key)) await freeVolume(call.dc, text);
  if (vm.power && !hotplugs(vm, key, null)) vm.pending.set(key, null);
  else {
    vm.config.delete(key);
    vm.pending.delete(key);
  }
}

/** Options that steer the request and are none of the VM. */
const steering = new Set(["node", "vmid", "delete", "digest", "revert", "force", "skiplock", "background_delay"]);

/** The options of a request, without those that steer it. */
export function settingsOf(
  params: ReadonlyMap<string, string>,
  beside: ReadonlySet<string> = steering,
): Map<string, string> {
  return new Map([...params].filter(([key]) => !beside.has(key)));
}

function deletions(params: ReadonlyMap<string, string>): string[] {
  const keys = (params.get("delete") ?? "").split(/[,; ]+/).filter(Boolean);
  for (const key of keys) {
    if (params.has(key)) {
      throw invalid({ delete: `you can't use '-${key}' and -delete ${key}' at the same time` });
    }
    if (!optionOf(key)) throw invalid({ delete: `unknown option '${key}'` });
  }
  return keys;
}

/** Changes a configuration under the VM's lock. @param task whose log tells of new disks */
export async function updateConfig(call: Call, load: () => Vm, task?: Task): Promise<void> {
  const { dc, token, params } = call;
  const vmid = params.int("vmid");
  const settings = settingsOf(params);
  const gone = deletions(params);
  if (settings.size === 0 && gone.length === 0 && !params.has("revert")) throw died("no options specified");
  checkValues(settings);
  for (const key of gone) checkOption(dc, token, vmid, key);
  checkRights(dc, token, vmid, settings);
  await dc.configLock(vmid).hold("exclusive", dc.timing.lockWait, async () => {
    const vm = load();
    const digest = params.get("digest");
    if (digest !== undefined && digest !== digestOf(vm)) throw died("checksum mismatch (file change by other user?)");
    checkLock(vm);
    needWritable(dc, vm.node, vmid);
    checkBoot(vm, settings, gone);
    for (const key of gone) await remove(call, vm, key);
    await setAll(call, vm, settings, task);
    if (!vm.power) applyPending(vm);
    dc.tell("configured", vm, token.id);
  });
}

/** @throws ApiError when an operation holds the VM */
export function checkLock(vm: Vm): void {
  const lock = vm.config.get("lock");
  if (lock !== undefined) throw died(`VM is locked (${lock})`);
}

/** Takes the waiting cloud-init options over into the drive. */
export function applyCloudInit(vm: Vm): void {
  applyPending(vm, (key) => isCloudInit(key));
}
