import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { clock } from "../runtime/clock.ts";
import { asUserError, messageOf, UserError } from "../runtime/errors.ts";
import { redact, say } from "../runtime/log.ts";
import { engineBehind, type ProcessIdentity } from "../runtime/process-identity.ts";
import { mayTearDown, refuseFlagsOfEngine } from "../runtime/refused-flags.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { keep, startKeeper } from "../clients/kubernetes/keeper.ts";
import type { Lease } from "../clients/kubernetes/lease.ts";
import { joinRun } from "../clients/kubernetes/run-lease.ts";
import { Proxmox } from "../clients/proxmox/client.ts";
import { variables } from "../domain/model/step-environment.ts";
import { scrub, stopSignal } from "./process.ts";
import { Cancelled, type StepContext } from "./context.ts";
import { verbs, type Environment } from "./verbs.ts";

/**
 * Runs one verb.
 * @returns the exit code
 */
async function main(name: string, environment: Environment): Promise<number> {
  const abandoned = new AbortController();
  const stop = AbortSignal.any([stopSignal(), abandoned.signal]);
  scrub(environment, name);
  try {
    const verb = verbs[name];
    if (verb === undefined) throw unknownVerb(name);
    const engine = engineBehind();
    if (engine) refuseFlagsOfEngine(engine.pid);
    const pve = Proxmox.fromEnvironment(environment);
    const id = `${name}-${process.pid}-${randomBytes(4).toString("hex")}`;
    const abandon = (why: Error) => abandoned.abort(why);
    const cluster = environment[variables.cluster] ?? "";
    const engineContext = { update: updateOf(engine, cluster), mayTearDown: mayTearDown(engine, cluster) };
    const previous = environment.PULUMI_COMMAND_STDOUT ?? "";
    const context: StepContext = { pve, id, stop, abandon, ...engineContext, previous };
    const result = await verb(context, environment);
    process.stdout.write(`${redact(JSON.stringify(result))}\n`);
    return 0;
  } catch (error) {
    say(explain(error));
    return 1;
  }
}

/** Takes the engine's lease to update the cluster, once for each Kubernetes client. */
function updateOf(engine: ProcessIdentity | undefined, cluster: string): (client: Kubernetes) => Promise<Lease> {
  const asked = new WeakMap<Kubernetes, Promise<Lease>>();
  const ask = async (client: Kubernetes): Promise<Lease> => {
    if (engine === undefined) throw new Cancelled("the engine that this step works for has ended");
    return await joinRun(client, cluster, engine, () => startKeeper(client, engine, process.argv[1] ?? ""));
  };
  return (client) => {
    const found = asked.get(client) ?? ask(client);
    asked.set(client, found);
    // A request that failed is not kept: the next call asks again.
    found.catch(() => asked.delete(client));
    return found;
  };
}

/**
 * The error for an unknown verb. The engine passes the verb as the only argument, sometimes after a `-c` of its own.
 */
function unknownVerb(name: string): UserError {
  return new UserError({
    what: `there is no step "${name}"`,
    where: "bin/step",
    todo: `use one of ${Object.keys(verbs).join(", ")}; steps are started by the engine, not by hand`,
  });
}

/** Text of an error for the operator. An unforeseen error comes with its stack, so that it can be reported. */
function explain(error: unknown): string {
  const ours = asUserError(error);
  if (ours) return ours.message;
  const foreseen = error instanceof Error && error.name !== "Error" && error.name !== "TypeError";
  return foreseen || !(error instanceof Error) ? messageOf(error) : (error.stack ?? error.message);
}

/**
 * Keeps the engine's update lease renewed. This is not a step: no engine waits for it
 * (src/clients/kubernetes/keeper.ts).
 */
async function keepRun(): Promise<number> {
  // The program shows the message to the user and then ends; an interrupted engine would not show it.
  const tell = async (word: object) => {
    if (!process.connected) return;
    const ended = once(process, "disconnect");
    process.send?.(word);
    await Promise.race([ended, clock.sleep(2000)]);
  };
  // The process that started the keeper may end at any time.
  process.on("disconnect", () => undefined);
  // A service manager signals every process of a unit. The engine then needs minutes to reach a safe point, and keeps
  // the lease until then.
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);
  await keep(process.stdin, tell);
  return 0;
}

const [verb = ""] = process.argv.slice(-1);
// Exits explicitly: sockets and timers may still be open, and nothing uses them any more.
process.exit(verb === "keep" ? await keepRun() : await main(verb, process.env));
