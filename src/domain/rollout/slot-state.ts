import { lineOf } from "../model/generation.ts";
import type { ObservedNode, ObservedVm, NodeRecord, ObservedPool, PoolRecord } from "../model/types.ts";

/** A node of a slot as everything that knows it sees it: a VM, a Node, or both, and what is remembered. */
export interface Member {
  name: string;
  slot: number;
  generation: string;
  /** The generation as it is configured: that of its content, whatever the incarnation. */
  line: string;
  vm: ObservedVm | undefined;
  node: ObservedNode | undefined;
  record: NodeRecord | undefined;
}

export interface SlotState {
  slot: number;
  members: Member[];
  /** The node that the slot belongs to; undefined when nobody was given it yet. */
  owner: Member | undefined;
}

/** Sorts what lives in a pool by slot. A node that is only remembered is not there. */
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

/** A name comes back with a new VM; what is remembered of the retired one does not concern it. */
function isOf(remembered: NodeRecord | undefined, vm: ObservedVm | undefined): boolean {
  return remembered?.phase !== "retired" || vm === undefined || remembered.uuid === vm.uuid;
}

/** Who was handed the slot last. Before a first handover: a node that has joined, for it may carry pods already. */
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

/** True when its VM runs and its Node is Ready. A cordon is an operator's right and no illness. */
export function isHealthy(member: Member): boolean {
  return member.vm?.running === true && member.node?.ready === true;
}

/** A verified member, whether it owns its slot yet or not. */
export function hasJoined({ phase }: Pick<NodeRecord, "phase">): boolean {
  return phase === "joined" || phase === "handedOver";
}

/** True when the slot was its own at some time, so that somebody may have been served by it. */
export function hasServed(member: Member, state: SlotState): boolean {
  const phase = member.record?.phase;
  return member === state.owner || phase === "handedOver" || phase === "retired";
}
