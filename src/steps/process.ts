import { whenAbandoned } from "../runtime/abandoned.ts";
import { Cancelled } from "./context.ts";

/** Passphrases and configuration of the engine: no step needs them, so that no step can show them. */
const engineSecrets = /^PULUMI_(CONFIG|.*PASSPHRASE|ACCESS_TOKEN|BACKEND_URL)/;

/** The bucket's credentials, and those of the engine's state, which are the same variables. */
const awsSecrets = /^AWS_/;

/** Removes from the environment what belongs to the engine alone, and what this verb does not need. */
export function scrub(environment: Record<string, string | undefined>, verb: string): void {
  const secrets = verb === "snapshot" ? [engineSecrets] : [engineSecrets, awsSecrets];
  for (const name of Object.keys(environment))
    if (secrets.some((secret) => secret.test(name))) Reflect.deleteProperty(environment, name);
}

/**
 * Aborts when the run was cancelled (SIGINT, SIGTERM) or when the process that started us has gone, or the engine behind
 * it: a killed engine stops neither its plugins nor their commands, and the next run must not meet us. A second signal
 * ends us at once.
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
