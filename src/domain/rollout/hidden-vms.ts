import type { Problem } from "../model/problem.ts";
import type { NodeRecord, ObservedVm } from "../model/types.ts";

/**
 * Whether a VM proves that the one of a recorded node is gone although the number is taken: a data centre has a VMID once,
 * and this VM has it, was read, and is another node's, by its SMBIOS uuid, its name and its tags.
 */
export function hasNumberOf(
  vm: Pick<ObservedVm, "vmid" | "name" | "uuid" | "pool" | "slot" | "generation" | "unreachable">,
  node: Pick<NodeRecord, "vmid" | "name" | "uuid">,
): boolean {
  const isRead = vm.unreachable === undefined && vm.uuid !== "";
  // Somebody may have renamed a node's VM, and given it another uuid: its tags tell it.
  const isTagged = node.name.endsWith(`-${vm.pool}-${vm.slot}-${vm.generation}`);
  return isRead && vm.vmid === node.vmid && vm.uuid !== node.uuid && vm.name !== node.name && !isTagged;
}

/**
 * The problem of a VM that is not in the list although its VMID is in use: the token no longer sees it, or a foreign VM
 * has taken its VMID. In either case its absence from the list proves nothing.
 */
export function hiddenVmProblems({ name, vmid }: Pick<NodeRecord, "name" | "vmid">): Problem {
  return {
    what: `VM ${vmid} of ${name} exists, and the token cannot see it`,
    where: `VMID ${vmid} is taken: the VM was moved out of the Proxmox pool or restored without one, or a stranger's VM has the number`,
    todo: `nothing was done to it. Put it back into the pool that evergreen:site.proxmoxPool names (pvesh set /pools/POOL --vms ${vmid}); if it is a stranger's and ours was deleted, move the stranger to another number, then run npx evergreen repair`,
  };
}

/** The problem of a Node that is Ready although the VMID of its VM is free: some machine runs under its name. */
export function stillReady({ name, vmid }: Pick<NodeRecord, "name" | "vmid">): Problem {
  return {
    what: `the Node ${name} is Ready although VM ${vmid} is gone: a machine runs under its name`,
    where: `Node ${name}; VMID ${vmid} is free`,
    todo: "nothing was done to it. Find that machine (the Node's address and SMBIOS uuid say which): it may be the VM under another number. A Node whose VM was deleted just now is not Ready any more within a minute: run again then",
  };
}

/** The problem of a VM of ours that somebody gave another number: the number that it was made with is free. */
export function renumberedProblem({ name, vmid }: Pick<NodeRecord, "name" | "vmid">, now: number): Problem {
  return {
    what: `${name} was made as VM ${vmid}, which is gone, and VM ${now} has its name, its tags and its SMBIOS uuid`,
    where: `VM ${now}; VMID ${vmid} is free`,
    todo: `nothing was done to it: it may hold the only copy of its data. If it is the node, give it its number back: shut it down, vzdump ${now}, and qmrestore that as VM ${vmid} with --pool and without --unique, then destroy VM ${now} and start VM ${vmid}; if it is a copy that nobody needs, shut it down and remove our tags from it, then run \`npx evergreen repair\``,
  };
}
