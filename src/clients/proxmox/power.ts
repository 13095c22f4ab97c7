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
/** The power is cut within seconds; a shutdown of another client that holds the VM may first take a minute or two. */
const stopSeconds = 180;
/** Usual duration of a start, and of the shutdown of a drained node, on local NVMe storage, with a small margin. */
const usualStartMs = 2000;
const usualShutdownMs = 4250;

/**
 * Starts a VM and waits for the task. A VM that already runs is not an error.
 * @param stop ends the wait: the start goes on in Proxmox
 */
export async function start(pve: Proxmox, vm: ProvedVm, stop?: AbortSignal): Promise<void> {
  const upid = await pve.post(`${vmPath(vm)}/status/start`);
  try {
    await awaitTask(pve, upid, new Deadline(`the start of ${vm.name}`, startSeconds, stop), usualStartMs);
  } catch (error) {
    if (!(error instanceof TaskError && error.exitStatus.endsWith("already running"))) throw error;
  }
}

/**
 * Turns a VM off: asks the guest first, and cuts the power when it has not obeyed in time. It does not trust a task,
 * but checks that the VM is off. Only a task that failed or never ended shows that the guest does not obey: an API that
 * does not answer shows nothing about the guest.
 * @param graceSeconds time that the guest gets to shut down
 * @param stop ends the waits: the shutdown goes on in Proxmox
 * @param mayCut called before each request to cut the power, which follows a wait. It throws when that may not be done
 *   any more
 */
export async function turnOff(
  pve: Proxmox,
  vm: ProvedVm,
  graceSeconds: number,
  stop?: AbortSignal,
  mayCut?: () => Promise<void>,
): Promise<void> {
  try {
    const isOff = await shutdown(pve, vm, graceSeconds, stop);
    // The task of a VM under HA only passes the request to HA, and ends at once.
    if (!isOff) await awaitOff(pve, vm, graceSeconds, stop);
  } catch (error) {
    if (!(error instanceof TaskError || error instanceof DeadlineError)) throw error;
    say(`${vm.name}: ${error.message}; the power is cut`);
    // Minutes may have passed, and its VMID may belong to another VM by now.
    const now = await proveVm(pve, vm.host, { ...vm, tags: [] });
    await stopVm(pve, { ...vm, host: now.host }, { stop, mayCut });
  }
}

/**
 * Asks the guest to shut down; Proxmox itself cuts the power after `graceSeconds`.
 * @returns whether the VM was seen off
 */
async function shutdown(pve: Proxmox, vm: ProvedVm, graceSeconds: number, stop?: AbortSignal): Promise<boolean> {
  const upid = await pve.post(`${vmPath(vm)}/status/shutdown`, { timeout: graceSeconds, forceStop: true });
  const deadline = new Deadline(`the shutdown of ${vm.name}`, graceSeconds + 30, stop);
  let isOff = false;
  await awaitTask(pve, upid, deadline, usualShutdownMs, async () => (isOff = !(await isRunning(pve, vm))));
  return isOff;
}

async function awaitOff(pve: Proxmox, vm: ProvedVm, seconds: number, stop?: AbortSignal): Promise<void> {
  const deadline = new Deadline(`${vm.name} to be off`, seconds, stop);
  await deadline.poll(
    1000,
    async () => ((await isRunning(pve, vm)) ? undefined : true),
    () => "its shutdown has ended, and it still runs: is it managed by Proxmox HA, and does that answer?",
  );
}

interface StopOptions {
  seconds?: number;
  stop?: AbortSignal | undefined;
  mayCut?: (() => Promise<void>) | undefined;
}

/**
 * Cuts the power, and checks until the VM is off: the task of a VM under HA only passes the request to HA, and ends at
 * once. A shutdown of ours that still waits for the guest is overruled. A shutdown of another client is not, because a
 * token can end only its own tasks: it holds the VM, Proxmox gives up the stop after 10 s, and the stop is requested
 * again.
 * @throws UserError that says what holds the VM
 */
export async function stopVm(
  pve: Proxmox,
  vm: ProvedVm,
  { seconds = stopSeconds, stop, mayCut }: StopOptions = {},
): Promise<void> {
  const deadline = new Deadline(`the stop of ${vm.name}`, seconds, stop);
  let held: string | undefined;
  let told = false;
  const off = deadline.poll(
    1000,
    async () => {
      if (!told) {
        await mayCut?.();
        const holder = await requestStop(pve, vm, deadline);
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

/** Requests a stop. @returns the message of Proxmox when another task held the lock that every task of a VM takes */
async function requestStop(pve: Proxmox, vm: ProvedVm, deadline: Deadline): Promise<string | undefined> {
  try {
    await awaitTask(pve, await askToStop(pve, vm), deadline);
    return undefined;
  } catch (error) {
    const isHeld = error instanceof TaskError && /^can't lock file '\S+\/lock-\d+\.conf'/.test(error.exitStatus);
    if (isHeld) return error.exitStatus;
    throw error;
  }
}

/** HA accepts only a plain stop, and refuses the parameter that overrules a shutdown. */
async function askToStop(pve: Proxmox, vm: ProvedVm): Promise<unknown> {
  const path = `${vmPath(vm)}/status/stop`;
  try {
    return await pve.post(path, { "overrule-shutdown": true });
  } catch (error) {
    if (!(error instanceof ProxmoxError && error.errors["overrule-shutdown"] !== undefined)) throw error;
    return await pve.post(path);
  }
}
