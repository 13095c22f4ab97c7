import { ownedBy, stateOf, type Decision, type Situation } from "./situation.ts";
import { soakOf, waitFor } from "./soak.ts";
import { compareVersions, parseVersion } from "../versions/versions.ts";
import { isHandoverOpen, isHealthy, type SlotState } from "./slot-state.ts";
import { isStuck } from "./unreachable.ts";
import type {
  Generation,
  GenerationRecord,
  NodeRecord,
  PlanKind,
  PlanVerdict,
  PoolSpec,
  Share,
} from "../model/types.ts";

/*
 * Which generation a pool moves to in this run, and which of its slots move: forward with canary and soak, back to a
 * proved generation, or not at all.
 */

/** The longest soak that a run waits for, in seconds. A longer soak ends the run, and a later run continues. */
export const INLINE_SOAK_SECONDS = 120;

export function decide(situation: Situation): Decision {
  if (wasJudgedFailed(situation)) return afterFailure(situation);
  if (ownedByOthers(situation).length === 0) return gather(situation);
  if (stateOf(situation, situation.wanted.id)?.state === "proved") return goBack(situation);
  return goForward(situation);
}

/** A failed verdict counts only when there is a better generation: a first creation that failed is tried again. */
function wasJudgedFailed(situation: Situation): boolean {
  const failed = stateOf(situation, situation.wanted.id)?.state === "failed";
  return failed && (ownedByOthers(situation).length > 0 || lastProved(situation) !== undefined);
}

/**
 * No node is rolled back unless the pool's strategy says so. In either case the failed generation gets no further slot.
 */
function afterFailure(situation: Situation): Decision {
  const { pool, wanted } = situation;
  const failed = stateOf(situation, wanted.id);
  const why = [
    `${wanted.id} was judged failed${failed ? ` at ${failed.since}` : ""}: ${failed?.why ?? "no reason kept"}`,
  ];
  const proved = lastProved(situation);
  if (pool.strategy.onFailure === "rollback" && proved !== undefined && !isBelowServers(situation, proved)) {
    const back = everySlot(situation, proved, "rollback");
    if (ownedBy(situation, proved.id).length < pool.slots) {
      return { ...back, why: [...why, `onFailure is rollback, and ${proved.id} is the last proved generation`] };
    }
    return { ...back, kind: "held", why: [...why, `every slot is back on ${proved.id}`, WAYS_OUT] };
  }
  const base = baseOf(situation);
  return { kind: "held", target: undefined, moves: new Set(), base, verdict: undefined, why: [...why, WAYS_OUT] };
}

/**
 * Whether the generation has an older RKE2 than the servers. Servers never go back to an older RKE2: etcd refuses the
 * data of a newer one (rke2#9318). The pool is then held.
 */
function isBelowServers({ pool, slots, record }: Situation, { spec }: Generation): boolean {
  if (pool.role !== "server") return false;
  const to = parseVersion(spec.rke2);
  const specs = new Map(record?.generations.map((one) => [one.id, one.spec]));
  return slots.some(({ owner }) => {
    const from = owner && parseVersion(specs.get(owner.generation)?.rke2 ?? "");
    return owner !== undefined && (to === undefined || from === undefined || compareVersions(to, from) < 0);
  });
}

/** What leads on when a node is dead whose slot is not among those of the canary. */
export const waysPastCanary =
  "what cannot be brought back goes when `canary` is raised or taken out, or its VM deleted and `evergreen repair` run";

/** The same for slots with an open handover. */
const waysPastOpen = "where only another image can start it, raise `canary` or take it out";

const WAYS_OUT = "to go on: change the pool's content, or raise its `rollout` counter to try the same content again";

/**
 * No slot belongs to another generation: missing nodes are created, as many in parallel as possible, because no node is
 * disturbed.
 */
function gather(situation: Situation): Decision {
  const { pool, wanted } = situation;
  const present = ownedBy(situation, wanted.id).length;
  const known = stateOf(situation, wanted.id);
  if (present < pool.slots) {
    const kind = present > 0 && known?.state === "proved" ? "scale" : "create";
    return everySlot(situation, wanted, kind);
  }
  if (known?.state !== "soaking" || isShort(pool)) return everySlot(situation, wanted, "steady");
  const soak = soakOf(situation);
  if (soak.over) return { ...everySlot(situation, wanted, "steady"), why: soak.why };
  return { ...everySlot(situation, wanted, "soaking"), ...waitFor(soak) };
}

