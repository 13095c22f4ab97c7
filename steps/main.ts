import { randomBytes } from "node:crypto";
import { asUserError, messageOf, UserError } from "../common/errors.ts";
import { redact, say } from "../common/log.ts";
import { Proxmox } from "../proxmox/client.ts";
import { claim } from "./claim.ts";
import { gate } from "./gate.ts";
import { guard, unguard } from "./guard.ts";
import { handover } from "./handover.ts";
import { readGuardInput, readPoolInput, readSlotInput, readSnapshotInput } from "./input.ts";
import { join } from "./join.ts";
import { scrub, stopSignal } from "./process.ts";
import { release } from "./release.ts";
import { retire } from "./retire.ts";
import { rollout } from "./rollout.ts";
import type { Run } from "./run.ts";
import { snapshot } from "./snapshot.ts";
import { verify } from "./verify.ts";

type Environment = Record<string, string | undefined>;
type Verb = (run: Run, environment: Environment) => Promise<object>;

const verbs: Record<string, Verb> = {
  rollout: (run, environment) => rollout(run, readPoolInput(environment)),
  snapshot: (run, environment) => snapshot(run, readSnapshotInput(environment), environment),
  claim: (run, environment) => claim(run, readSlotInput(environment)),
  release: (run, environment) => release(run, readSlotInput(environment)),
  join: (run, environment) => join(run, readSlotInput(environment)),
  retire: (run, environment) => retire(run, readSlotInput(environment)),
  gate: (run, environment) => gate(run, readPoolInput(environment)),
  handover: (run, environment) => handover(run, readSlotInput(environment)),
  verify: (run, environment) => verify(run, readPoolInput(environment)),
  guard: (run, environment) => guard(run, readGuardInput(environment)),
  unguard: (run, environment) => unguard(run, readGuardInput(environment)),
};

/** Runs one verb. @returns the exit code */
async function main(name: string, environment: Environment): Promise<number> {
  const abandoned = new AbortController();
  const stop = AbortSignal.any([stopSignal(), abandoned.signal]);
  scrub(environment, name);
  try {
    const verb = verbs[name];
    if (verb === undefined) throw unknownVerb(name);
    const pve = Proxmox.fromEnvironment(environment);
    const id = `${name}-${process.pid}-${randomBytes(4).toString("hex")}`;
    const abandon = (why: Error) => abandoned.abort(why);
    const run: Run = { pve, id, stop, abandon, previous: environment.PULUMI_COMMAND_STDOUT ?? "" };
    const result = await verb(run, environment);
    process.stdout.write(`${redact(JSON.stringify(result))}\n`);
    return 0;
  } catch (error) {
    say(explain(error));
    return 1;
  }
}

/** The engine passes the verb as the only argument, sometimes after a `-c` of its own. */
function unknownVerb(name: string): UserError {
  return new UserError({
    what: `there is no step "${name}"`,
    where: "bin/step",
    todo: `use one of ${Object.keys(verbs).join(", ")}; steps are started by the engine, not by hand`,
  });
}

/** What the operator reads. What we did not foresee comes with its stack, to be reported. */
function explain(error: unknown): string {
  const ours = asUserError(error);
  if (ours) return ours.message;
  const foreseen = error instanceof Error && error.name !== "Error" && error.name !== "TypeError";
  return foreseen || !(error instanceof Error) ? messageOf(error) : (error.stack ?? error.message);
}

// Sockets and timers that are left belong to nobody any more.
process.exit(await main(process.argv.at(-1) ?? "", process.env));
