import { claim } from "./verbs/claim.ts";
import { gate } from "./verbs/gate.ts";
import { guard, unguard } from "./verbs/guard.ts";
import { handover } from "./verbs/handover.ts";
import { readGuardInput, readPoolInput, readSlotInput, readSnapshotInput } from "./input.ts";
import { join } from "./verbs/join.ts";
import { retain } from "./verbs/retain.ts";
import { release } from "./verbs/release.ts";
import { retire } from "./verbs/retire.ts";
import { rollout } from "./verbs/rollout.ts";
import { snapshot } from "./verbs/snapshot.ts";
import { verify } from "./verbs/verify.ts";
import type { Run } from "./run.ts";

/** What a step is started with. */
export type Environment = Record<string, string | undefined>;
/** A step: it reads what it is told, and its result is what the engine remembers of it. */
type Verb = (run: Run, environment: Environment) => Promise<object>;

/** Every step by the word that the engine starts it with. */
export const verbs: Record<string, Verb> = {
  rollout: (run, environment) => rollout(run, readPoolInput(environment)),
  snapshot: (run, environment) => snapshot(run, readSnapshotInput(environment), environment),
  claim: (run, environment) => claim(run, readSlotInput(environment)),
  retain: (run, environment) => retain(run, readSlotInput(environment)),
  release: (run, environment) => release(run, readSlotInput(environment)),
  join: (run, environment) => join(run, readSlotInput(environment)),
  retire: (run, environment) => retire(run, readSlotInput(environment)),
  gate: (run, environment) => gate(run, readPoolInput(environment)),
  handover: (run, environment) => handover(run, readSlotInput(environment)),
  verify: (run, environment) => verify(run, readPoolInput(environment)),
  guard: (run, environment) => guard(run, readGuardInput(environment)),
  unguard: (run, environment) => unguard(run, readGuardInput(environment)),
};
