import { addressesIn } from "../model/address.ts";
import type { Decision, Situation } from "./situation.ts";
import { hasServed, isHealthy, type Member, type SlotState } from "./slot-state.ts";
import type { Generation, PoolPlan, Role, SlotPlan, StrandedNode } from "../model/types.ts";

/*
 * While a Proxmox host does not answer, the state of its VMs is unknown: a VM may run, serve and write to its disks, or
 * be lost permanently. So its slot does not move, and the engine keeps the resources of its nodes. All other slots go
 * on.
 */

export const isUnreachable = ({ vm }: Member): boolean => vm?.unreachable !== undefined;

/** Whether a slot has a VM on a host that does not answer, whichever node of the slot it belongs to. */
export const isStuck = ({ members }: SlotState): boolean => members.some(isUnreachable);

/** The node that a stuck slot keeps: its owner, else the unreachable node. */
export function keptOf({ owner, members }: SlotState): Member | undefined {
  return owner ?? members.find(isUnreachable);
}

/**
 * The decision for all other slots. Servers do not change at all: etcd admits no member while a voter is missing, and
 * it is not known whether this voter is dead.
 */
export function around({ pool, slots }: Situation, decision: Decision, stuck: readonly SlotState[]): Decision {
  if (stuck.length === 0) return decision;
  const numbers = new Set(stuck.map(({ slot }) => slot));
  if (pool.role === "agent") {
    const moves = new Set([...decision.moves].filter((slot) => !numbers.has(slot)));
    if (moves.size > 0 || decision.verdict === undefined) return { ...decision, moves };
    // No node, no proof.
    const why = [
      ...decision.why,
      `nothing is judged while no host of a node of ${decision.verdict.generation} answers`,
    ];
    return { ...decision, moves, verdict: undefined, why };
  }
  const moves = slots.some(({ owner }) => decision.target !== undefined && owner?.line !== decision.target.id);
  if (!moves) return decision;
  const why = [...decision.why, "no server comes or goes while one of them cannot be asked"];
  return { ...decision, kind: "held", target: undefined, moves: new Set(), verdict: undefined, why };
}

/** Whether a slot is planned while others are stuck. Of servers: only slots that have an owner, and stuck slots. */
export function mayBePlanned(role: Role, state: SlotState, stuck: readonly SlotState[]): boolean {
  return role === "agent" || stuck.length === 0 || state.owner !== undefined || isStuck(state);
}

/**
 * Whether a node serves in a stuck slot in the place of its owner: a former run has joined it, and did not come to the
 * handover. It stays until the owner's host answers.
 */
export function servesMeanwhile(member: Member, state: SlotState): boolean {
  const { owner } = state;
  const isDown = owner !== undefined && owner !== member && !isHealthy(owner);
  return isStuck(state) && isDown && member.record?.phase === "joined" && isHealthy(member);
}

/**
 * The part of a slot's plan that describes its unreachable nodes, and the node that serves in their place.
 * @param isWanted false for a slot that is given up: only its unreachable nodes stay
 */
export function unreachableIn(
  state: SlotState,
  kept: string,
  known: ReadonlyMap<string, Generation>,
  isWanted: boolean,
): Pick<SlotPlan, "unreachable" | "stranded"> {
  const away = state.members.filter(isUnreachable);
  const host = away[0]?.vm?.host;
  if (host === undefined) return {};
  const stay = state.members.filter((member) => isUnreachable(member) || (isWanted && servesMeanwhile(member, state)));
  const stranded = stay.flatMap(({ name, vm, generation: id, record }) => {
    const generation = known.get(id);
    // Without a record it is not known whether the engine has the VM either.
    if (name === kept || vm === undefined || generation === undefined || record === undefined) return [];
    // Already kept for its data.
    if (record.keeps !== undefined) return [];
    return [{ name, vmid: vm.vmid, generation, ...addressesIn(record) }];
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

/** A stuck slot of a pool that is removed, unchanged until its host answers. */
export function slotAsItIs(state: SlotState, known: ReadonlyMap<string, Generation>): SlotPlan[] {
  const kept = keptOf(state);
  const generation = kept && known.get(kept.generation);
  const vmid = kept?.vm?.vmid ?? kept?.record?.vmid;
  if (kept === undefined || generation === undefined || vmid === undefined) return [];
  const away = unreachableIn(state, kept.name, known, false);
  const place = { vmid, ...addressesIn(kept.record ?? {}) };
  return [{ slot: state.slot, generation, name: kept.name, ...place, creates: false, replaces: [], ...away }];
}

/** Whether a node may leave. In a stuck slot only a reachable node that has never served may. */
export function mayLeave(member: Member, state: SlotState): boolean {
  return !isStuck(state) || (!isUnreachable(member) && !hasServed(member, state));
}

/** The unreachable nodes of a pool. */
export function unreachableNodes(states: Iterable<SlotState>): Pick<PoolPlan, "unreachable"> {
  const away = [...states].flatMap(({ members }) => members.filter(isUnreachable));
  const unreachable = away.flatMap(({ name, vm }) => (vm === undefined ? [] : [{ name, host: vm.host }]));
  return unreachable.length > 0 ? { unreachable } : {};
}

/** A line for each unreachable node, for a reader. */
export function unreachableWords({ unreachable = [] }: Pick<PoolPlan, "unreachable">): string[] {
  return unreachable.map(
    ({ name, host }) =>
      `  ${name} is unknown: its Proxmox host ${host} does not answer; until it does the node is not replaced, mended or deleted`,
  );
}
