import { hostname } from "node:os";
import { hasHeld, noteHeld } from "../../runtime/engine-notes.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { lifeOf, userName, type ProcessIdentity } from "../../runtime/process-identity.ts";
import type { Kubernetes } from "./client.ts";
import { isConflict } from "./errors.ts";
import { Lease, LeaseLost, type LeaseOptions } from "./lease.ts";
import { paths, type Lease as LeaseObject } from "./types.ts";

/** Name of the lease of an update. */
export const runLease = "update";
const path = `${paths.leases}/${runLease}`;

/** Longest wait for another run, in seconds: a little longer than a lease is looked at, so that a killed run is over by then. */
const patienceSeconds = 25;

type Options = Omit<LeaseOptions, "holder" | "seconds" | "isAlive">;

/**
 * One update of a cluster at a time, from whatever machine, checkout or backend it is started: the engine's own lock knows
 * only its stack.
 * @param who the process whose work it is: an engine, or a command that mends
 * @param patience longest wait in seconds
 * @throws UserError that names who updates the cluster
 */
export async function holdRun(
  client: Kubernetes,
  cluster: string,
  who: ProcessIdentity,
  options: Options = {},
  patience = patienceSeconds,
): Promise<Lease> {
  await forgetDead(client);
  const deadline = new Deadline(`the other update of ${cluster} to end`, patience, options.stop);
  const isAlive = (holder: string) => lifeIn(holder) === "alive";
  return await Lease.take(client, [runLease], deadline, { ...options, holder: holderOf(who), isAlive }).catch(
    (error: unknown) => {
      if (!(error instanceof DeadlineError)) throw error;
      throw new UserError(
        {
          what: `another update of the cluster ${cluster} is running`,
          where: error.problem.where,
          todo: "wait for its end, then run again",
        },
        { cause: error },
      );
    },
  );
}

/**
 * The same for a step: its engine has the lease, or gets it now, as in a first creation, before which there was no API, and in
 * `pulumi destroy`, in which no program runs.
 * @param keep starts what renews the lease until the engine has gone
 * @throws LeaseLost when the engine had it and has it no more: somebody else may be at work
 */
export async function joinRun(
  client: Kubernetes,
  cluster: string,
  engine: ProcessIdentity,
  keep: (client: Kubernetes) => void,
): Promise<Lease> {
  const found = await client.find<LeaseObject>(path);
  const holder = found?.spec?.holderIdentity ?? "";
  if (found && holder === holderOf(engine)) return await Lease.adopt(client, found, { holder, isKept: true });
  if (hasHeld(engine)) throw new LeaseLost(runLease, found ? `another run took it (${holder})` : "it was given back");
  const lease = await holdRun(client, cluster, engine, { isKept: true });
  noteHeld(engine);
  keep(client);
  return lease;
}

/**
 * Who a process is in the lease, for a reader and for every other process: `root@host (process 4711.1234567 in 0a1b...)`. The
 * last word names the boot of the machine and the pid namespace; a host name does not, many machines may have one.
 */
export function holderOf({ pid, start, scope }: ProcessIdentity): string {
  return `${userName()}@${hostname()} (process ${pid}.${start} in ${scope || "an unknown place"})`;
}

/** Whether the process that a holder names lives; unknown for one that runs, or ran, elsewhere. */
function lifeIn(holder: string): ReturnType<typeof lifeOf> {
  const [, pid, start, scope = ""] = / \(process (\d+)\.(\d+) in ([0-9a-f]{16})\)$/.exec(holder) ?? [];
  return lifeOf({ pid: Number(pid), start: Number(start), scope });
}

/** A run that was killed gives nothing back. That its process is gone is seen at once where it can be seen. */
async function forgetDead(client: Kubernetes): Promise<void> {
  const found = await client.find<LeaseObject>(path);
  if (found === undefined || lifeIn(found.spec?.holderIdentity ?? "") !== "dead") return;
  const { resourceVersion } = found.metadata ?? {};
  await client.delete(path, resourceVersion === undefined ? {} : { resourceVersion }).catch((error: unknown) => {
    // Another run was quicker: who has it now is asked next.
    if (!isConflict(error)) throw error;
  });
}
