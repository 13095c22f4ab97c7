/** Reads the VM of a bake, and the template that it becomes. */
import { BAKE_DRIVES } from "../../domain/images/bake.ts";
import type { ObservedBakeVm } from "../../domain/images/bake-step.ts";
import { drivesOf, propertiesOf, volumeOf, type TemplateOptions } from "../../domain/images/hardware.ts";
import type { Proxmox } from "./client.ts";
import { isRunning, readConfig, vmConfigOf, type ListedVm } from "./vms.ts";

/** The VM of a bake with all its options, as Proxmox has them. */
export interface ReadBakeVm {
  vm: ObservedBakeVm;
  options: TemplateOptions;
}

/** Reads the VM of a bake as it is now. */
export async function readBakeVm(pve: Proxmox, vm: Pick<ListedVm, "vmid" | "host">): Promise<ObservedBakeVm> {
  return (await readBakeVmWhole(pve, vm)).vm;
}

/** The same, with its options. */
export async function readBakeVmWhole(pve: Proxmox, vm: Pick<ListedVm, "vmid" | "host">): Promise<ReadBakeVm> {
  const row = await readConfig(pve, vm);
  const { name, uuid, tags, template, lock, digest, host } = vmConfigOf(row, vm);
  const options = row.texts();
  const cd = volumeOf(propertiesOf(options.get(BAKE_DRIVES.cd) ?? "none"));
  const disk = drivesOf(options).find((drive) => drive.name === BAKE_DRIVES.disk);
  const read: ObservedBakeVm = {
    ...{ host, name, tags, uuid, config: digest },
    // Proxmox appends a line break to the notes.
    notes: (options.get("description") ?? "").replace(/\n+$/, ""),
    isTemplate: template,
    isRunning: !template && (await isRunning(pve, vm)),
    ...(lock === undefined ? {} : { lock }),
    ...(options.has(BAKE_DRIVES.cd) ? { cd } : {}),
    diskGiB: disk?.sizeGiB ?? 0,
    isBase: /(^|[:/])base-\d+-/.test(volumeOf(propertiesOf(options.get(BAKE_DRIVES.disk) ?? "none"))),
  };
  return { vm: read, options };
}
