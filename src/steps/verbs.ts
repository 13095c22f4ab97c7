import { connectToBake } from "../clients/proxmox/bake-token.ts";
import { NOTHING_DUE, variables } from "../domain/model/step-environment.ts";
import { bake, bakedBefore } from "./verbs/bake.ts";
import { claim } from "./verbs/claim.ts";
import { gate } from "./verbs/gate.ts";
import { guard, unguard } from "./verbs/guard.ts";
import { handover } from "./verbs/handover.ts";
import { readGuardInput, readPoolInput, readRegistriesInput, readSlotInput, readSnapshotInput } from "./input.ts";
import { join } from "./verbs/join.ts";
import { retain } from "./verbs/retain.ts";
import { release } from "./verbs/release.ts";
import { retire } from "./verbs/retire.ts";
import { registries } from "./verbs/registries.ts";
import { rollout } from "./verbs/rollout.ts";
import { snapshot } from "./verbs/snapshot.ts";
import { verify } from "./verbs/verify.ts";
import { readBakeOrder, readProofOrder } from "./image/order.ts";
import type { StepContext } from "./context.ts";

/** Environment variables of a step's process. */
export type Environment = Record<string, string | undefined>;
/** A step: it reads its input from the environment, and the engine stores its result in the state. */
type Verb = (context: StepContext, environment: Environment) => Promise<object>;

/** Every step by the verb that the engine starts it with. */
export const verbs: Record<string, Verb> = {
  rollout: (context, environment) => rollout(context, readPoolInput(environment)),
  snapshot: (context, environment) => snapshot(context, readSnapshotInput(environment), environment),
  registries: (context, environment) => registries(context, readRegistriesInput(environment)),
  claim: (context, environment) => claim(context, readSlotInput(environment)),
  retain: (context, environment) => retain(context, readSlotInput(environment)),
  release: (context, environment) => release(context, readSlotInput(environment)),
  join: (context, environment) => join(context, readSlotInput(environment)),
  retire: (context, environment) => retire(context, readSlotInput(environment)),
  gate: (context, environment) => gate(context, readPoolInput(environment)),
  handover: (context, environment) => handover(context, readSlotInput(environment)),
  verify: (context, environment) => verify(context, readPoolInput(environment)),
  guard: (context, environment) => guard(context, readGuardInput(environment)),
  bake: async (context, environment) => {
    const order = readBakeOrder(environment);
    if (environment[variables.due] === NOTHING_DUE) return bakedBefore(order);
    return await bake({ ...context, pve: connectToBake(environment) }, order);
  },
  prove: async (context, environment) => {
    if (environment[variables.due] === NOTHING_DUE) return bakedBefore(readProofOrder(environment).bake);
    // What signs takes longer to load than all other steps.
    const [{ prove }, { readSigningKey }] = await Promise.all([
      import("./verbs/prove.ts"),
      import("../evidence/own-key.ts"),
    ]);
    const key = readSigningKey(environment);
    return await prove({ ...context, pve: connectToBake(environment) }, readProofOrder(environment), key);
  },
  unguard: (context, environment) => unguard(context, readGuardInput(environment)),
};
