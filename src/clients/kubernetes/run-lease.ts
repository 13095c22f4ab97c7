import { leaseNames } from "../../domain/model/formats.ts";
import { hostname } from "node:os";
import { hasHeld, noteHeld } from "../../runtime/engine-notes.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { lifeOf, userName, type ProcessIdentity } from "../../runtime/process-identity.ts";
import type { Kubernetes } from "./client.ts";
import { isConflict } from "./errors.ts";
import { Lease, LeaseLost, type LeaseOptions } from "./lease.ts";
import { paths, type Lease as LeaseObject } from "./types.ts";

const path = `${paths.leases}/${leaseNames.update}`;

/**
 * Longest wait for another run, in seconds: slightly longer than a lease is watched, so that the lease of a killed run
 * has expired by then.
 */
const patienceSeconds = 25;

type Options = Omit<LeaseOptions, "holder" | "seconds" | "isAlive">;

/**
 * Takes the lease of an update: a cluster has one update at a time, on whatever machine, checkout or backend it is
 * started. The engine's own lock covers only its stack.
 * @param who the process that does the work: an engine, or a command that repairs
 * @param patience longest wait in seconds
 * @throws UserError that names the process that updates the cluster
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
  return await Lease.take(client, [leaseNames.update], deadline, { ...options, holder: holderOf(who), isAlive }).catch(
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
 * The same for a step. Its engine already holds the lease, or takes it now: in a first creation, where there was no API
 * before, and in `pulumi destroy`, where no program runs.
 * @param keep starts the process that renews the lease until the engine has ended
 * @throws LeaseLost when the engine held the lease and no longer does: another process may be at work
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
  if (hasHeld(engine, cluster))
    throw new LeaseLost(leaseNames.update, found ? `another run took it (${holder})` : "it was given back");
  const lease = await holdRun(client, cluster, engine, { isKept: true });
  noteHeld(engine, cluster);
  keep(client);
  return lease;
}

/**
 * The holder identity of a process in the lease, for readers and for other processes: `root@host (process 4711.1234567
 * in 0a1b...)`. The last word identifies the boot of the machine and the pid namespace; a host name does not, because
 * several machines may have the same.
 */
export function holderOf({ pid, start, scope }: ProcessIdentity): string {
  return `${userName()}@${hostname()} (process ${pid}.${start} in ${scope || "an unknown place"})`;
}

/** Whether the process that a holder names is alive; unknown for a process that runs, or ran, elsewhere. */
function lifeIn(holder: string): ReturnType<typeof lifeOf> {
  const [, pid, start, scope = ""] = / \(process (\d+)\.(\d+) in ([0-9a-f]{16})\)$/.exec(holder) ?? [];
  return lifeOf({ pid: Number(pid), start: Number(start), scope });
}

/**
 * Removes the lease of a killed run, which does not release it, without waiting when its process is known to be dead.
 */
async function forgetDead(client: Kubernetes): Promise<void> {
  const found = await client.find<LeaseObject>(path);
  if (found === undefined || lifeIn(found.spec?.holderIdentity ?? "") !== "dead") return;
  const { resourceVersion } = found.metadata ?? {};
  await client.delete(path, resourceVersion === undefined ? {} : { resourceVersion }).catch((error: unknown) => {
    // Another run was faster: the current holder is read next.
    if (!isConflict(error)) throw error;
  });
}
