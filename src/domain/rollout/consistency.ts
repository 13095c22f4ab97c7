import { isAdopted, nodeName } from "../model/generation.ts";
import type { Problem } from "../model/problem.ts";
import { hasJoined } from "./slot-state.ts";
import { hiddenVmProblems, renumberedProblem } from "./hidden-vms.ts";
import type { Generation, ObservedNode, ObservedVm, NodeRecord, ObservedPool, PoolRecord } from "../model/types.ts";

/**
 * Contradictions between the data centre, the cluster and the pool's record. The program aborts at its start when there
 * are any: every later decision would rest on a guess about which VM is which.
 * @param wanted the generation that the configuration asks for, which need not be recorded yet
 */
export function inconsistencies(
  cluster: string,
  observed: ObservedPool,
  record: PoolRecord | undefined,
  wanted?: Generation,
): Problem[] {
  const remembered = record?.nodes ?? [];
  return [
    ...doubles(observed.vms),
    ...observed.vms.flatMap((vm) => vmProblems(cluster, vm, observed, remembered)),
    ...observed.nodes.flatMap((node) => nodeProblems(node, observed, remembered)),
    ...observed.nodes.flatMap((node) => unknownGeneration(node, record, wanted)),
    ...remembered.flatMap((node) => lostVm(node, observed, wanted)),
  ];
}

function doubles(vms: readonly ObservedVm[]): Problem[] {
  const twice = (word: string, among: readonly ObservedVm[], of: (vm: ObservedVm) => string) =>
    [...Map.groupBy(among, of)].flatMap(([value, same]): Problem[] =>
      same.length < 2
        ? []
        : [
            {
              what: `${same.length} VMs have the ${word} ${value}`,
              where: same.map(titleOf).join(" and "),
              todo: "find out which one the Node of that name runs in (its SMBIOS uuid says), and remove our tags from the other",
            },
          ],
    );
  const names = twice("name", vms, (vm) => vm.name);
  const read = vms.filter((vm) => vm.uuid !== "");
  return [...names, ...(names.length > 0 ? [] : twice("SMBIOS uuid", read, (vm) => vm.uuid))];
}

function vmProblems(
  cluster: string,
  vm: ObservedVm,
  { nodes, takenVmids }: ObservedPool,
  remembered: readonly NodeRecord[],
): Problem[] {
  const made = remembered.find((node) => node.uuid === vm.uuid);
  const former = made?.name ?? formerName(cluster, vm);
  if (former !== vm.name) return [renamed(vm, former)];
  // Its identity cannot be read while its host does not answer; nothing is done to it until then.
  if (vm.unreachable !== undefined) return [];
  if (made !== undefined && made.vmid !== vm.vmid) {
    const isGone = made.phase !== "retired" && !takenVmids.includes(made.vmid);
    return [isGone ? renumberedProblem(made, vm.vmid) : restored(vm, made.vmid)];
  }

  // A name may come back after its VM was decommissioned and destroyed; the new VM then has a new uuid.
  const namesake = remembered.find((node) => node.name === vm.name && node.phase !== "retired");
  const problems: Problem[] = [];
  if (namesake !== undefined && namesake.uuid !== vm.uuid) problems.push(exchanged(vm, namesake.uuid, "the record"));
  const node = nodes.find((one) => one.name === vm.name);
  if (node !== undefined && node.uuid !== vm.uuid) problems.push(exchanged(vm, node.uuid, "its Node"));
  return problems;
}

/** The name that the tags imply. An adopted VM has its own. */
function formerName(cluster: string, vm: ObservedVm): string {
  return isAdopted(vm) ? vm.name : nodeName(cluster, vm.pool, vm.slot, vm.generation);
}

/** A backup that was restored beside its VM has the same name, tags and SMBIOS uuid. */
function restored(vm: ObservedVm, vmid: number): Problem {
  return {
    what: `${vm.name} was made as VM ${vmid}, and another VM has its name, its tags and its SMBIOS uuid`,
    where: titleOf(vm),
    todo: `that is a restored backup or a copy: remove our tags from it, or destroy it; when VM ${vmid} has lost its tags, give them back`,
  };
}

function renamed(vm: ObservedVm, former: string): Problem {
  return {
    what: `a VM of ours has another name: it was made as ${former}`,
    where: titleOf(vm),
    todo: "rename it back in Proxmox VE, and run again",
  };
}

