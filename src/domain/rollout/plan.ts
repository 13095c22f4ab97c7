import { addressesIn } from "../model/address.ts";
import { allocate } from "./allocation.ts";
import { fingerprint } from "../model/canonical.ts";
import { decide } from "./decision.ts";
import type { Decision, Situation } from "./situation.ts";
import { adoptedAndGivenUp, keptSlots, sparing } from "./adoption.ts";
import { generationOf, incarnationOf, isAdopted, nodeName } from "../model/generation.ts";
import { keptBefore, refusal } from "./kept.ts";
import { PlanError, refuse } from "../model/problem.ts";
import { serverProblems } from "./servers.ts";
import {
  hasJoined as isRecordedMember,
  hasServed,
  isHandoverOpen,
  isHealthy,
  slotStates,
  standsIn,
  type Member,
  type SlotState,
} from "./slot-state.ts";
import type {
  Generation,
  KeptVm,
  NodeRecord,
  PlanKind,
  ObservedPool,
  PoolPlan,
  PoolRecord,
  PoolSpec,
  Role,
  SlotPlan,
  Strategy,
} from "../model/types.ts";
import {
  around,
  isStuck,
  isUnreachable,
  keptOf,
  mayBePlanned,
  mayLeave,
  servesMeanwhile,
  slotAsItIs,
  unreachableIn,
  unreachableNodes,
} from "./unreachable.ts";
import { renderPlan, renderRemoval } from "./render.ts";

/**
 * What this run does with a pool. A pure function: the same configuration, observed state, record and time give the
 * same plan. The observed state and the record must be consistent (`inconsistencies`).
 * @throws PlanError when no plan keeps the rules: nothing was changed, and nothing may be
 */
export function plan(pool: PoolSpec, observed: ObservedPool, record: PoolRecord | undefined, now: Date): PoolPlan {
  const wanted = generationOf(pool.node);
  const states = slotStates(observed, record);
  const known = remembered(record, wanted);
  const situation: Situation = { pool, wanted, record, now, slots: wantedSlots(pool, states) };
  const stuck = [...states.values()].filter(isStuck);
  const decision = around(situation, sparing(situation, decide(situation)), stuck);
  const kept = keptSlots(situation, decision);
  const stays = stuck.filter(({ slot, members }) => slot >= pool.slots && !members.some(isAdopted));
  const ours = [...situation.slots, ...stays].filter(
    (slot) => !kept.includes(slot) && mayBePlanned(pool.role, slot, stuck),
  );
  const chosen = new Map(ours.map((slot) => [slot.slot, generationFor(pool, slot, decision, known)]));
  refuse([
    ...serverProblems(pool, ours, chosen),
    ...adoptedAndGivenUp(
      pool.name,
      [...states.values()].filter(({ slot }) => slot >= pool.slots),
    ),
  ]);
  const remains = (member: Member) => member.generation === chosen.get(member.slot)?.id;
  const keptVms = keptBefore(states.values(), record, pool.localVolumes ?? refusal, now, remains);
  const leaves = notAmong(keptVms);
  const slots = placed(pool, ours, { chosen, known, leaves }, observed, record);
  const departing = [...states.values()].flatMap((state) => departingOf(pool, state, chosen.get(state.slot)));
  const leaving = departing.map(({ name }) => name).filter(leaves);
  const unhealthy = ours.flatMap((state) => unhealthyAmong(state, chosen.get(state.slot)));
  const isBehind = ours.some((state) => isRecordBehind(state, chosen.get(state.slot)));
  const goes = new Set([...leaving, ...slots.flatMap(({ replaces }) => replaces)]);
  const reloads = observed.nodes.map(({ name }) => name).filter((name) => observed.outdated?.has(name));
  const isOwed =
    isBehind || reloads.length > 0 || decision.watchesAnew === true || needsSnapshot(pool.role, goes, record);
  const isLeft = (member: Member) => mayHoldUp(pool.role, member) || isKeptAndThere(member);
  const heals = isOwed || unhealthy.length > 0 || departing.some(isLeft);
  const healing = heals ? now.toISOString() : record?.healing;
  const draft = {
    pool: pool.name,
    role: pool.role,
    kind: kindOf(
      decision,
      pool,
      [...states.values()].filter(({ members }) => members.some(({ name }) => leaves(name))),
    ),
    wanted,
    ...(decision.target === undefined ? {} : { target: decision.target }),
    slots,
    leaving,
    unreplaced: kept.flatMap(({ owner }) => owner?.name ?? []),
    kept: keptVms,
    unhealthy,
    ...(reloads.length > 0 ? { reloads: reloads.toSorted() } : {}),
    ...unreachableNodes(states.values()),
    ...(healing === undefined ? {} : { healing }),
    strategy: pool.strategy,
    verdict: decision.verdict,
    ...(decision.soaksUntil === undefined ? {} : { soaksUntil: decision.soaksUntil.toISOString() }),
  };
  return { ...draft, words: renderPlan(draft, situation, decision.why), digest: digestOf(draft) };
}

