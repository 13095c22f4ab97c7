import { Deadline } from "../common/deadline.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxError } from "./errors.ts";
import { proveVm, type ExpectedVm } from "./identity.ts";
import { awaitTask, TaskError } from "./task.ts";
import { takenAmong, vmPath } from "./vms.ts";

const destroySeconds = 300;

/**
 * Destroys a VM that is off, right after its identity was proved. Only for what the engine cannot destroy because it lost
 * it; everything else is the engine's. An earlier destroy whose answer was lost may be at work: this one fails then, and what
 * was asked for is done all the same (seed 770638 of the simulation).
 */
export async function destroyVm(pve: Proxmox, host: string, expected: ExpectedVm): Promise<void> {
  const vm = await proveVm(pve, host, expected);
  try {
    const upid = await pve.delete(vmPath(vm), { "destroy-unreferenced-disks": true, purge: true });
    await awaitTask(pve, upid, new Deadline(`the destruction of ${vm.name}`, destroySeconds));
  } catch (error) {
    const isRefused = error instanceof TaskError || error instanceof ProxmoxError;
    // Only a number that is free for everybody is proof: a VM out of sight, or on another host, is there.
    if (!isRefused || (await takenAmong(pve, [vm.vmid])).length > 0) throw error;
  }
}
