import { propertiesOf, volumeOf, type TemplateOptions } from "../images/hardware.ts";
import type { Problem } from "../model/problem.ts";
import type { KeptVolume, NodeRecord, NodeSpec, VmDisk } from "../model/types.ts";
import { shortList } from "./local-data.ts";

/*
 * Disks that somebody has attached to the VM of a node. Proxmox destroys with a VM every volume whose name has its
 * number, attached or not, so their data leaves with the node like that of local volumes, and with the same consent.
 */

const DISK = /^(ide|sata|scsi|virtio|unused)\d+$/;
const SYSTEM_DISK = "scsi0";

/** The number in the name of a volume: `local:1100/vm-1100-disk-1.qcow2`, `thin:base-9000-disk-0/vm-1100-disk-0`. */
const OWNER = /[:/](?:vm|base)-(\d+)-[^/]*$/;

/** The disks that Proxmox destroys with a VM, beside its system disk and what its firmware keeps. */
export function furtherDisksOf(options: TemplateOptions, vmid: number): VmDisk[] {
  return [...options].flatMap(([name, value]) => {
    const given = propertiesOf(value);
    const volume = volumeOf(given);
    const isOther = !DISK.test(name) || name === SYSTEM_DISK || given.get("media") === "cdrom";
    if (isOther || Number(OWNER.exec(volume)?.[1]) !== vmid) return [];
    return [{ name, volume, size: given.get("size") ?? "of unknown size" }];
  });
}

/** The names of the disks that the configuration gives to a node beside its system disk (components/vm.ts). */
export const configuredDisks = ({ hardware }: Pick<NodeSpec, "hardware">): string[] =>
  (hardware?.disks ?? []).map((_, index) => `scsi${index + 1}`);

/**
 * The disks of a node's VM that it was not made with. One that is attached nowhere (`unused0`) is never its own.
 * @param given names of those it was made with, as far as they are recorded
 * @param otherwise those it was made with when they are not
 */
export function addedDisks(
  disks: readonly VmDisk[],
  given: Pick<NodeRecord, "disks"> | undefined,
  otherwise: readonly string[],
): VmDisk[] {
  const own = given?.disks ?? otherwise;
  return disks.filter(({ name }) => !own.includes(name));
}

/** As what is kept of a node. */
export const asKept = ({ name, size }: VmDisk): KeptVolume => ({ claim: `disk ${name}`, size });

/** `scsi1 (local:vm-1100-disk-1, 500G)` */
export const diskWords = (disks: readonly VmDisk[]): string =>
  shortList(disks.map(({ name, volume, size }) => `${name} (${volume}, ${size})`));

/**
 * Why a node with such disks may not leave; nothing was changed.
 * @param where the configuration key that would consent
 */
export function addedDiskProblem(
  { name, vmid }: { name: string; vmid: number },
  disks: readonly VmDisk[],
  where: string,
): Problem {
  return {
    what: `${name} leaves, and disks that somebody has attached to its VM would be destroyed with it: ${diskWords(disks)}`,
    where,
    todo: `give them to another VM: qm disk unlink ${vmid} --idlist DISK, then qm disk move ${vmid} unused0 --target-vmid ID; or set localVolumes of the pool to keep: the node leaves, and its VM stays, off, with its disks`,
  };
}
