import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
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

/** Starts a VM and awaits it. One that runs already is fine. @param stop ends the wait: the start goes on in Proxmox */
export async function start(pve: Proxmox, vm: ProvedVm, stop?: AbortSignal): Promise<void> {
  const upid = await pve.post(`${vmPath(vm)}/status/start`);
  try {
    await awaitTask(pve, upid, new Deadline(`the start of ${vm.name}`, startSeconds, stop), usualStartMs);
  } catch (error) {
    if (!(error instanceof TaskError && error.exitStatus.endsWith("already running"))) throw error;
  }
}

/**
 * Turns a VM off: asks the guest first, cuts the power when it has not obeyed in time, and does not believe a task but
 * looks whether the VM is off. Only a task that failed or never ended says that the guest does not obey: who could not ask
 * for a while knows nothing of it.
 * @param graceSeconds time that the guest gets to shut down
 * @param stop ends the waits: the shutdown goes on in Proxmox
 */
export async function turnOff(pve: Proxmox, vm: ProvedVm, graceSeconds: number, stop?: AbortSignal): Promise<void> {
  try {
    await shutdown(pve, vm, graceSeconds, stop);
    // The task of a VM under HA only tells HA, and ends at once.
    await awaitOff(pve, vm, graceSeconds, stop);
  } catch (error) {
    if (!(error instanceof TaskError || error instanceof DeadlineError)) throw error;
    say(`${vm.name}: ${error.message}; the power is cut`);
    // Minutes may have passed, and its number may be another's by now.
    const now = await proveVm(pve, vm.host, { ...vm, tags: [] });
    await stopVm(pve, { ...vm, host: now.host }, { stop });
  }
}

/** Asks the guest to shut down; Proxmox itself cuts the power after `graceSeconds`. */
async function shutdown(pve: Proxmox, vm: ProvedVm, graceSeconds: number, stop?: AbortSignal): Promise<void> {
  const upid = await pve.post(`${vmPath(vm)}/status/shutdown`, { timeout: graceSeconds, forceStop: true });
  const deadline = new Deadline(`the shutdown of ${vm.name}`, graceSeconds + 30, stop);
  await awaitTask(pve, upid, deadline, usualShutdownMs);
}

async function awaitOff(pve: Proxmox, vm: ProvedVm, seconds: number, stop?: AbortSignal): Promise<void> {
  const deadline = new Deadline(`${vm.name} to be off`, seconds, stop);
  await deadline.poll(
    1000,
    async () => ((await isRunning(pve, vm)) ? undefined : true),
    () => "its shutdown has ended, and it still runs: is it managed by Proxmox HA, and does that answer?",
  );
}

/**
 * Cuts the power, and looks until it is off: the task of a VM under HA only tells HA, and ends at once. A shutdown of ours that
 * still waits for the guest is overruled. Somebody else's is not, for a token ends only tasks of its own: it holds the VM,
 * Proxmox gives the stop up after 10 s, and it is asked for again.
 * @throws UserError that says what holds the VM
 */
export async function stopVm(
  pve: Proxmox,
  vm: ProvedVm,
  { seconds = stopSeconds, stop }: { seconds?: number; stop?: AbortSignal | undefined } = {},
): Promise<void> {
  const deadline = new Deadline(`the stop of ${vm.name}`, seconds, stop);
  let held: string | undefined;
  let told = false;
  const off = deadline.poll(
    1000,
    async () => {
      if (!told) {
        const holder = await whatHolds(pve, vm, deadline);
        if (holder !== undefined && held === undefined)
          say(`${vm.name}: another task in Proxmox holds it, as a shutdown that waits for the guest; it is waited for`);
        held = holder;
        told = holder === undefined;
      }
      return told && !(await isRunning(pve, vm)) ? true : undefined;
    },
    () => held ?? "",
  );
  await off.catch((error: unknown) => {
    if (!(error instanceof DeadlineError)) throw error;
    throw new UserError({
      what: `${vm.name} still runs although Proxmox was told to stop it: ${held ?? "the stop has ended, and it runs on"}`,
      where: `VM ${vm.vmid} on ${vm.host}`,
      todo: "look at its tasks in Proxmox: a shutdown of somebody else that waits, or a start by hand or by HA",
    });
  });
}

/** Asks for a stop. @returns the words of Proxmox when the lock that every task of a VM takes was not to be had */
async function whatHolds(pve: Proxmox, vm: ProvedVm, deadline: Deadline): Promise<string | undefined> {
  try {
    await awaitTask(pve, await askToStop(pve, vm), deadline);
    return undefined;
  } catch (error) {
    const isHeld = error instanceof TaskError && /^can't lock file '\S+\/lock-\d+\.conf'/.test(error.exitStatus);
    if (isHeld) return error.exitStatus;
    throw error;
  }
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

/**
 * Whether Proxmox starts the VM when its host boots.
 * @param digest of the configuration whose identity was proved: the write fails if the VM became another since
 */
export async function setOnBoot(pve: Proxmox, vm: ProvedVm, onBoot: boolean, digest: string): Promise<void> {
  await pve.put(`${vmPath(vm)}/config`, { onboot: onBoot, digest });
}
