import type { Decision, Situation } from "./decision.ts";
import { hasServed, type Member, type SlotState } from "./slot-state.ts";
import type { Generation, PoolPlan, Role, SlotPlan, StrandedNode } from "../model/types.ts";

/*
 * A Proxmox host that does not answer takes the knowledge of its VMs along: one may run, serve and write to its disks, or be
 * gone for ever. So nothing of its slot is touched, and the engine keeps what it has of it. All else goes on.
 */

export const isUnreachable = ({ vm }: Member): boolean => vm?.unreachable !== undefined;

/** Whether a slot has a VM that cannot be asked, whoever it was. */
export const isStuck = ({ members }: SlotState): boolean => members.some(isUnreachable);

/** The node that a stuck slot is left with: who has it, else who cannot be asked. */
export function keptOf({ owner, members }: SlotState): Member | undefined {
  return owner ?? members.find(isUnreachable);
}

/**
 * The decision for everybody else. Servers stay as they are altogether: etcd admits nobody while a voter is away, and
 * nobody knows that this one is dead.
 */
export function around({ pool, slots }: Situation, decision: Decision, stuck: readonly SlotState[]): Decision {
  if (stuck.length === 0) return decision;
  const numbers = new Set(stuck.map(({ slot }) => slot));
  if (pool.role === "agent")
    return { ...decision, moves: new Set([...decision.moves].filter((slot) => !numbers.has(slot))) };
  const moves = slots.some(({ owner }) => decision.target !== undefined && owner?.line !== decision.target.id);
  if (!moves) return decision;
  const why = [...decision.why, "no server comes or goes while one of them cannot be asked"];
  return { ...decision, kind: "held", target: undefined, moves: new Set(), verdict: undefined, why };
}

/** Slots of servers that are planned beside a stuck one: those that somebody has. */
export function mayBePlanned(role: Role, state: SlotState, stuck: readonly SlotState[]): boolean {
  return role === "agent" || stuck.length === 0 || state.owner !== undefined || isStuck(state);
}

/** What a slot's plan says of those in it that cannot be asked. */
export function unreachableIn(
  state: SlotState,
  kept: string,
  known: ReadonlyMap<string, Generation>,
): Pick<SlotPlan, "unreachable" | "stranded"> {
  const away = state.members.filter(isUnreachable);
  const host = away[0]?.vm?.host;
  if (host === undefined) return {};
  const stranded = away.flatMap(({ name, vm, generation: id, record }) => {
    const generation = known.get(id);
    // Of one that nobody recorded nobody knows whether the engine has it either.
    if (name === kept || vm === undefined || generation === undefined || record === undefined) return [];
    // It is kept for its data already.
    if (record.keeps !== undefined) return [];
    const address = record.address === undefined ? {} : { address: record.address };
    return [{ name, vmid: vm.vmid, generation, ...address }];
  });
  const own = away.some(({ name }) => name === kept);
  return { unreachable: { host, own }, ...(stranded.length > 0 ? { stranded } : {}) };
}

/** The stranded nodes of a slot, each as a slot of its own that stays as it is. */
export function strandedIn<N extends StrandedNode>({
  slot,
  stranded = [],
  unreachable,
}: Pick<SlotPlan, "slot" | "unreachable"> & { stranded?: N[] }): (N & Omit<SlotPlan, "stranded">)[] {
  if (unreachable === undefined) return [];
  const asItIs = { slot, creates: false, replaces: [], unreachable: { host: unreachable.host, own: true } };
  return stranded.map((node) => ({ ...asItIs, ...node }));
}

/** A stuck slot of a pool that is given up, as it stays until its host answers. */
export function slotAsItIs(state: SlotState, known: ReadonlyMap<string, Generation>): SlotPlan[] {
  const kept = keptOf(state);
  const generation = kept && known.get(kept.generation);
  const vmid = kept?.vm?.vmid ?? kept?.record?.vmid;
  if (kept === undefined || generation === undefined || vmid === undefined) return [];
  const address = kept.record?.address === undefined ? {} : { address: kept.record.address };
  const away = unreachableIn(state, kept.name, known);
  return [{ slot: state.slot, generation, name: kept.name, vmid, ...address, creates: false, replaces: [], ...away }];
}

/** Whether somebody leaves who can be asked: of a stuck slot only who never served. */
export function mayLeave(member: Member, state: SlotState): boolean {
  return !isStuck(state) || (!isUnreachable(member) && !hasServed(member, state));
}

/** Everybody of a pool who cannot be asked. */
export function unreachableNodes(states: Iterable<SlotState>): Pick<PoolPlan, "unreachable"> {
  const away = [...states].flatMap(({ members }) => members.filter(isUnreachable));
  const unreachable = away.flatMap(({ name, vm }) => (vm === undefined ? [] : [{ name, host: vm.host }]));
  return unreachable.length > 0 ? { unreachable } : {};
}

/** Lines for a reader. */
export function unreachableWords({ unreachable = [] }: Pick<PoolPlan, "unreachable">): string[] {
  return unreachable.map(
    ({ name, host }) =>
      `  ${name} is unknown: its Proxmox host ${host} does not answer; until it does the node is not replaced, mended or deleted`,
  );
}