/** The plan of a pool that was removed from the configuration: every node leaves, decommissioned as in a scale-in. */
export function planRemoval(
  pool: Pick<PoolSpec, "name" | "role" | "localVolumes">,
  observed: ObservedPool,
  record: PoolRecord | undefined,
  now: Date,
): PoolPlan {
  const states = [...slotStates(observed, record).values()].toSorted((a, b) => a.slot - b.slot);
  if (pool.role === "server") throw new PlanError([CONTROL_PLANE_REMOVED]);
  refuse(adoptedAndGivenUp(pool.name, states));
  const known = new Map(record?.generations.map(({ id, spec }) => [id, { id, spec }]));
  const slots = states.filter(isStuck).flatMap((state) => slotAsItIs(state, known));
  const remains = ({ name }: Member) => slots.some((slot) => slot.name === name);
  const kept = keptBefore(states, record, pool.localVolumes ?? refusal, now, remains);
  const leaving = states
    .flatMap((state) => state.members.filter((member) => mayLeave(member, state)).map((member) => member.name))
    .filter(notAmong(kept));
  const draft = {
    pool: pool.name,
    role: pool.role,
    kind: "remove" as const,
    slots,
    leaving,
    unreplaced: [],
    kept,
    unhealthy: [],
    ...unreachableNodes(states),
  };
  const strategy = ONE_BY_ONE;
  const words = renderRemoval(draft, record);
  return { ...draft, strategy, verdict: undefined, words, digest: digestOf({ ...draft, strategy }) };
}

/** The kind of the plan. Slots that are given up count only when nothing else happens. */
function kindOf(decision: Decision, pool: PoolSpec, live: readonly SlotState[]): PlanKind {
  return decision.kind === "steady" && live.some(({ slot }) => slot >= pool.slots) ? "scale" : decision.kind;
}

const ONE_BY_ONE: Strategy = { kind: "rolling", surge: 1, maxUnavailable: 1, soakSeconds: 0, onFailure: "hold" };

const CONTROL_PLANE_REMOVED = {
  what: "the configuration has no control plane any more, but its servers live",
  where: "evergreen:controlPlane",
  todo: "put it back; to take the whole cluster away, set evergreen:allowDestroy, run pulumi up, then pulumi destroy",
};

function remembered(record: PoolRecord | undefined, wanted: Generation): Map<string, Generation> {
  const known = new Map(record?.generations.map(({ id, spec }) => [id, { id, spec }]));
  return known.set(wanted.id, wanted);
}

function wantedSlots(pool: PoolSpec, states: ReadonlyMap<number, SlotState>): SlotState[] {
  return Array.from({ length: pool.slots }, (_, slot) => states.get(slot) ?? { slot, members: [], owner: undefined });
}

function generationFor(
  pool: PoolSpec,
  slot: SlotState,
  decision: Decision,
  known: ReadonlyMap<string, Generation>,
): Generation {
  const owner = isStuck(slot) ? keptOf(slot) : slot.owner;
  const target = decision.target !== undefined && decision.moves.has(slot.slot) ? decision.target : undefined;
  // An incarnation of the target counts as the target: the slot needs no move.
  const moves = target !== undefined && owner?.line !== target.id;
  const fresh = (generation: Generation) => (pool.role === "server" ? unspent(slot, generation) : generation);
  if (moves) return fresh(target);
  if (owner === undefined) return fresh(decision.base);
  const kept = known.get(owner.generation);
  if (kept !== undefined) return kept;
  throw new PlanError([
    {
      what: `${owner.name} stays, but nobody remembers what its generation ${owner.generation} is`,
      where: `the record of the pool in the cluster, slot ${slot.slot}`,
      todo: "restore the record (ConfigMap in evergreen-system), or configure the content that the node has",
    },
  ]);
}

