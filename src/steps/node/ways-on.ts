import { UserError } from "../../runtime/errors.ts";
import type { GenerationState, NodeRecord, PoolRecord } from "../../domain/model/types.ts";
import { waysPastCanary } from "../../domain/rollout/decision.ts";
import type { SlotInput } from "../input.ts";
import { ImageFault } from "./verdict.ts";

const underWay: readonly (GenerationState | undefined)[] = ["rolling", "soaking"];

/**
 * Adds to the error of an agent that does not come back, by its own fault, what leads on when nothing brings it back. Its
 * generation is proved, so nothing judges it; and where its slot does not move, as while only the canary does, each run
 * ends with its join.
 */
export function tellWaysOn(
  input: SlotInput,
  { generations }: PoolRecord,
  { phase }: NodeRecord,
  error: unknown,
): unknown {
  const own = generations.find(({ id }) => id === input.generation);
  const isProved = input.role === "agent" && phase === "handedOver" && own?.state === "proved";
  if (!(error instanceof ImageFault) || !isProved) return error;
  const isOld = generations.some(({ state, since }) => underWay.includes(state) && since > own.since);
  const { todo, ...problem } = error.problem;
  const ways =
    isOld && input.strategy.canary !== undefined
      ? `the canary of pool ${input.pool} leaves it its slot: ${waysPastCanary}`
      : `if ${input.node} cannot be brought back, delete its VM ${input.vmid}, with what its disks hold, and run \`evergreen repair\`: its slot then gets another node`;
  return new UserError({ ...problem, todo: `${todo}; ${ways}` }, { cause: error });
}
