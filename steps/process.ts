import { Cancelled } from "./run.ts";

/** Passphrases and configuration of the engine: no step needs them, so that no step can show them. */
const engineSecrets = /^PULUMI_(CONFIG|.*PASSPHRASE|ACCESS_TOKEN|BACKEND_URL)/;

/** Removes from the environment what belongs to the engine alone. */
export function scrub(environment: Record<string, string | undefined>): void {
  for (const name of Object.keys(environment)) if (engineSecrets.test(name)) Reflect.deleteProperty(environment, name);
}

/** Time between two looks at who our parent is, in milliseconds. */
const lookMs = 500;

/**
 * Aborts when the run was cancelled (SIGINT, SIGTERM) or when the process that started us has gone: a killed engine
 * does not stop its steps, and the next run must not meet us. A second signal ends us at once.
 */
export function stopSignal(parent = process.ppid): AbortSignal {
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
  const look = setInterval(() => {
    if (process.ppid !== parent) stop("the process that started this step has ended");
  }, lookMs);
  look.unref();
  return controller.signal;
}