/**
 * The first incarnation of the target that the slot has not used up. A server that was removed from etcd never comes
 * back: while its VM exists, the slot gets another incarnation.
 */
function unspent(slot: SlotState, target: Generation): Generation {
  const spent = new Set(slot.members.filter(({ record }) => record?.phase === "retired").map((one) => one.generation));
  for (let incarnation = 0; ; incarnation += 1) {
    const generation = incarnation === 0 ? target : incarnationOf(target, incarnation);
    if (!spent.has(generation.id)) return generation;
  }
}

interface Placing {
  /** Generation of each slot after this run. */
  chosen: ReadonlyMap<number, Generation>;
  known: ReadonlyMap<string, Generation>;
  /** False for a node whose VM is kept for its data. */
  leaves: (name: string) => boolean;
}

function placed(
  pool: PoolSpec,
  slots: readonly SlotState[],
  { chosen, known, leaves }: Placing,
  observed: ObservedPool,
  record: PoolRecord | undefined,
): SlotPlan[] {
  const nodes = slots.flatMap((state) => {
    const generation = chosen.get(state.slot);
    return generation
      ? [{ state, generation, name: nodeName(pool.cluster, pool.name, state.slot, generation.id) }]
      : [];
  });
  const names = nodes.map((node) => node.name);
  const places = allocate({ pool: pool.name, range: pool.range, names, observed, record });
  return nodes.flatMap(({ state, generation, name }) => {
    const place = places.get(name);
    if (place === undefined) return [];
    const goes = (member: Member) =>
      member.name !== name && leaves(member.name) && isReplaced(pool.role, member, state);
    const replaces = isStuck(state) ? [] : state.members.filter(goes);
    const down = isSlotDown(pool.role, state, replaces) ? { down: true as const } : {};
    const voter = pool.role === "server" && isVoterDown(state, name) ? { voterDown: true as const } : {};
    const open = isHandoverOpen(record, state.slot) ? { open: true as const } : {};
    const away = unreachableIn(state, name, known, state.slot < pool.slots);
    const names = replaces.map((one) => one.name);
    return [{ slot: state.slot, generation, name, ...place, replaces: names, ...away, ...down, ...voter, ...open }];
  });
}

/**
 * Whether no node serves in the slot. In that of a server its owner's voter counts, and without an owner, or when its Node is
 * gone and so its voter, that of any node. In an agent's slot another node may stand in or have joined already, and a node
 * that was judged failed may have owned the slot before.
 */
function isSlotDown(role: Role, { owner, members }: SlotState, replaces: readonly Member[]): boolean {
  const wasJudged = role === "agent" && members.some(({ record }) => record?.phase === "failed");
  if (owner === undefined && replaces.length === 0 && !wasJudged) return false;
  return role === "agent" || owner?.node === undefined ? !members.some(isHealthy) : !isHealthy(owner);
}

/**
 * Whether a voter of the slot is down: its owner, or its next node. A server without a Node is none: it registers after
 * it has got into etcd, and RKE2 takes it out with its Node.
 */
function isVoterDown({ owner, members }: SlotState, name: string): boolean {
  const next = members.find((member) => member.name === name);
  return [owner, next].some((member) => member?.node !== undefined && !isHealthy(member));
}

/**
 * Whether a node leaves at the handover of its slot, and not before: a node that has owned the slot, or an incomplete
 * node that stands in. Until the handover both run, which counts as surge.
 */
function isReplaced(role: Role, member: Member, state: SlotState): boolean {
  return hasServed(member, state) || standsIn(role, member, state);
}

/** A filter that excludes nodes whose VM is kept for its data: such a node has left already. */
function notAmong(kept: readonly KeptVm[]): (name: string) => boolean {
  const names = new Set(kept.map(({ name }) => name));
  return (name) => !names.has(name);
}

/**
 * The nodes that leave without a successor: those of slots that are given up, and incomplete nodes, which are not of the
 * slot's planned generation and never owned the slot.
 */