/** The wanted generation was proved before: the same operation backwards, without canary and soak. */
function goBack(situation: Situation): Decision {
  const since = stateOf(situation, situation.wanted.id)?.since ?? "";
  const why = [`${situation.wanted.id} was proved at ${since}: no canary, no soak`];
  return { ...everySlot(situation, situation.wanted, "rollback"), why };
}

function goForward(situation: Situation): Decision {
  const { pool, wanted } = situation;
  const canaries = pool.strategy.canary === undefined ? pool.slots : nodesOf(pool.strategy.canary, pool.slots);
  const here = ownedBy(situation, wanted.id);
  const known = stateOf(situation, wanted.id);
  const nodes = here.flatMap(({ owner }) => owner?.record ?? []);
  // More slots than canaries have moved also when a pool has fewer slots by now, or a smaller canary.
  const hasBegun =
    known !== undefined && (hasSpread(situation, known, nodes, canaries) || isAllTriedSince(situation, known, nodes));
  if (canaries >= pool.slots || (hasBegun && here.length >= canaries)) return everySlot(situation, wanted, "roll");
  if (here.length < canaries || known?.state !== "soaking") return canary(situation, canaries);
  const { watchSeconds } = watch(pool);
  if (watchSeconds !== undefined && !wasWatched(known, nodes, watchSeconds))
    return { ...canary(situation, canaries), watchesAnew: true };

  const soak = soakOf(situation);
  if (soak.over) return { ...everySlot(situation, wanted, "roll"), why: soak.why };
  return { ...canary(situation, canaries), kind: "soaking", ...waitFor(soak) };
}

/**
 * Whether another node has got its slot after the soak of so many first ones: of these nodes, since the record keeps when
 * the generation first soaked, also when it was taken back and begun again.
 */
function hasSpread(
  { pool: { strategy } }: Situation,
  { state, since }: GenerationRecord,
  nodes: readonly Pick<NodeRecord, "since">[],
  canaries: number,
): boolean {
  const times = nodes.map((node) => Date.parse(node.since)).toSorted((a, b) => a - b);
  const end = Math.max(Date.parse(since), ...times.slice(0, canaries)) + strategy.soakSeconds * 1000;
  return state === "soaking" && times.slice(canaries).some((time) => time >= end);
}

/**
 * Whether every other slot has a node of a generation that was tried after this one and never proved: the pool goes back
 * to these nodes, and a soak of them would keep what the operator has left.
 */
function isAllTriedSince(
  situation: Situation,
  { since }: GenerationRecord,
  nodes: readonly Pick<NodeRecord, "since">[],
): boolean {
  return ownedByOthers(situation).every(({ owner }) => {
    const other = stateOf(situation, owner?.line ?? "");
    const came = owner?.record?.since ?? "";
    // A generation that is judged late has a late time, and its nodes have not.
    return (
      other !== undefined && other.state !== "proved" && other.since > since && nodes.some((one) => came > one.since)
    );
  });
}

/**
 * The first slots move, preferably those that have moved already, then those with an open handover, which hold all others
 * while what was evicted for them does not run, then those whose node is down: only a successor may mend either. No other
 * slot moves until their soak is over.
 */
function canary(situation: Situation, count: number): Decision {
  const { pool, wanted } = situation;
  const here = ownedBy(situation, wanted.id);
  const isDown = ({ owner }: SlotState) => owner !== undefined && !isHealthy(owner);
  const others = situation.slots.filter((slot) => !here.includes(slot) && !isStuck(slot));
  const isOpen = ({ slot }: SlotState) => pool.role === "agent" && isHandoverOpen(situation.record, slot);
  const rank = (slot: SlotState) => (isOpen(slot) ? 0 : isDown(slot) ? 1 : 2);
  const rest = others.toSorted((a, b) => rank(a) - rank(b));
  const moving = new Set([...here, ...rest].slice(0, count));
  const down = others.flatMap((slot) => (isDown(slot) && !moving.has(slot) ? (slot.owner?.name ?? []) : []));
  const open = others.filter((slot) => isOpen(slot) && !moving.has(slot)).map(({ slot }) => slot);
  const { soakSeconds } = pool.strategy;
  return {
    kind: "canary",
    target: wanted,
    moves: new Set([...moving].map((slot) => slot.slot)),
    base: baseOf(situation),
    verdict: { generation: wanted.id, state: "soaking", ...watch(pool) },
    why: [
      `${count} of ${pool.slots} slots first; a run after their soak of ${soakSeconds} s goes on with the others`,
      ...(down.length === 0 ? [] : [`${down.join(", ")} stay until then, and have to serve: ${waysPastCanary}`]),
      ...(open.length === 0 ? [] : [`what was evicted for slots ${open.join(", ")} has to run: ${waysPastOpen}`]),
    ],
  };
}

