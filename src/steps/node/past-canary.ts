import { UserError } from "../../runtime/errors.ts";
import type { GenerationState, PoolRecord } from "../../domain/model/types.ts";
import { waysPastCanary } from "../../domain/rollout/decision.ts";
import type { SlotInput } from "../input.ts";

const underWay: readonly (GenerationState | undefined)[] = ["rolling", "soaking"];

/**
 * Adds to the error of a node that does not come back how a rollout goes on whose canary does not reach its slot: the
 * pool's run ends before the canary is watched, each time.
 */
export function tellWaysPastCanary(input: SlotInput, { generations }: PoolRecord, error: unknown): unknown {
  const own = generations.find(({ id }) => id === input.generation);
  const isOld = generations.some(({ state, since }) => underWay.includes(state) && since > (own?.since ?? ""));
  if (!(error instanceof UserError) || own?.state !== "proved" || !isOld || input.strategy.canary === undefined)
    return error;
  const { todo, ...problem } = error.problem;
  const ways = `the canary of pool ${input.pool} leaves it its slot: ${waysPastCanary}`;
  return new UserError({ ...problem, todo: `${todo}; ${ways}` }, { cause: error });
}
