/** Changes of a VM's configuration, with their checks. */
import { died, invalid } from "../answer.ts";
import type { Call } from "../call.ts";
import type { Token, Value, Vm } from "../model.ts";
import type { DataCentre } from "../data-centre.ts";
import { mayAny, needAll, needAny } from "../permissions.ts";
import { needWritable } from "../quorum.ts";
import type { Task } from "../tasks.ts";
import { freeVolume } from "../volumes.ts";
import { checkDriveAccess, checkDriveSyntax, drivePrivileges, makeDrive } from "./drives.ts";
import { isDrive, optionOf, valueOf } from "./options.ts";
import { listed, normaliseTags, parseNic, printNic } from "./properties.ts";
import { checkSshKeys } from "./sshkeys.ts";
import { applyPending, letGo, plugPending } from "./pending.ts";
import { digestOf } from "./store.ts";
import { checkBoot, removeFromBoot } from "./boot.ts";

const root = "only root can set";

/**
 * Checks the privileges that an option needs regardless of its value.
 * @param pool of a VM that is being made: the privileges may be on it instead (PVE/RPCEnvironment.pm, check_vm_perm)
 */
function checkOption(dc: DataCentre, token: Token, vmid: number, key: string, pool?: string): void {
  const may = (privilege: string) => pool !== undefined && mayAny(dc, token, `/pool/${pool}`, [privilege]);
  const path = `/vms/${vmid}`;
  const group = optionOf(key)?.group;
  if (group === undefined || group === "drive" || group === "device" || key === "tags") return;
  if (group === "root") throw died(`${root} '${key}' config`);
  const privileges =
    group === "Cloudinit"
      ? ["VM.Config.Cloudinit", "VM.Config.Network"]
      : [group === "PowerMgmt" ? "VM.PowerMgmt" : `VM.Config.${group}`];
  if (!privileges.some(may)) needAny(dc, token, path, privileges);
  if (key === "startup") needAll(dc, token, "/", ["Sys.Modify"]);
}

/** The privileges that a device or drive needs, by its value. */
function devicePrivileges(key: string, value: string, change: "modify" | "delete"): string[] {
  if (isDrive(key)) return drivePrivileges(value);
  if (/^unused\d+$/.test(key)) return ["VM.Config.Disk"];
  if (key === "tags") return ["VM.Config.Options"];
  const real = `${root} '${key}' config for real devices`;
  if (/^serial\d+$/.test(key) && value !== "socket")
    throw died(`only root can ${change} '${key}' config for real devices`);
  if (/^(usb|hostpci|parallel)\d+$/.test(key) && !value.includes("mapping=") && !value.includes("spice")) {
    throw died(real);
  }
  return ["VM.Config.HWType"];
}

function checkDevice(
  call: Call,
  vmid: number,
  key: string,
  value: string,
  change: "modify" | "delete" = "modify",
): void {
  const group = optionOf(key)?.group;
  if (group !== "drive" && group !== "device" && key !== "tags") return;
  needAll(call.dc, call.token, `/vms/${vmid}`, devicePrivileges(key, value, change));
}

/** Requires SDN.Use on a bridge or a VNet or, with a VLAN tag, on that VLAN of it. */
export function checkBridge(dc: DataCentre, token: Token, value: string): void {
  const { bridge, options } = parseNic(value);
  if (bridge === undefined) throw died("no sdn vnet ID specified");
  const tag = options.get("tag");
  needAll(
    dc,
    token,
    `/sdn/zones/${dc.vnets.get(bridge) ?? "localnetwork"}/${bridge}${tag === undefined ? "" : `/${tag}`}`,
    ["SDN.Use"],
  );
}

/**
 * Checks the privileges for a set of options, in the order in which Proxmox VE checks them.
 * @param pool of a VM that is being made
 */
export function checkRights(
  dc: DataCentre,
  token: Token,
  vmid: number,
  settings: ReadonlyMap<string, string>,
  pool?: string,
): void {
  for (const key of settings.keys()) checkOption(dc, token, vmid, key, pool);
  for (const [key, value] of settings) {
    if (isDrive(key)) checkDriveAccess(dc, token, vmid, key, value);
    if (/^net\d+$/.test(key)) checkBridge(dc, token, value);
    checkMapping(dc, token, key, value);
  }
}

function checkMapping(dc: DataCentre, token: Token, key: string, value: string): void {
  const [, kind, id] = /^(hostpci|usb)\d+ .*\bmapping=([^,]+)/.exec(`${key} ${value}`) ?? [];
  if (id !== undefined) needAll(dc, token, `/mapping/${kind === "usb" ? "usb" : "pci"}/${id}`, ["Mapping.Use"]);
  if (key === "rng0" && /^(source=)?\/dev\/hwrng(,|$)/.test(value))
    needAll(dc, token, "/mapping/hwrng", ["Mapping.Use"]);
}

/** Requires the rights on the devices of a VM that is cloned: a device without a mapping is for root alone. */
export function checkDevices(dc: DataCentre, token: Token, config: ReadonlyMap<string, Value>): void {
  for (const [key, value] of config) {
    const text = String(value);
    checkMapping(dc, token, key, text);
    const kind = /^(usb|hostpci)\d+$/.exec(key)?.[1];
    const isOwn = kind !== undefined && !text.includes("mapping=") && !/spice/i.test(text);
    if (isOwn && !token.root)
      throw died(`${root} '${key}' config for ${kind === "usb" ? "real" : "non-mapped"} devices`);
  }
}

