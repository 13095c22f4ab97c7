import type { PoolPlan } from "../model/types.ts";
import { unreachableWords } from "./unreachable.ts";
import { isQuiet } from "./render.ts";

/** How a run ended, best first. The outcome of all pools is the worst outcome of a pool. */
const outcomes = ["done", "paused", "held", "rolledBack", "failed"] as const;

/**
 * How a run ended.
 * - `done`: everything is as configured.
 * - `paused`: a soak is under way, and a later run continues.
 * - `held`: the wanted generation was judged failed, and no more of its nodes are made.
 * - `rolledBack`: it was judged failed, and this run returned every slot to the proved generation.
 * - `failed`: none of these; an operator has to check.
 */
export type Outcome = (typeof outcomes)[number];

export interface Ending {
  outcome: Outcome;
  /** A clause for each pool that is not done: its state, and what comes next. */
  words: string[];
  /** What is not as it should be, for a reader. Empty unless the outcome is `failed`. */
  open: string[];
}

/**
 * Whether a failed update has changed the course of a pool: a generation was judged failed, and the next update holds
 * the pool or rolls it back. Only then is there something to do at once; every other failure is left to a later run.
 */
export function hasTurned(before: readonly PoolPlan[], after: readonly PoolPlan[]): boolean {
  return after.some((plan) => isJudged(plan) && !isJudged(planOf(before, plan.pool)));
}

/**
 * How a run ended whose last update succeeded.
 * @param before the plans before its first update
 * @param after the plans of the update that would come next
 */
export function outcomeOf(before: readonly PoolPlan[], after: readonly PoolPlan[]): Ending {
  const pools = after.map((plan) => poolOutcome(planOf(before, plan.pool), plan));
  const worst = Math.max(0, ...pools.map(({ outcome }) => outcomes.indexOf(outcome)));
  return {
    outcome: outcomes[worst] ?? "failed",
    words: pools.flatMap(({ words }) => words),
    open: pools.flatMap(({ open }) => open),
  };
}

function poolOutcome(before: PoolPlan | undefined, after: PoolPlan): Ending {
  const { pool, kind, wanted, target, unreachable = [] } = after;
  if (unreachable.length > 0) return unseen(after);
  const end = (outcome: Outcome, ...words: string[]): Ending => ({ outcome, words, open: [] });
  if (goesOnLater(before, after))
    return end("paused", `the soak of ${pool} has ended, and the next run goes on with it`);
  if (!isQuiet(after)) return { ...end("failed", `${pool} is not as it should be`), open: after.words };
  switch (kind) {
    case "steady":
    case "remove": // Only VMs that are kept for their data are left.
      return end("done");
    case "soaking":
      return end(
        "paused",
        `${soaking(after)} until ${after.soaksUntil ?? "an unknown time"}; a run after that goes on`,
      );
    case "held": {
      const why = `${wanted?.id ?? ""} was judged failed; change the pool's content, or raise its \`rollout\` counter`;
      if (target === undefined) return end("held", `${pool} keeps what it has: ${why}`);
      const wasThere = before?.kind === "held" && isQuiet(before);
      return end(wasThere ? "held" : "rolledBack", `${pool} is on ${target.id}: ${why}`);
    }
    default:
      return { ...end("failed", `${pool} is not as it should be`), open: after.words };
  }
}

/** Everything possible is done, and the state of the other nodes is unknown. */
function unseen(after: PoolPlan): Ending {
  const hosts = [...new Set(after.unreachable?.map(({ host }) => host))].join(", ");
  const words = [`${after.pool} has nodes on Proxmox hosts that do not answer: ${hosts}`];
  return { outcome: "failed", words, open: unreachableWords(after) };
}

/** A soak was waited for inside the run, or ended during it: the other slots follow in the next run. */
function goesOnLater(before: PoolPlan | undefined, after: PoolPlan): boolean {
  const waited = before?.kind === "canary" || before?.kind === "soaking";
  return waited && after.kind === "roll" && after.unhealthy.length === 0 && after.leaving.length === 0;
}

function soaking({ pool, slots, unreplaced, wanted }: PoolPlan): string {
  const there = slots.filter(({ generation }) => generation.id === wanted?.id).length;
  const all = slots.length + unreplaced.length;
  return there < all ? `${there} of ${all} slots of ${pool} soak` : `${pool} soaks`;
}

/**
 * Whether the pool is held or rolled back to another generation than the wanted one. A revert in the configuration is
 * no verdict.
 */
function isJudged(plan: PoolPlan | undefined): boolean {
  if (plan?.unreachable !== undefined) return false;
  return plan?.kind === "held" || (plan?.kind === "rollback" && plan.target?.id !== plan.wanted?.id);
}

function planOf(plans: readonly PoolPlan[], pool: string): PoolPlan | undefined {
  return plans.find((plan) => plan.pool === pool);
}
