import { addressAfter, addressesIn, nthAddress, parseBlock } from "../model/address.ts";
import { type Problem, PlanError } from "../model/problem.ts";
import type { NodeAddresses, NodeRecord, ObservedPool, PoolRecord, Range } from "../model/types.ts";

/** The placement of a node: its VMID, and the addresses that belong to it. */
export interface Place extends NodeAddresses {
  vmid: number;
  /** True when no VM of that name exists yet. */
  creates: boolean;
}

export interface AllocationRequest {
  /** Name of the pool, for messages. */
  pool: string;
  range: Range;
  /** The nodes that are to exist after the run, in the order of their slots. */
  names: readonly string[];
  observed: ObservedPool;
  record: PoolRecord | undefined;
}

/**
 * Assigns a VMID and an address to every name. A VM that exists keeps its VMID. A new name takes the next VMID after
 * the highest recorded one (next-fit, wrapping), so a VMID that was just released is the last to be reused. A VMID in
 * use is never assigned: that of a VM that the token can see, or of a recorded node whose VM was not seen to be
 * destroyed. Nor is one whose address another node has, which it has when the range moved.
 * @throws PlanError when the range is too small
 */
export function allocate(request: AllocationRequest): Map<string, Place> {
  const { names, observed } = request;
  const existing = new Map(observed.vms.map((vm) => [vm.name, vm.vmid]));
  const fresh = freeIds(request);
  const places = new Map<string, Place>();
  const homeless: string[] = [];
  const problems: Problem[] = [];
  for (const name of names) {
    const kept = existing.get(name);
    const vmid = kept ?? fresh.shift();
    if (vmid === undefined) homeless.push(name);
    else places.set(name, place(request, name, vmid, kept === undefined, problems));
  }
  if (homeless.length > 0) problems.push(tooFew(request, homeless));
  if (problems.length > 0) throw new PlanError(problems);
  return places;
}

/** The VMIDs that a new node may take, in the order in which they are taken. */
export function freeIds({
  range,
  observed,
  record,
}: Pick<AllocationRequest, "range" | "observed" | "record">): number[] {
  const held = new Set([...observed.takenVmids, ...observed.vms.map((vm) => vm.vmid)]);
  const destroyed = new Set<number>();
  for (const node of record?.nodes ?? []) (confirmedDestroyed(node, observed) ? destroyed : held).add(node.vmid);
  const remembered = [...observed.vms, ...(record?.nodes ?? [])].map((one) => one.vmid);
  const cursor = Math.max(range.first - 1, ...remembered.filter((id) => id >= range.first && id <= range.last));
  const size = range.last - range.first + 1;
  const free = Array.from(
    { length: size },
    (_, step) => range.first + ((cursor - range.first + 1 + step) % size),
  ).filter((id) => !held.has(id) && !hasTakenAddress(range, id, observed));
  // A recorded VMID whose VM is destroyed may be reused, but only when there is no other.
  return [...free.filter((id) => !destroyed.has(id)), ...free.filter((id) => destroyed.has(id))];
}

function hasTakenAddress(
  range: Range,
  vmid: number,
  { takenAddresses }: Pick<ObservedPool, "takenAddresses">,
): boolean {
  if (takenAddresses === undefined || takenAddresses.size === 0) return false;
  const { address = "", address6 = "" } = belonging(range, vmid);
  return takenAddresses.has(address) || takenAddresses.has(address6);
}

/** The addresses that belong to a VMID of the range; none of a family that the network provides. */
function belonging({ first, last, ...given }: Range, vmid: number): NodeAddresses {
  if (vmid < first || vmid > last) return {};
  const at = (row: string | undefined, list: readonly string[] | undefined): string | undefined => {
    if (list === undefined) return row === undefined ? undefined : addressAfter(row, vmid - first);
    const blocks = list.flatMap((text) => parseBlock(text) ?? []);
    return nthAddress(blocks, vmid - first);
  };
  const { firstAddress, addresses, firstAddress6, addresses6 } = given;
  return addressesIn({ address: at(firstAddress, addresses), address6: at(firstAddress6, addresses6) });
}

/** Whether a recorded node was decommissioned, and neither its VM nor another VM with its VMID is visible. */
export function confirmedDestroyed(node: NodeRecord, observed: Pick<ObservedPool, "takenVmids" | "vms">): boolean {
  return (
    node.phase === "retired" &&
    !observed.takenVmids.includes(node.vmid) &&
    !observed.vms.some((vm) => vm.vmid === node.vmid || vm.uuid === node.uuid || vm.name === node.name)
  );
}

function place(request: AllocationRequest, name: string, vmid: number, creates: boolean, problems: Problem[]): Place {
  const { range, record, pool } = request;
  const recorded = creates ? undefined : record?.nodes.find((node) => node.name === name && node.vmid === vmid);
  const own = belonging(range, vmid);
  // A VM that was made before its pool had IPv6 addresses has none.
  const address6 = recorded === undefined ? own.address6 : recorded.address6;
  const from = range.firstAddress ?? range.addresses?.[0];
  if (from === undefined) return { vmid, ...addressesIn({ address6 }), creates };
  const address = recorded?.address ?? own.address;
  if (address !== undefined) return { vmid, ...addressesIn({ address, address6 }), creates };
  problems.push({
    what: `no address belongs to VMID ${vmid} of ${name}: the range is ${range.first}-${range.last} from ${from}`,
    where: `pool ${pool}, vmIds and firstAddress or addresses`,
    todo: "put the range back to one that holds the VMs that exist",
  });
  return { vmid, creates };
}

function isThere({ uuid }: NodeRecord, { vms }: ObservedPool): boolean {
  return vms.some((vm) => vm.uuid === uuid);
}

function tooFew({ pool, range, names, observed, record }: AllocationRequest, homeless: readonly string[]): Problem {
  const fresh = names.filter((name) => !observed.vms.some((vm) => vm.name === name)).length;
  const free = freeIds({ range, observed, record }).length;
  const ours = observed.vms.filter((vm) => vm.vmid >= range.first && vm.vmid <= range.last).length;
  const kept =
    record?.nodes.filter((node) => node.phase === "retired" && node.keeps && isThere(node, observed)).length ?? 0;
  return {
    what: `${fresh} new VMs of pool ${pool} need a VMID and ${free} are free: old and new nodes exist side by side`,
    where: `vmIds ${range.first}-${range.last}: ${ours} of ours${kept > 0 ? ` (${kept} kept for the data on them)` : ""}, ${range.last - range.first + 1 - free - ours} held by others or remembered, or with the address of another node`,
    todo: `widen vmIds by at least ${homeless.length}, or run again once leftovers of failed runs are gone (evergreen repair)${kept > 0 ? ", or lower evergreen:localVolumes.keepDays" : ""}`,
  };
}
