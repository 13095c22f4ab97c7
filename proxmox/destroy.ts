import { Deadline } from "../common/deadline.ts";
import type { Proxmox } from "./client.ts";
import { proveVm, type ExpectedVm } from "./identity.ts";
import { awaitTask } from "./task.ts";
import { vmPath } from "./vms.ts";

const destroySeconds = 300;

/**
 * Destroys a VM that is off, right after its identity was proved. Only for what the engine cannot destroy because it lost
 * it; everything else is the engine's.
 */
export async function destroyVm(pve: Proxmox, host: string, expected: ExpectedVm): Promise<void> {
  const vm = await proveVm(pve, host, expected);
  const upid = await pve.delete(vmPath(vm), { "destroy-unreferenced-disks": true, purge: true });
  await awaitTask(pve, upid, new Deadline(`the destruction of ${vm.name}`, destroySeconds));
}
