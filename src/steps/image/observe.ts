/** Reads what Proxmox shows of a bake. */
import { listFiles } from "../../clients/proxmox/files.ts";
import type { Proxmox } from "../../clients/proxmox/client.ts";
import { isTaskOfVmRunning } from "../../clients/proxmox/task.ts";
import { findTaken, isRunning, listVms, readConfig, vmConfigOf, type ListedVm } from "../../clients/proxmox/vms.ts";
import { imageOf, isCdOf, type BakeOrder } from "../../domain/images/bake.ts";
import type { ObservedBake, ObservedBakeVm } from "../../domain/images/bake-step.ts";
import { drivesOf, propertiesOf, volumeOf } from "../../domain/images/hardware.ts";

/** The drives of a bake's VM. */
export const DRIVES = { disk: "scsi0", cd: "ide2" } as const;

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

/** Reads the VM of a bake as it is now. */
export async function readBakeVm(pve: Proxmox, vm: Pick<ListedVm, "vmid" | "host">): Promise<ObservedBakeVm> {
  const row = await readConfig(pve, vm);
  const { name, uuid, tags, template, lock, digest, host } = vmConfigOf(row, vm);
  const options = row.texts();
  const cd = volumeOf(propertiesOf(options.get(DRIVES.cd) ?? "none"));
  const disk = drivesOf(options).find((drive) => drive.name === DRIVES.disk);
  return {
    ...{ host, name, tags, uuid, config: digest },
    // Proxmox appends a line break to the notes.
    notes: (options.get("description") ?? "").replace(/\n+$/, ""),
    isTemplate: template,
    isRunning: !template && (await isRunning(pve, vm)),
    ...(lock === undefined ? {} : { lock }),
    ...(options.has(DRIVES.cd) ? { cd } : {}),
    diskGiB: disk?.sizeGiB ?? 0,
    isBase: /(^|[:/])base-\d+-/.test(volumeOf(propertiesOf(options.get(DRIVES.disk) ?? "none"))),
  };
}
