/** Power of VMs: the work of start, stop, shutdown and reboot tasks. */
import { died } from "./answer.ts";
import { loadVm } from "./call.ts";
import { checkSnippets } from "./api/vm-config.ts";
import { agentEnabled, isCdrom, parseDrive, parseNic, parseProperties } from "./config/properties.ts";
import { isDrive } from "./config/options.ts";
import { applyPending } from "./config/pending.ts";
import { cloudInitDrive } from "./config/store.ts";
import { checkLock } from "./config/update.ts";
import type { DataCentre } from "./data-centre.ts";
import type { Power, Vm, Volume } from "./model.ts";
import { bootDrive, cpuCount, memoryBytes } from "./status.ts";
import { findVolume } from "./storages.ts";
import type { Task } from "./tasks.ts";
import type { CloudInit, Guest } from "../types.ts";
import { setTimeout as delay } from "node:timers/promises";

/** The guest of a machine without a bootable disk: powered on, but nothing runs. */
export const nobody: Guest = {
  agentUp: false,
  interfaces: () => [],
  readFile: () => Buffer.alloc(0),
  writeFile: () => undefined,
  exec: () => 0,
  execStatus: () => ({ exited: false }),
  run: () => Promise.resolve(""),
  shutdown: () => new Promise<void>(() => undefined),
  powerOff: () => Promise.resolve(),
};

/** What cloud-init finds on its drive. */
function cloudInitOf(vm: Vm): CloudInit {
  const drive = cloudInitDrive(vm.config);
  const network = parseProperties(drive === undefined ? "" : String(vm.config.get("ipconfig0") ?? ""));
  const [ip, ip6] = [network.get("ip"), network.get("ip6")];
  return {
    hostname: String(vm.config.get("name") ?? `VM${vm.vmid}`),
    address: ip === undefined || ip === "dhcp" ? undefined : ip.split("/")[0],
    ...(ip6 === undefined || ip6 === "manual" ? {} : { address6: ip6.split("/")[0] ?? "" }),
    gateway: network.get("gw"),
  };
}

function boot(dc: DataCentre, vm: Vm): Guest {
  const volid = bootDrive(vm.config);
  const volume: Volume | undefined = volid === undefined ? undefined : findVolume(dc, volid);
  if (!volume?.image) return nobody;
  const cd = discOf(dc, vm);
  const nic = vm.config.get("net0");
  return dc.guests.boot({
    ...(cd && { cd }),
    ...(nic !== undefined && { mac: parseNic(String(nic)).mac }),
    vmid: vm.vmid,
    name: String(vm.config.get("name") ?? `VM ${vm.vmid}`),
    uuid: parseProperties(String(vm.config.get("smbios1") ?? "")).get("uuid") ?? "",
    cores: cpuCount(vm.config),
    memoryMiB: memoryBytes(vm.config) / 1024 ** 2,
    image: volume.image,
    cloudInit: cloudInitOf(vm),
    disk: volume.files,
  });
}

/** Bytes of the first CD of its drives that was uploaded. */
function discOf(dc: DataCentre, vm: Vm): Buffer | undefined {
  return [...vm.config]
    .filter(([key]) => isDrive(key))
    .map(([, value]) => parseDrive(String(value)))
    .filter((drive) => isCdrom(drive))
    .map(({ file }) => findVolume(dc, file))
    .find((volume) => volume?.content === "iso" && volume.data !== undefined)?.data;
}

function checkDevices(dc: DataCentre, vm: Vm, task: Task): void {
  const bridges = dc.nodes.get(vm.node)?.bridges ?? [];
  for (const [key, value] of vm.config) {
    if (parseDrive(String(value)).file === "cdrom" && /^(ide|sata|scsi)\d+$/.test(key)) {
      task.warn("no physical CD-ROM available, ignoring");
    }
    const bridge = /^net\d+$/.test(key) ? parseNic(String(value)).bridge : undefined;
    if (bridge === undefined || bridges.includes(bridge) || dc.vnets.has(bridge)) continue;
    task.say(`bridge '${bridge}' does not exist`);
    task.say(
      `qemu-system-x86_64: -netdev type=tap,id=${key},ifname=tap${vm.vmid}i${key.slice(3)},` +
        "script=/usr/libexec/qemu-server/pve-bridge,downscript=/usr/libexec/qemu-server/pve-bridgedown: " +
        "network script /usr/libexec/qemu-server/pve-bridge failed with status 512",
    );
    throw died("start failed: QEMU exited with code 1");
  }
}

/** A process without a guest, which a backup starts for a VM that is off. */
export function prelaunch(dc: DataCentre): Power {
  const pid = dc.tasks.nextPid();
  return { guest: nobody, pid, since: performance.now(), qemu: "prelaunch", agentChannel: false };
}

function switchOn(dc: DataCentre, vm: Vm, token: string): void {
  vm.power = {
    guest: boot(dc, vm),
    pid: dc.tasks.nextPid(),
    since: performance.now(),
    qemu: "running",
    agentChannel: agentEnabled(vm.config.get("agent")),
  };
  dc.tell("started", vm, token);
  const { guest } = vm.power;
  void guest.ended?.then(async () => {
    if (vm.power?.guest === guest) await switchedOff(dc, vm, "");
  });
}

