import { UserError } from "../runtime/errors.ts";
import { identify } from "../runtime/process-identity.ts";
import { holdRun } from "../clients/kubernetes/run-lease.ts";
import type { EngineSide } from "./engine-side.ts";
import { isDead, type EngineLock } from "./engine-state.ts";
import type { OpenStack } from "../observe/open-stack.ts";

/** Nobody else is at work on the cluster while something is mended. */
export interface ExclusiveUse {
  /** Throws when somebody else may be at work by now. */
  check: () => Promise<void>;
  /** Nobody is at work for sure: the cluster's lease says so, or the locks of the stack. */
  isSure: boolean;
}

/** Does something with the lease of an update, which no update has then, where there is a cluster to ask. */
export async function alone<T>({ config, observed }: OpenStack, work: (fence: ExclusiveUse) => Promise<T>): Promise<T> {
  const self = identify(process.pid);
  if (observed.kubernetes === undefined || self === undefined)
    return await work({ check: () => Promise.resolve(), isSure: false });
  const lease = await holdRun(observed.kubernetes, config.cluster, self);
  try {
    return await work({ check: () => lease.check(), isSure: true });
  } finally {
    await lease.release();
  }
}

/**
 * Takes the locks of dead engines away. One whose owner may live is refused: its steps may be at work.
 * @returns how many there were
 */
export async function unlock(
  engine: EngineSide,
  stack: string,
  fence: ExclusiveUse,
  report: (what: string, how: string) => void,
): Promise<number> {
  const locks = await engine.locks();
  // Where there is no cluster yet, its lock is all that tells an update.
  fence.isSure ||= locks !== undefined;
  if (locks === undefined || locks.length === 0) return 0;
  refuseLiving(locks, stack);
  await fence.check();
  await engine.cancel();
  for (const { pid, timestamp } of locks)
    report(`the lock of engine ${pid}, which died`, `cancelled it (taken at ${timestamp})`);
  return locks.length;
}

/** @throws UserError when a lock's owner may be alive: nothing that it works on is touched */
export function refuseLiving(locks: readonly EngineLock[], stack: string): void {
  const alive = locks.find((lock) => !isDead(lock));
  if (!alive) return;
  throw new UserError({
    what: `an update of stack ${stack} is running`,
    where: `process ${alive.pid} of ${alive.username} on ${alive.hostname}, since ${alive.timestamp}`,
    todo: "wait for its end, or end it with SIGINT; if that machine is lost, run `pulumi cancel`",
  });
}
