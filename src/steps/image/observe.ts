/** Reads what Proxmox shows of a bake. */
import { readBakeVm } from "../../clients/proxmox/bake-vm.ts";
import { listFiles } from "../../clients/proxmox/files.ts";
import type { Proxmox } from "../../clients/proxmox/client.ts";
import { isTaskOfVmRunning } from "../../clients/proxmox/task.ts";
import { findTaken, listVms } from "../../clients/proxmox/vms.ts";
import { imageOf, isCdOf, type BakeOrder } from "../../domain/images/bake.ts";
import type { ObservedBake } from "../../domain/images/bake-step.ts";

/** @throws ProxmoxError when a VM that was listed is not there any more: look again */
export async function observeBake(pve: Proxmox, order: BakeOrder): Promise<ObservedBake> {
  const { host, imageStorage: storage } = order.place;
  const list = await listVms(pve);
  const listed = list.find(({ vmid }) => vmid === order.vmid);
  const vm = listed === undefined ? await findUnlisted(pve, order) : await readBakeVm(pve, listed);
  const cds = (await listFiles(pve, { host, storage }, "iso")).map(({ volume }) => volume);
  const twin = list.find(({ vmid, name, host: its }) => vmid !== order.vmid && its === host && name === imageOf(order));
  return {
    ...(vm === undefined ? {} : { vm }),
    ...(twin === undefined ? {} : { twin }),
    cds: cds.filter((volume) => isCdOf(order, volume)),
    // A VM that is there has its own copy of the base.
    hasBase: vm !== undefined || (await hasVolume(pve, { host, storage }, order.base)),
  };
}

/** What has the VMID, although the list of the token's VMs has nothing of it. */
async function findUnlisted(pve: Proxmox, { vmid, place: { host } }: BakeOrder): Promise<ObservedBake["vm"]> {
  if ((await findTaken(pve, [vmid])).length === 0) return undefined;
  if (await isTaskOfVmRunning(pve, { host, vmid }, "qmcreate")) return "in-the-making";
  // The task may have ended since the list was read, and its VM be in the list by now.
  const listed = (await listVms(pve)).find((one) => one.vmid === vmid);
  return listed === undefined ? "hidden" : await readBakeVm(pve, listed);
}

async function hasVolume(pve: Proxmox, at: { host: string; storage: string }, base: string): Promise<boolean> {
  return (await listFiles(pve, at, "import")).some(({ volume }) => volume === base);
}