/** @throws ApiError in Proxmox VE's words where it looks for a process and not for a configuration */
export function processOf(dc: DataCentre, node: string, vmid: number): Vm {
  const vm = dc.vms.get(vmid);
  if (vm?.node !== node) throw died(`unable to find configuration file for VM ${vmid} on node '${node}'`);
  return vm;
}

/** Runs the work of a task under the VM's own lock. */
async function whileLocked(dc: DataCentre, vmid: number, task: Task, work: () => Promise<void>): Promise<void> {
  await dc.configLock(vmid).hold("exclusive", dc.timing.lockWait, work, task);
}

/** The work of a start task. */
export async function startVm(dc: DataCentre, node: string, vmid: number, task: Task, token: string): Promise<void> {
  await whileLocked(dc, vmid, task, async () => {
    const vm = loadVm(dc, node, vmid);
    checkLock(vm);
    if (vm.config.get("template") === 1) throw died("you can't start a vm if it's a template");
    if (vm.power) throw died(`VM ${vmid} already running`);
    await applyPending(dc, vm);
    vm.drawn.clear();
    if (cloudInitDrive(vm.config) !== undefined) {
      checkSnippets(dc, vm);
      task.say("generating cloud-init ISO");
    }
    checkDevices(dc, vm, task);
    await task.pass(dc.profile.start);
    switchOn(dc, vm, token);
  });
}

/** The process has ended: changes that were pending until the next start are applied. */
async function switchedOff(dc: DataCentre, vm: Vm, token: string): Promise<void> {
  vm.power = undefined;
  await applyPending(dc, vm);
  dc.tell("stopped", vm, token);
}

async function kill(dc: DataCentre, vm: Vm, token: string): Promise<void> {
  await vm.power?.guest.powerOff();
  if (vm.power) await switchedOff(dc, vm, token);
}

/** The work of a stop task. A running VM that is locked is refused; for a VM that is off the lock does not matter. */
export async function stopVm(dc: DataCentre, node: string, vmid: number, task: Task, token: string): Promise<void> {
  await whileLocked(dc, vmid, task, async () => {
    const vm = processOf(dc, node, vmid);
    if (vm.power) checkLock(vm);
    await kill(dc, vm, token);
  });
}

export interface ShutdownOptions {
  /** Seconds. */
  timeout: number;
  /** Powers the VM off when the guest does not shut down by itself. */
  force: boolean;
}

/** Asks the guest to shut down: by its agent when it has one, by ACPI otherwise. */
async function askToGo(dc: DataCentre, vm: Vm, options: ShutdownOptions, task: Task, token: string): Promise<void> {
  const power = vm.power;
  if (!power) return;
  if (power.agentChannel && !(await agentAnswers(dc, vm))) {
    const via = dc.version === "9.2" ? "qga" : "qmp";
    task.say(`QEMU Guest Agent is not running - VM ${vm.vmid} ${via} command 'guest-ping' failed - got timeout`);
  }
  // Cancels the timer as soon as the wait has ended.
  const over = new AbortController();
  // A paused processor does not get the request.
  const hears = power.qemu === "running";
  const gone = hears ? power.guest.shutdown().then(() => true) : new Promise<true>(() => undefined);
  const timeout = delay(options.timeout * dc.timing.second, false, { signal: over.signal });
  const cancelled = new Promise<false>((_, reject) => {
    task.signal.addEventListener("abort", () => reject(died("received interrupt")), { once: true });
    if (task.signal.aborted) reject(died("received interrupt"));
  });
  try {
    if (await Promise.race([gone, timeout.catch(() => false), cancelled])) {
      await switchedOff(dc, vm, token);
      return;
    }
  } finally {
    over.abort();
  }
  if (!options.force) throw died("VM quit/powerdown failed - got timeout");
  task.say("VM still running - terminating now with SIGTERM");
  await kill(dc, vm, token);
}

/** The work of a shutdown task. Holds the VM's lock while it waits. */
export async function shutdownVm(
  dc: DataCentre,
  node: string,
  vmid: number,
  options: ShutdownOptions,
  task: Task,
  token: string,
): Promise<void> {
  await whileLocked(dc, vmid, task, async () => {
    const vm = processOf(dc, node, vmid);
    if (vm.power) checkLock(vm);
    await askToGo(dc, vm, options, task, token);
  });
}

/** Waits for the agent as long as Proxmox VE does. */
export async function agentAnswers(dc: DataCentre, vm: Vm): Promise<boolean> {
  const end = performance.now() + dc.timing.agentWait;
  const answers = () => vm.power?.qemu === "running" && vm.power.guest.agentUp;
  while (!answers() && performance.now() < end) await delay(Math.min(20, dc.timing.agentWait));
  return answers();
}

/** Starts the VM again after a reboot task; no task reports this start. */
export function startAgain(dc: DataCentre, vm: Vm, token: string): void {
  setTimeout(() => {
    if (!dc.closed && dc.vms.get(vm.vmid) === vm && !vm.power) switchOn(dc, vm, token);
  }, dc.timing.restartDelay).unref();
}