/** Checks of values that go beyond the schema. */
export function checkValues(settings: ReadonlyMap<string, string>): void {
  for (const [key, value] of settings) {
    if (isDrive(key)) checkDriveSyntax(key, value);
    if (key === "sshkeys") checkSshKeys(value);
    if (key === "hookscript") throw invalid({ hookscript: `script '${value}' does not exist\n` });
  }
}

/** An option as the configuration stores it; drives are created elsewhere. */
export function stored(key: string, value: string): Value {
  if (/^net\d+$/.test(key)) return printNic(parseNic(value));
  if (key === "tags") return normaliseTags(value);
  return valueOf(key, value);
}

async function setAll(call: Call, vm: Vm, settings: ReadonlyMap<string, string>, task?: Task): Promise<void> {
  for (const [key, value] of settings) {
    const before = vm.config.get(key);
    // Replacing a drive needs the privileges for the old drive too.
    if (isDrive(key) && before !== undefined) checkDevice(call, vm.vmid, key, String(before));
    checkDevice(call, vm.vmid, key, value);
    const after = isDrive(key) ? await makeDrive(call.dc, vm, key, value, task) : stored(key, value);
    await dropWaiting(call.dc, vm, key, after);
    vm.pending.set(key, after);
  }
}

/** Drops the pending change of an option; a disk that was created for it stays with the VM. */
async function dropWaiting(dc: DataCentre, vm: Vm, key: string, after: Value | null): Promise<void> {
  const waiting = vm.pending.get(key);
  if (isDrive(key) && waiting !== undefined && waiting !== null) await letGo(dc, vm, waiting, after);
  vm.pending.delete(key);
}

async function remove(call: Call, vm: Vm, key: string): Promise<void> {
  const value = vm.config.get(key);
  if (value === undefined && !vm.pending.has(key)) return;
  const text = String(value ?? vm.pending.get(key) ?? "");
  checkDevice(call, vm.vmid, key, text, "delete");
  if (isDrive(key) && vm.config.get("protection") === 1)
    throw died(`can't remove drive '${key}' - protection mode enabled`);
  await dropWaiting(call.dc, vm, key, value ?? null);
  if (/^unused\d+$/.test(key)) {
    await freeVolume(call.dc, text);
    vm.config.delete(key);
  } else vm.pending.set(key, null);
}

/** Reverts the pending changes of these options: the configuration stays as it is. */
async function revert(call: Call, vm: Vm, keys: readonly string[]): Promise<void> {
  for (const key of keys) await dropWaiting(call.dc, vm, key, vm.config.get(key) ?? null);
}

/** Parameters that control the request and are not options of the VM. */
const steering = new Set(["node", "vmid", "delete", "digest", "revert", "force", "skiplock", "background_delay"]);

/** The options of a request, without the parameters that control it. */
export function settingsOf(
  params: ReadonlyMap<string, string>,
  beside: ReadonlySet<string> = steering,
): Map<string, string> {
  return new Map([...params].filter(([key]) => !beside.has(key)));
}

/** The options that a request deletes, and those whose pending changes it reverts. */
function takenAway(params: ReadonlyMap<string, string>): { gone: string[]; reverted: string[] } {
  const [gone, reverted] = [listed(params.get("delete")), listed(params.get("revert"))];
  for (const key of reverted) {
    if (!optionOf(key)) throw invalid({ revert: `unknown option '${key}'` });
    if (params.has(key)) throw invalid({ delete: `you can't use '-${key}' and -revert ${key}' at the same time` });
  }
  for (const key of gone) {
    if (params.has(key)) throw invalid({ delete: `you can't use '-${key}' and -delete ${key}' at the same time` });
    if (reverted.includes(key))
      throw invalid({ revert: `you can't use '-delete ${key}' and -revert ${key}' at the same time` });
    if (!optionOf(key)) throw invalid({ delete: `unknown option '${key}'` });
  }
  return { gone, reverted };
}

/** Changes a configuration under the VM's lock. @param task whose log reports new disks */
export async function updateConfig(call: Call, load: () => Vm, task?: Task): Promise<void> {
  const { dc, token, params } = call;
  const vmid = params.int("vmid");
  const settings = settingsOf(params);
  const { gone, reverted } = takenAway(params);
  // An option without a value counts as deleted.
  gone.push(...[...params.unset].filter((key) => optionOf(key) !== undefined));
  if (settings.size === 0 && gone.length === 0 && reverted.length === 0) throw died("no options specified");
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
    checkBalloon(vm, settings);
    await revert(call, vm, reverted);
    for (const key of gone) await remove(call, vm, key);
    removeFromBoot(vm, gone);
    await setAll(call, vm, settings, task);
    const errors = vm.power ? await plugPending(dc, vm, new Set([...gone, ...settings.keys()])) : {};
    if (!vm.power) await applyPending(dc, vm);
    dc.tell("configured", vm, token.id);
    if (Object.keys(errors).length > 0) throw invalid(errors);
  });
}

/** @throws ApiError when the balloon would leave more than the whole memory */
function checkBalloon(vm: Vm, settings: ReadonlyMap<string, string>): void {
  const of = (key: string): number => Number(settings.get(key) ?? vm.config.get(key) ?? 0);
  if ((settings.has("memory") || settings.has("balloon")) && of("balloon") > of("memory"))
    throw died("balloon value too large (must be smaller than assigned memory)");
}

/** @throws ApiError when an operation has locked the VM */
export function checkLock(vm: Vm): void {
  const lock = vm.config.get("lock");
  if (lock !== undefined) throw died(`VM is locked (${lock})`);
}