function exchanged(vm: ObservedVm, uuid: string, witness: string): Problem {
  return {
    what: `${vm.name} is not the VM that we made: its SMBIOS uuid is ${vm.uuid}, and ${witness} says ${uuid}`,
    where: titleOf(vm),
    todo: `it will not be touched. If it is the node, restored under another uuid (qmrestore --unique), give it that one back: qm set ${vm.vmid} --smbios1 uuid=${uuid}, and stop and start it; if it is not, take our name and our tags off it and give it another number, or destroy it, then run \`npx evergreen repair\``,
  };
}

function nodeProblems(
  node: ObservedNode,
  { vms, hiddenVmids }: ObservedPool,
  remembered: readonly NodeRecord[],
): Problem[] {
  const vm = vms.find((one) => one.name === node.name);
  if (vm === undefined) {
    // Already reported as renamed.
    if (vms.some((one) => one.uuid === node.uuid)) return [];
    const hidden = remembered.find(({ name, vmid }) => name === node.name && hiddenVmids?.includes(vmid));
    if (hidden) return [hiddenVmProblems(hidden)];
    return [
      {
        what: `the VM of Node ${node.name} is gone: it was deleted outside of Evergreen, or the token cannot see it`,
        where: `slot ${node.slot} of pool ${node.pool}, ${vmidOf(node, remembered)}uuid ${node.uuid}`,
        todo: FIND_VM,
      },
    ];
  }
  if (vm.slot === node.slot && vm.generation === node.generation && vm.pool === node.pool) return [];
  return [
    {
      what: `the labels of Node ${node.name} contradict the tags of its VM`,
      where: `${titleOf(vm)}: Node says ${placeOf(node)}, VM says ${placeOf(vm)}`,
      todo: "put the labels evergreen.dev/* or the tags eg-* back to what the name says",
    },
  ];
}

function placeOf(one: ObservedNode | ObservedVm): string {
  return `slot ${one.slot} of pool ${one.pool} with generation ${one.generation}`;
}

function unknownGeneration(
  node: ObservedNode,
  record: PoolRecord | undefined,
  wanted: Generation | undefined,
): Problem[] {
  // The content of an adopted node was never recorded.
  if (isAdopted(node)) return [];
  const known = [...(record?.generations ?? []), ...(wanted ? [wanted] : [])];
  if (known.some((generation) => generation.id === node.generation)) return [];
  return [
    {
      what: `nobody remembers what generation ${node.generation} is, and ${node.name} has it`,
      where: `Node ${node.name}; the record of pool ${node.pool} knows ${known.map((one) => one.id).join(", ") || "nothing"}`,
      todo: `restore the record (ConfigMap evergreen-system/pool-${node.pool}) from a backup, or configure the content that the node has`,
    },
  ];
}

/**
 * Problem of a member whose VM is gone. A node that is not yet a member (made, failed) or no longer one (retired) may
 * be missing. One that is wanted would be made a second time beside a VM that the token cannot see.
 */
function lostVm(node: NodeRecord, observed: ObservedPool, wanted: Generation | undefined): Problem[] {
  const seen = observed.vms.some((vm) => vm.uuid === node.uuid || vm.name === node.name);
  if (!hasJoined(node)) {
    const isMadeAgain = !seen && node.phase !== "retired" && node.generation === wanted?.id;
    return isMadeAgain && observed.hiddenVmids?.includes(node.vmid) ? [hiddenVmProblems(node)] : [];
  }
  // A Node without a VM is reported separately.
  if (seen || observed.nodes.some((one) => one.name === node.name)) return [];
  if (observed.hiddenVmids?.includes(node.vmid)) return [hiddenVmProblems(node)];
  return [
    {
      what: `the VM of ${node.name} is gone: it was deleted outside of Evergreen, or the token cannot see it`,
      where: `slot ${node.slot}, VMID ${node.vmid}, uuid ${node.uuid}`,
      todo: FIND_VM,
    },
  ];
}

function vmidOf({ name }: ObservedNode, remembered: readonly NodeRecord[]): string {
  const vmid = remembered.find((one) => one.name === name)?.vmid;
  return vmid === undefined ? "" : `VMID ${vmid}, `;
}

const FIND_VM =
  "look for that VM in Proxmox: if its tags (eg-cluster-..., eg-pool-..., eg-slot-..., eg-gen-..., evergreen) were taken off, give them back; check the token's rights (VM.Audit on the Proxmox pool); if the VM is gone, `evergreen repair` heals it, once no stranger's VM has its number";

function titleOf(vm: ObservedVm): string {
  return `VM ${vm.vmid} (${vm.name}) on ${vm.host}`;
}
