import { addressAfter, nthAddress, parseBlock } from "../model/address.ts";
import { type Problem, PlanError } from "../model/problem.ts";
import type { NodeRecord, ObservedPool, PoolRecord, Range } from "../model/types.ts";

/** The placement of a node: its VMID, and the address that belongs to it. */
export interface Place {
  vmid: number;
  /** Absent: DHCP. */
  address?: string;
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
  ).filter((id) => !held.has(id) && observed.takenAddresses?.has(addressIn(range, id) ?? "") !== true);
  // A recorded VMID whose VM is destroyed may be reused, but only when there is no other.
  return [...free.filter((id) => !destroyed.has(id)), ...free.filter((id) => destroyed.has(id))];
}

/** The address that belongs to a VMID of the range; undefined with DHCP. */
function addressIn({ first, last, firstAddress, addresses }: Range, vmid: number): string | undefined {
  if (vmid < first || vmid > last) return undefined;
  if (addresses)
    return nthAddress(
      addresses.flatMap((text) => parseBlock(text) ?? []),
      vmid - first,
    );
  return firstAddress === undefined ? undefined : addressAfter(firstAddress, vmid - first);
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
  if (range.firstAddress === undefined && range.addresses === undefined) return { vmid, creates };
  const recorded = creates
    ? undefined
    : record?.nodes.find((node) => node.name === name && node.vmid === vmid)?.address;
  const address = recorded ?? addressIn(range, vmid);
  if (address !== undefined) return { vmid, address, creates };
  problems.push({
    what: `no address belongs to VMID ${vmid} of ${name}: the range is ${range.first}-${range.last} from ${range.firstAddress ?? range.addresses?.[0] ?? "DHCP"}`,
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
