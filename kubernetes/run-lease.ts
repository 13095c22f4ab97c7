import { existsSync } from "node:fs";
import { hostname, userInfo } from "node:os";
import { Deadline, DeadlineError } from "../common/deadline.ts";
import { UserError } from "../common/errors.ts";
import { running } from "../common/process-stat.ts";
import type { Kubernetes } from "./client.ts";
import { Lease } from "./lease.ts";
import { paths, type Lease as LeaseObject } from "./types.ts";

/** Name of the lease of an update. */
export const runLease = "update";

/**
 * One update of a cluster at a time, from whatever machine, checkout or backend it is started: the engine's own lock knows
 * only its stack. Renewed until it is released or this process ends.
 * @param patience longest wait in seconds; by default longer than a lease lives without its holder, so that a killed run is
 *   over by then
 * @throws UserError that names who updates the cluster
 */
export async function holdRun(client: Kubernetes, cluster: string, patience = 25): Promise<Lease> {
  const holder = `${userInfo().username}@${hostname()} (process ${process.pid})`;
  await forgetDead(client);
  const deadline = new Deadline(`the other update of ${cluster} to end`, patience);
  return await Lease.take(client, [runLease], deadline, { holder }).catch((error: unknown) => {
    if (!(error instanceof DeadlineError)) throw error;
    throw new UserError(
      {
        what: `another update of the cluster ${cluster} is running`,
        where: error.problem.where,
        todo: "wait for its end, then run again",
      },
      { cause: error },
    );
  });
}

/** A run of this machine that was killed gives nothing back; that its process is gone is seen at once. */
async function forgetDead(client: Kubernetes): Promise<void> {
  const found = await client.find<LeaseObject>(`${paths.leases}/${runLease}`);
  const [, host, pid] = /^[^@]*@(.+) \(process (\d+)\)$/.exec(found?.spec?.holderIdentity ?? "") ?? [];
  if (host !== hostname() || !existsSync("/proc/self") || running(Number(pid))) return;
  const { resourceVersion } = found?.metadata ?? {};
  await client.delete(`${paths.leases}/${runLease}`, resourceVersion === undefined ? {} : { resourceVersion });
}
