import { UserError } from "../runtime/errors.ts";
import { identify } from "../runtime/process-identity.ts";
import { holdRun } from "../clients/kubernetes/run-lease.ts";
import type { EngineSide } from "./engine-side.ts";
import { isDead, type EngineLock } from "./engine-state.ts";
import { observeCluster } from "../observe/observed-cluster.ts";
import type { OpenStack } from "../observe/open-stack.ts";

/** Guarantees that no other process changes the cluster during a repair. */
export interface ExclusiveUse {
  /** Throws when another process may change the cluster by now. */
  check: () => Promise<void>;
  /** True when it is certain that no update runs: by the cluster's lease, or by the locks of the stack. */
  isSure: boolean;
}

/**
 * Does the work while it holds the lease of an update, so that no update runs. Without a cluster there is no lease.
 * @param work gets the stack as it was observed under the lease: until then an update may have changed everything
 */
export async function runAlone<T>(
  site: OpenStack,
  work: (fence: ExclusiveUse, site: OpenStack) => Promise<T>,
  observe = observeCluster,
): Promise<T> {
  const { config, pve, observed } = site;
  const self = identify(process.pid);
  if (observed.kubernetes === undefined || self === undefined)
    return await work({ check: () => Promise.resolve(), isSure: false }, site);
  const lease = await holdRun(observed.kubernetes, config.cluster, self);
  try {
    const now = await observe(pve, config);
    try {
      return await work({ check: () => lease.check(), isSure: true }, { config, pve, observed: now });
    } finally {
      await now.kubernetes?.close();
    }
  } finally {
    await lease.release();
  }
}

/**
 * Removes the locks of dead engines.
 * @returns how many there were
 * @throws UserError when the owner of a lock may be alive: its steps may be running
 */
export async function unlock(
  engine: EngineSide,
  stack: string,
  fence: ExclusiveUse,
  report: (what: string, how: string) => void,
): Promise<number> {
  const locks = await engine.readLocks();
  // Where there is no cluster yet, only the stack's lock shows whether an update runs.
  fence.isSure ||= locks !== undefined;
  if (locks === undefined || locks.length === 0) return 0;
  refuseLiving(locks, stack);
  await fence.check();
  await engine.cancel();
  for (const { pid, timestamp } of locks)
    report(`the lock of engine ${pid}, which died`, `cancelled it (taken at ${timestamp})`);
  return locks.length;
}

/** @throws UserError when the owner of a lock may be alive: its resources are not touched */
export function refuseLiving(locks: readonly EngineLock[], stack: string): void {
  const alive = locks.find((lock) => !isDead(lock));
  if (!alive) return;
  throw new UserError({
    what: `an update of stack ${stack} is running`,
    where: `process ${alive.pid} of ${alive.username} on ${alive.hostname}, since ${alive.timestamp}`,
    todo: "wait for its end, or end it with SIGINT; if that machine is lost, run `pulumi cancel`",
  });
}
