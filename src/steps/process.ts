import { whenAbandoned } from "../runtime/abandoned.ts";
import { Cancelled } from "./context.ts";

/** Passphrases and configuration of the engine: no step needs them, and a step without them cannot show them. */
const engineSecrets = /^PULUMI_(CONFIG|.*PASSPHRASE|ACCESS_TOKEN|BACKEND_URL)/;

/** Credentials of the backup bucket, which are the same variables as those of the engine's state backend. */
const awsSecrets = /^AWS_/;

/** The key that signs records of images, and the token that makes them. */
const imageKey = /^EVERGREEN_IMAGE_KEY$/;
const bakeToken = /^EVERGREEN_BAKE_API_TOKEN$/;

/** Removes from the environment the secrets of the engine and those that this verb does not need. */
export function scrub(environment: Record<string, string | undefined>, verb: string): void {
  const secrets = [
    engineSecrets,
    ...(verb === "snapshot" ? [] : [awsSecrets]),
    ...(verb === "bake" || verb === "prove" ? [] : [bakeToken]),
    ...(verb === "prove" ? [] : [imageKey]),
  ];
  for (const name of Object.keys(environment))
    if (secrets.some((secret) => secret.test(name))) Reflect.deleteProperty(environment, name);
}

/**
 * Returns a signal that aborts when the run is cancelled (SIGINT, SIGTERM), or when the parent process or the engine
 * behind it has ended. A killed engine stops neither its plugins nor their commands, and the next run must not overlap
 * with this step. A second SIGINT or SIGTERM ends the process at once.
 */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  const stop = (why: string): void => {
    if (!controller.signal.aborted) controller.abort(new Cancelled(why));
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(1);
      stop(`${signal} was received`);
    });
  }
  whenAbandoned("step", stop);
  return controller.signal;
}