function everySlot(situation: Situation, target: Generation, kind: PlanKind): Decision {
  const moves = new Set(situation.slots.map((slot) => slot.slot));
  // No node, no proof.
  const verdict = situation.pool.slots === 0 ? undefined : finalVerdict(situation, target);
  return { kind, target, moves, base: target, verdict, why: [] };
}

/**
 * The verdict is the same before and after it was written, so that the step that writes it does not run again without
 * need.
 */
function finalVerdict(situation: Situation, target: Generation): PlanVerdict {
  const { pool } = situation;
  const generation = target.id;
  const proved = stateOf(situation, generation)?.state === "proved";
  if (proved || isShort(pool)) return { generation, state: "proved", ...watch(pool) };
  const complete = ownedBy(situation, generation).length === pool.slots;
  return { generation, state: complete && soakOf(situation).over ? "proved" : "soaking" };
}

function watch(pool: PoolSpec): { watchSeconds?: number } {
  const { soakSeconds } = pool.strategy;
  return isShort(pool) && soakSeconds > 0 ? { watchSeconds: soakSeconds } : {};
}

function isShort(pool: PoolSpec): boolean {
  return pool.strategy.soakSeconds <= INLINE_SOAK_SECONDS;
}

/**
 * Whether a run has watched the short soak of these nodes to its end. Not when it was killed or disturbed meanwhile, nor
 * when one of them has got its slot after that, as in a rollout that was taken back and begun again.
 */
export function wasWatched(
  { state, since, unwatched }: GenerationRecord,
  nodes: readonly Pick<NodeRecord, "since">[],
  soakSeconds: number,
): boolean {
  const end = Date.parse(since) + soakSeconds * 1000;
  return state === "soaking" && unwatched !== true && nodes.every((node) => !(Date.parse(node.since) > end));
}

/** A share of the slots as a number of nodes: rounded up, at least one, at most all. */
export function nodesOf(share: Share, slots: number): number {
  const nodes = "nodes" in share ? share.nodes : Math.ceil((share.percent * slots) / 100);
  return Math.min(slots, Math.max(1, nodes));
}

/**
 * The proved generation, other than the wanted one, that has most slots, and of those with as many the one that was
 * proved, or gone back to, last: not one that an operator has left since.
 */
function lastProved(situation: Situation): Generation | undefined {
  const { record, wanted } = situation;
  const proved = record?.generations.filter((one) => one.state === "proved" && one.id !== wanted.id) ?? [];
  const slots = ({ id }: Generation) => ownedBy(situation, id).length;
  return plain(proved.toSorted((a, b) => slots(a) - slots(b) || a.since.localeCompare(b.since)).at(-1));
}

function plain(generation: Generation | undefined): Generation | undefined {
  return generation && { id: generation.id, spec: generation.spec };
}

/**
 * The generation for a slot without a node while the wanted generation may not spread: preferably the last proved one,
 * and never a failed one when there is another.
 */
function baseOf(situation: Situation): Generation {
  const { wanted } = situation;
  const owners = ownedByOthers(situation).flatMap((slot) => slot.owner?.line ?? []);
  const byCount = [...Map.groupBy(owners, (id) => id)].toSorted(([, a], [, b]) => b.length - a.length);
  const others = byCount.flatMap(([id]) => stateOf(situation, id) ?? []);
  const unfailed = [...others, stateOf(situation, wanted.id) ?? { ...wanted, state: "rolling" }];
  return lastProved(situation) ?? plain(unfailed.find((one) => one.state !== "failed")) ?? plain(others[0]) ?? wanted;
}

function ownedByOthers({ slots, wanted }: Situation): SlotState[] {
  return slots.filter((slot) => slot.owner !== undefined && slot.owner.line !== wanted.id);
}
