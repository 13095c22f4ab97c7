/** What must hold of a bake and its proof while they are killed, and after the run that ends them. */
import type { VmStatus } from "../../lab/control.ts";

/** What is seen of the image of a trial, and of what is not of it. */
export interface BakeFacts {
  image: string;
  /** VMID of its template, and of the clone that proves it. */
  vmid: number;
  proofVmid: number;
  /** All VMs of the data centre. */
  vms: readonly Pick<VmStatus, "vmid" | "name" | "image" | "template">[];
  /** CDs and snippets of all storages, but for those of others. */
  files: readonly string[];
  /** Volumes of disks, with the VMID of their owner. */
  disks: readonly { volid: string; vmid: number }[];
  /** Options of what has the VMID of the template; empty: nothing has it. */
  options: ReadonlyMap<string, string>;
  /** Whether a signed record says of this very template that its tests passed. */
  isProved: boolean;
  /** Types of the tasks that were started for the VMID since the bake began. */
  tasks: readonly string[];
  /** What is not of the bake, by its name, with all that is seen of it. */
  others: ReadonlyMap<string, string>;
}

/** What is seen only once all has ended. */
export interface LeftFacts {
  /** Logs of bakes and proofs that failed. */
  logs: readonly string[];
  /** Names of credentials that the state of the engine has. */
  credentials: readonly string[];
}

const isOf = ({ vmid, proofVmid }: BakeFacts, id: number): boolean => id === vmid || id === proofVmid;

/**
 * What is wrong at any moment of a bake, of its proof and of the roll.
 * @param others what was not of the bake when it began
 */
export function violationsNow(facts: BakeFacts, others: BakeFacts["others"]): string[] {
  const { image, vms, isProved, tasks } = facts;
  const users = vms.filter((vm) => vm.image === image && !isOf(facts, vm.vmid));
  const count = (type: string): number => tasks.filter((one) => one === type).length;
  return [
    ...(isProved ? [] : users.map(({ name }) => `${name} is made of ${image}, which nobody has proved`)),
    ...["qmcreate", "qmtemplate"]
      .filter((type) => count(type) > 1)
      .map((type) => `${image} is made ${count(type)} times: ${type}`),
    ...[...others].flatMap(([name, seen]) => {
      const now = facts.others.get(name);
      return now === seen
        ? []
        : [`${name}, which is not of the bake, ${now === undefined ? "is gone" : "was changed"}`];
    }),
  ];
}

/** What is wrong once a run has ended well. */
export function violationsAfter(
  facts: BakeFacts,
  others: BakeFacts["others"],
  { logs, credentials }: LeftFacts,
): string[] {
  const { image, vmid, proofVmid, vms, files, disks, options, isProved, tasks } = facts;
  const template = vms.find((vm) => vm.vmid === vmid);
  const clone = vms.find((vm) => vm.vmid === proofVmid);
  const ids = new Set(vms.map((vm) => vm.vmid));
  return [
    ...violationsNow(facts, others),
    ...(template?.template && template.name === image ? [] : [`VM ${vmid} is not the template of ${image}`]),
    ...(isProved ? [] : [`${image} has no record that proves it`]),
    ...["qmcreate", "qmtemplate"]
      .filter((type) => !tasks.includes(type))
      .map((type) => `nobody has seen ${image} being made: ${type}`),
    ...(clone === undefined ? [] : [`the clone ${clone.name} of the proof is left`]),
    ...files.map((volume) => `the file ${volume} is left`),
    ...disks.filter((disk) => isOf(facts, disk.vmid) && !ids.has(disk.vmid)).map(({ volid }) => `${volid} is left`),
    ...[...options].filter(isOfGuest).map(([name, value]) => `the template has ${name}: ${value}`),
    ...credentials.map((name) => `the state has ${name}`),
    ...logs.map((name) => `a run that was only killed has left the log ${name}`),
  ];
}

/** A drive that is no disk, and what cloud-init would tell a guest. */
function isOfGuest([name, value]: readonly [string, string]): boolean {
  return /media=cdrom|cloudinit/.test(value) || /^(ci\w+|sshkeys|ipconfig\d+)$/.test(name);
}
