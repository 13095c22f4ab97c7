import { lineOf } from "../model/generation.ts";
import type { ObservedNode, ObservedVm, NodeRecord, ObservedPool, PoolRecord, Role } from "../model/types.ts";

/** A node of a slot in all sources together: its VM, its Node, or both, and its record. */
export interface Member {
  name: string;
  slot: number;
  generation: string;
  /** The id of the generation as it is configured, without the incarnation. */
  line: string;
  vm: ObservedVm | undefined;
  node: ObservedNode | undefined;
  record: NodeRecord | undefined;
}

export interface SlotState {
  slot: number;
  members: Member[];
  /** The node that the slot belongs to. Undefined: the slot was not handed over to any node yet. */
  owner: Member | undefined;
}

/** The live nodes of a pool by slot. A node that is only recorded is not included. */
export function slotStates(observed: ObservedPool, record: PoolRecord | undefined): Map<number, SlotState> {
  const slots = new Map<number, SlotState>();
  for (const member of membersOf(observed, record)) {
    const state = slots.get(member.slot) ?? { slot: member.slot, members: [], owner: undefined };
    state.members.push(member);
    slots.set(member.slot, state);
  }
  for (const state of slots.values()) state.owner = ownerOf(state.members);
  return slots;
}

function membersOf(observed: ObservedPool, record: PoolRecord | undefined): Member[] {
  const lines = new Map(record?.generations.map(({ id, spec }) => [id, lineOf(spec)]));
  const names = new Set([...observed.vms, ...observed.nodes].map((one) => one.name));
  return [...names].toSorted().flatMap((name) => {
    const vm = observed.vms.find((one) => one.name === name);
    const node = observed.nodes.find((one) => one.name === name);
    const { slot, generation } = vm ?? node ?? {};
    if (slot === undefined || generation === undefined) return [];
    const remembered = record?.nodes.find((one) => one.name === name);
    const line = lines.get(generation) ?? generation;
    return [{ name, slot, generation, line, vm, node, record: isOf(remembered, vm) ? remembered : undefined }];
  });
}

/**
 * Whether a record belongs to the VM. A name can come back with a new VM; the record of the retired VM then does not
 * apply.
 */
function isOf(remembered: NodeRecord | undefined, vm: ObservedVm | undefined): boolean {
  return remembered?.phase !== "retired" || vm === undefined || remembered.uuid === vm.uuid;
}

/**
 * The node to which the slot was handed over last. Before a first handover: a node that has joined, because it may run
 * pods already.
 */
function ownerOf(members: readonly Member[]): Member | undefined {
  const handed = members.filter((member) => member.record?.phase === "handedOver");
  const joined = members.filter((member) => member.node !== undefined && !isOut(member));
  return latest(handed) ?? latest(joined.filter(isHealthy)) ?? latest(joined);
}

function isOut(member: Member): boolean {
  const phase = member.record?.phase;
  return phase === "made" || phase === "failed" || phase === "retired";
}

function latest(members: readonly Member[]): Member | undefined {
  return members.toSorted((a, b) => (a.record?.since ?? "").localeCompare(b.record?.since ?? "")).at(-1);
}

/** True when the VM runs and the Node is Ready. A cordoned node is healthy: cordoning is an operator's right. */
export function isHealthy(member: Member): boolean {
  return member.vm?.running === true && member.node?.ready === true;
}

/** Whether a node is a verified member, with or without its slot. */
export function hasJoined({ phase }: Pick<NodeRecord, "phase">): boolean {
  return phase === "joined" || phase === "handedOver";
}

/** Whether RKE2 of a node may run: it is a verified member, or its join has begun and is not over. */
export function mayRun(record: Pick<NodeRecord, "phase">): boolean {
  return record.phase === "made" || hasJoined(record);
}

/** Whether a node has owned the slot at some time, so that it may have served workloads. */
export function hasServed(member: Member, state: SlotState): boolean {
  const phase = member.record?.phase;
  return member === state.owner || phase === "handedOver" || phase === "retired";
}

/**
 * Whether an incomplete node may be the only one of its slot with pods: it runs while the owner is down, or, for agents,
 * in a slot that has no owner: pods come as soon as its kubelet runs, which may be right after it was looked at. In such a
 * slot a server that serves is the voter that the slot would lack.
 */
export function standsIn(role: Role, member: Member, { owner }: SlotState): boolean {
  if (owner !== undefined) return !isHealthy(owner) && member.vm?.running === true;
  if (role === "server") return isHealthy(member);
  // A node whose join has failed was waited for long enough.
  return isHealthy(member) || (member.vm?.running === true && member.record?.phase === "made");
}

/**
 * Whether the record says of a node of the slot what was evicted for it. The node that left is no member any more when
 * its VM was handed back or is kept, so nothing else of the slot shows it.
 */
export function isHandoverOpen(record: PoolRecord | undefined, slot: number): boolean {
  return record?.nodes.some((node) => node.slot === slot && (node.displaced ?? []).length > 0) ?? false;
}
