/** The status of VMs in the forms that the API shows. */
import { agentEnabled, isCdrom, parseDrive } from "./config/properties.ts";
import { isDrive } from "./config/options.ts";
import type { DataCentre } from "./data-centre.ts";
import type { Pool, Value, Vm } from "./model.ts";
import { findVolume } from "./storages.ts";

/** Bytes of RAM of a configuration. */
export function memoryBytes(config: ReadonlyMap<string, Value>): number {
  return Number(String(config.get("memory") ?? "512").replace(/^current=/, "")) * 1024 ** 2;
}

export function cpuCount(config: ReadonlyMap<string, Value>): number {
  return Number(config.get("cores") ?? 1) * Number(config.get("sockets") ?? 1);
}

/** Option names of a VM's boot devices, in the order in which a firmware would try them. */
export function bootDevices(config: ReadonlyMap<string, Value>): string[] {
  const order = /order=([^,]*)/.exec(String(config.get("boot") ?? ""))?.[1];
  return (order ?? "").split(";").filter(Boolean);
}

/** The volume that a VM boots from. */
export function bootDrive(config: ReadonlyMap<string, Value>): string | undefined {
  const disks = [...config.keys()].filter((key) => isDrive(key) && !/^(efidisk|tpmstate)/.test(key)).sort();
  const candidates = [...bootDevices(config), ...disks];
  return candidates
    .map((key) => config.get(key))
    .filter((value) => value !== undefined)
    .map((value) => parseDrive(String(value)))
    .find((drive) => !isCdrom(drive) && drive.file !== "none")?.file;
}

function maxDisk(dc: DataCentre, vm: Vm): number {
  const volid = bootDrive(vm.config);
  return (volid === undefined ? undefined : findVolume(dc, volid)?.size) ?? 0;
}

function upSeconds(vm: Vm): number {
  return vm.power ? Math.floor((performance.now() - vm.power.since) / 1000) : 0;
}

/** The fields that every kind of status has in common. */
function vitals(dc: DataCentre, vm: Vm): Record<string, Value> {
  const config = vm.config;
  const name = config.get("name");
  return {
    vmid: vm.vmid,
    name: name ?? `VM ${vm.vmid}`,
    status: vm.power ? "running" : "stopped",
    cpu: 0,
    mem: vm.power ? Math.floor(memoryBytes(config) / 4) : 0,
    maxmem: memoryBytes(config),
    disk: 0,
    maxdisk: maxDisk(dc, vm),
    uptime: upSeconds(vm),
    netin: vm.power ? 110 : 0,
    netout: vm.power ? 586 : 0,
  };
}

function has(vm: Vm, kind: RegExp): boolean {
  return [...vm.config.keys()].some((key) => kind.test(key));
}

/** The optional fields of a VM's status, which are shown only when set. */
function marks(vm: Vm): Record<string, unknown> {
  const { config } = vm;
  return {
    ...(has(vm, /^serial\d+$/) && { serial: 1 }),
    ...(config.has("lock") && { lock: config.get("lock") }),
    ...(config.has("tags") && { tags: config.get("tags") }),
    ...(config.get("template") === 1 && { template: 1 }),
  };
}

/** `GET status/current` */
export function currentStatus(dc: DataCentre, vm: Vm): Record<string, unknown> {
  const { config, power } = vm;
  return {
    ...vitals(dc, vm),
    qmpstatus: power?.qemu ?? "stopped",
    cpus: cpuCount(config),
    ha: vm.ha === undefined ? { managed: 0 } : { managed: 1, state: vm.ha },
    ...(agentEnabled(config.get("agent")) && { agent: 1 }),
    ...marks(vm),
    ...(dc.version === "9.2" && { memhost: power ? Math.floor(memoryBytes(config) / 3) : 0 }),
    ...(power && { pid: power.pid, nics: nicsOf(vm) }),
  };
}

function nicsOf(vm: Vm): Record<string, unknown> {
  const nets = [...vm.config.keys()].filter((key) => /^net\d+$/.test(key));
  return Object.fromEntries(nets.map((key) => [`tap${vm.vmid}i${key.slice(3)}`, { netin: 110, netout: 586 }]));
}

/** A row of `GET nodes/N/qemu`. */
export function listRow(dc: DataCentre, vm: Vm): Record<string, unknown> {
  const { config, power } = vm;
  return {
    ...vitals(dc, vm),
    cpus: cpuCount(config),
    ...(power && { pid: power.pid }),
    ...marks(vm),
  };
}

/** What the statistics daemon records of a VM until its next poll: the status is QEMU's own. */
export function seeVm(dc: DataCentre, vm: Vm): Record<string, Value> {
  return {
    ...vitals(dc, vm),
    status: vm.power?.qemu ?? "stopped",
    maxcpu: cpuCount(vm.config),
    diskread: 0,
    diskwrite: 0,
    template: vm.config.get("template") === 1 ? 1 : 0,
  };
}

/** A member of a pool: only what the statistics daemon has recorded, and `unknown` before its first poll. */
export function memberRow(dc: DataCentre, vm: Vm): Record<string, unknown> {
  const seen = dc.timing.statusInterval === 0 && dc.isUp(vm.node) ? seeVm(dc, vm) : vm.seen;
  return { status: "unknown", ...seen, vmid: vm.vmid, id: `qemu/${vm.vmid}`, node: vm.node, type: "qemu" };
}

/**
 * A row of `GET cluster/resources`: like a member's, but tags, lock and pool are always current.
 * @param pool the VM's pool, when the calling token may see it
 */
export function resourceRow(dc: DataCentre, vm: Vm, pool: Pool | undefined): Record<string, unknown> {
  return {
    ...memberRow(dc, vm),
    ...(vm.config.has("tags") && { tags: vm.config.get("tags") }),
    ...(vm.config.has("lock") && { lock: vm.config.get("lock") }),
    ...(vm.ha !== undefined && { hastate: vm.ha }),
    ...(pool && { pool: pool.id }),
  };
}