function departingOf(pool: PoolSpec, state: SlotState, chosen: Generation | undefined): Member[] {
  // Without a handover of the slot in this run, nothing else takes a node out that stands in.
  const handsOver = chosen !== undefined && !isStuck(state);
  const stays = (member: Member) =>
    handsOver ? isReplaced(pool.role, member, state) : hasServed(member, state) || servesMeanwhile(member, state);
  const leaves = (member: Member) =>
    mayLeave(member, state) && (state.slot >= pool.slots || (member.generation !== chosen?.id && !stays(member)));
  return state.members.filter(leaves);
}

/**
 * Whether a departing server may keep everything else from being changed: it is in etcd and down, or its decommissioning
 * was interrupted and its Node is still there. A former run may have come too early to take it out, and its steps are
 * done; the delete of a slot that is given up would come only after the agents, which wait for a healthy control plane.
 */
function mayHoldUp(role: Role, { node, record }: Member): boolean {
  return role === "server" && node !== undefined && (!node.ready || record?.phase === "retired");
}

/**
 * Whether a node whose VM is to be kept, off, is in the cluster still. A former run may have come too early to take it
 * out; when its join did not get through, nothing is deleted that would do so later.
 */
function isKeptAndThere({ node, vm, record }: Member): boolean {
  return record?.keeps !== undefined && (node !== undefined || (vm?.running === true && record.phase !== "retired"));
}

/**
 * Names of unhealthy nodes that are to have their slot. The engine regards their join as done, so without a change of
 * the plan no step would join them again. Included are nodes before their handover, a retired node that comes back, and
 * a node that runs without a record, or with one from before its join, as after the restore of an etcd snapshot or of the
 * record: also when it is Ready, for nobody would remember its content once another one is configured.
 */
function unhealthyAmong(state: SlotState, chosen: Generation | undefined): string[] {
  const hasJoined = ({ vm, record }: Member): boolean =>
    vm?.running === true || record?.phase === "joined" || record?.phase === "retired";
  const isAsItShould = (member: Member): boolean =>
    isHealthy(member) && member.record !== undefined && isRecordedMember(member.record);
  return state.members
    .filter((member) => member === state.owner || hasJoined(member))
    .filter((member) => member.generation === chosen?.id && !isAsItShould(member) && !isUnreachable(member))
    .map((member) => member.name);
}

/**
 * Whether the record of a slot whose node serves is from before its handover: nobody else is left there, or only nodes
 * that are off and out of the cluster. A record that was restored says so; the engine regards the handover as done, and
 * without a change of the plan no step would record it again.
 */
function isRecordBehind({ members }: SlotState, chosen: Generation | undefined): boolean {
  const own = members.find((member) => member.generation === chosen?.id);
  if (own === undefined || !isHealthy(own) || isUnreachable(own)) return false;
  const others = members.filter((member) => member !== own);
  const isOut = (one: Member) => one.node === undefined && one.vm?.running === false && !isUnreachable(one);
  if (others.some((one) => one.record?.phase === "handedOver" && isOut(one))) return true;
  return own.record?.phase === "joined" && others.every((one) => one.record?.phase === "retired" && isOut(one));
}

/**
 * Whether a server is to leave. What a run that failed has made of the plan does not change it, and without a change of
 * the plan no step would make another etcd snapshot, however old that of the failed run is.
 */
function needsSnapshot(role: Role, leaving: ReadonlySet<string>, record: PoolRecord | undefined): boolean {
  const isServing = ({ name, phase }: NodeRecord) => phase === "handedOver" && leaving.has(name);
  return role === "server" && record?.nodes.some(isServing) === true;
}

type Acted = Pick<PoolPlan, "pool" | "slots" | "target" | "healing" | "strategy">;

/**
 * A hash of the parts of a plan that joins and handovers act on and that stay the same once it is carried out. Repairs
 * enter it by their time (`healing`), not by node names: a node that fails again after the last run has the same name
 * as before.
 */
function digestOf({ pool, slots, target, healing, strategy }: Acted): string {
  const places = slots.map(({ slot, name, vmid, ...more }) => ({ slot, name, vmid, ...addressesIn(more) }));
  return fingerprint({ pool, places, target: target?.id, healing, strategy }, 16);
}
