import { Deadline } from "../common/deadline.ts";
import { UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxError } from "./errors.ts";
import { proveVm } from "./identity.ts";
import { awaitTask, TaskError } from "./task.ts";
import { isRunning, vmPath } from "./vms.ts";

/** A VM whose identity was proved right before. */
export interface ProvedVm {
  vmid: number;
  host: string;
  name: string;
  /** SMBIOS uuid. */
  uuid: string;
}

const startSeconds = 120;
/** The power goes within seconds; the shutdown of somebody else that holds the VM may take its minute before, or two. */
const stopSeconds = 180;
/** What a start, and a shutdown of a drained node, take on local NVMe storage, and a little more. */
const usualStartMs = 2000;
const usualShutdownMs = 4500;

/** Starts a VM and awaits it. One that runs already is fine. */
export async function start(pve: Proxmox, vm: ProvedVm): Promise<void> {
  const upid = await pve.post(`${vmPath(vm)}/status/start`);
  try {
    await awaitTask(pve, upid, new Deadline(`the start of ${vm.name}`, startSeconds), usualStartMs);
  } catch (error) {
    if (!(error instanceof TaskError && error.exitStatus.endsWith("already running"))) throw error;
  }
}

/**
 * Turns a VM off: asks the guest first, cuts the power when it has not obeyed in time, and does not believe a task but
 * looks whether the VM is off.
 * @param graceSeconds time that the guest gets to shut down
 */
export async function turnOff(pve: Proxmox, vm: ProvedVm, graceSeconds: number): Promise<void> {
  try {
    await shutdown(pve, vm, graceSeconds);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    say(`${vm.name}: ${error.message}; the power is cut`);
    // Minutes may have passed, and its number may be another's by now.
    await proveVm(pve, vm.host, { ...vm, tags: [] });
    await stop(pve, vm);
  }
  if (!(await isRunning(pve, vm))) return;
  throw new UserError({
    what: `${vm.name} still runs although Proxmox said that it was stopped`,
    where: `VM ${vm.vmid} on ${vm.host}`,
    todo: "look at its tasks in Proxmox; was it started again by hand or by HA?",
  });
}

/** Asks the guest to shut down; Proxmox itself cuts the power after `graceSeconds`. */
async function shutdown(pve: Proxmox, vm: ProvedVm, graceSeconds: number): Promise<void> {
  const upid = await pve.post(`${vmPath(vm)}/status/shutdown`, { timeout: graceSeconds, forceStop: true });
  const deadline = new Deadline(`the shutdown of ${vm.name}`, graceSeconds + 30);
  await awaitTask(pve, upid, deadline, usualShutdownMs);
}

/**
 * Cuts the power. A shutdown of ours that still waits for the guest is overruled. Somebody else's is not: a token ends only
 * tasks of its own. Such a task holds the VM, Proxmox gives the stop up after 10 s, and it is asked for again.
 */
export async function stop(pve: Proxmox, vm: ProvedVm, seconds = stopSeconds): Promise<void> {
  const deadline = new Deadline(`the stop of ${vm.name}`, seconds);
  let held = false;
  await deadline.poll(
    1000,
    async () => {
      try {
        await awaitTask(pve, await askToStop(pve, vm), deadline);
        return true;
      } catch (error) {
        if (!(error instanceof TaskError) || !isHeld(error)) throw error;
        if (!held) say(`${vm.name}: another task in Proxmox holds it, as a shutdown that waits for the guest; waiting`);
        held = true;
        return undefined;
      }
    },
    () =>
      `another task in Proxmox holds VM ${vm.vmid} on ${vm.host}, as the shutdown of somebody else: end it in the VM's task history`,
  );
}

/** HA takes a stop without more words, and refuses to overrule anything. */
async function askToStop(pve: Proxmox, vm: ProvedVm): Promise<unknown> {
  const path = `${vmPath(vm)}/status/stop`;
  try {
    return await pve.post(path, { "overrule-shutdown": true });
  } catch (error) {
    if (!(error instanceof ProxmoxError && error.errors["overrule-shutdown"] !== undefined)) throw error;
    return await pve.post(path);
  }
}

/** The lock that every task of a VM takes was not to be had. */
function isHeld({ exitStatus }: TaskError): boolean {
  return /^can't lock file '\S+\/lock-\d+\.conf' - got timeout$/.test(exitStatus);
}

/**
 * Whether Proxmox starts the VM when its host boots.
 * @param digest of the configuration whose identity was proved: the write fails if the VM became another since
 */
export async function setOnBoot(pve: Proxmox, vm: ProvedVm, onBoot: boolean, digest: string): Promise<void> {
  await pve.put(`${vmPath(vm)}/config`, { onboot: onBoot, digest });
}
