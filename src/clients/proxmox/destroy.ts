import { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxError } from "./errors.ts";
import { proveVm, type ExpectedVm } from "./identity.ts";
import { awaitTask, TaskError } from "./task.ts";
import { findTaken, vmPath, type VmConfig } from "./vms.ts";

const destroySeconds = 300;

/**
 * Refuses a protected VM, before its node is disturbed: Proxmox would refuse to destroy the VM when the node is gone.
 * @throws UserError when the VM is protected; nothing was done to it
 */
export function requireUnprotected({ isProtected, name, vmid, host }: VmConfig): void {
  if (isProtected !== true) return;
  throw new UserError({
    what: `the VM of ${name} is protected in Proxmox, so nobody can destroy it`,
    where: `VM ${vmid} on ${host}: protection`,
    todo: `ask who protected it; when it may go, qm set ${vmid} --protection 0, then run again. Nothing was done to it`,
  });
}

/**
 * Destroys a VM that is off, right after its identity was proved. Only for a VM that the engine has lost and cannot
 * destroy; the engine destroys every other VM. An earlier destroy whose answer was lost may still run: this one fails
 * then, and the VM is destroyed nevertheless.
 */
export async function destroyVm(pve: Proxmox, host: string, expected: ExpectedVm): Promise<void> {
  const vm = await proveVm(pve, host, expected);
  requireUnprotected(vm);
  try {
    const upid = await pve.delete(vmPath(vm), { "destroy-unreferenced-disks": true, purge: true });
    await awaitTask(pve, upid, new Deadline(`the destruction of ${vm.name}`, destroySeconds));
  } catch (error) {
    const isRefused = error instanceof TaskError || error instanceof ProxmoxError;
    // Only an unused VMID proves it: a VM that is hidden from the token, or on another host, still exists.
    if (!isRefused || (await findTaken(pve, [vm.vmid])).length > 0) throw error;
  }
}
