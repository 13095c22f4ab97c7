import type { Access } from "../clients/kubernetes/access.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { Lease, LeaseLost, type Fence } from "../clients/kubernetes/lease.ts";
import { Deadline } from "../runtime/deadline.ts";
import { messageOf, UserError } from "../runtime/errors.ts";
import { say } from "../runtime/log.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import type { SlotInput } from "./input.ts";

/** One step in one process. */
export interface StepContext {
  pve: Proxmox;
  /** Who we are in leases and on cordons: unique for each process. */
  id: string;
  /** Aborts when the run was cancelled or its parent has gone. */
  stop: AbortSignal;
  /** The right of the engine behind the step to update the cluster. Absent where no engine is: nobody shares a test's lab. */
  update?: (client: Kubernetes) => Promise<Fence>;
  /** Ends the run's waits from inside: a lease that was lost. */
  abandon?: (why: Error) => void;
  /** What the step printed when it ran last, empty the first time. */
  previous: string;
}

/** The run was cancelled: whatever was finished is kept, and the next run goes on from there. */
export class Cancelled extends UserError {
  constructor(why: string) {
    super({
      what: `stopped at a safe point: ${why}`,
      where: "this step",
      todo: "run pulumi up again: it goes on where this ended",
    });
  }
}

/**
 * Does something while a lease is held and the update is still the engine's, and gives it back whatever happens.
 * @param work is told which of the names it is
 */
export async function holding<T>(
  context: StepContext,
  { client }: Access,
  names: readonly string[],
  seconds: number,
  work: (fence: Fence, name: string) => Promise<T>,
): Promise<T> {
  const update = await context.update?.(client);
  const deadline = new Deadline(`the lease ${names.join(" or ")}`, seconds, context.stop);
  const { id: holder, stop, abandon } = context;
  const lease = await Lease.take(client, names, deadline, { holder, stop, ...(abandon ? { onLost: abandon } : {}) });
  try {
    return await work(update ? allFences(update, lease) : lease, lease.name);
  } catch (error) {
    // What fails for somebody who has lost a lease is no verdict on anything.
    for (const right of update ? [update, lease] : [lease])
      await right.requireOwned().catch((lost: unknown) => {
        if (lost instanceof LeaseLost) throw lost;
      });
    throw error;
  } finally {
    await lease.release();
  }
}

/** The lease of a slot: one step at a time touches its nodes. */
export const slotLease = ({ pool, slot }: Pick<SlotInput, "pool" | "slot">): string[] => [`slot-${pool}-${slot}`];

/** The tickets of a pool: as many nodes may be taken out at a time. */
export const disruptionLeases = ({ pool, strategy }: Pick<SlotInput, "pool" | "strategy">): string[] =>
  Array.from({ length: Math.max(1, strategy.maxUnavailable) }, (_, ticket) => `ticket-${pool}-${ticket}`);

/** Several fences as one. */
export function allFences(...fences: Fence[]): Fence {
  return {
    check: async () => {
      for (const fence of fences) await fence.check();
    },
    requireOwned: async () => {
      for (const fence of fences) await fence.requireOwned();
    },
  };
}

/** Runs what must not hide the error that is already on its way. */
export async function quietly(what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    say(`${what}: ${messageOf(error)}`);
  }
}
