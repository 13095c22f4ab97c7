import { engineBehind } from "../runtime/process-identity.ts";
import { refuseFlagsOfEngine } from "../runtime/refused-flags.ts";
import { bundle } from "../../tools/bundle.mjs";

/**
 * Has all ready that the step of a bake runs from: the bundle of the steps, which must be that of this commit and this
 * work tree. Bakes have nothing to do with the plan of a cluster.
 * @throws UserError when the engine was started with a flag with which no step may run
 */
export async function prepareBake(): Promise<void> {
  const engine = engineBehind();
  if (engine) refuseFlagsOfEngine(engine.pid);
  await bundle();
}
