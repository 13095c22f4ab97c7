import { leaseNames } from "../domain/model/formats.ts";
import type { Access } from "../clients/kubernetes/access.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { Lease, LeaseLost, type Fence } from "../clients/kubernetes/lease.ts";
import { Deadline } from "../runtime/deadline.ts";
import { messageOf, UserError } from "../runtime/errors.ts";
import { say } from "../runtime/log.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import type { SlotInput } from "./input.ts";

/** What a verb receives from the process of its step: clients, identity and the abort signal. */
export interface StepContext {
  pve: Proxmox;
  /** Holder name of this process in leases and on cordons: unique for each process. */
  id: string;
  /** Aborts when the run was cancelled or the parent process has ended. */
  stop: AbortSignal;
  /**
   * Takes the update lease of the cluster for the engine behind the step. Absent without an engine: no other process
   * shares a test's lab.
   */
  update?: (client: Kubernetes) => Promise<Fence>;
  /**
   * Whether the engine behind the step may take the whole cluster away, as only a destroy may. Otherwise no mark of an
   * earlier destroy counts, in the cluster or on a VM.
   */
  mayTearDown: boolean;
  /** Aborts the step's waits from inside the process: a lease was lost. */
  abandon?: (why: Error) => void;
  /** Output of the step's previous run, from the engine's state; empty the first time. */
  previous: string;
}

/** The run was cancelled: completed work is kept, and the next run continues from there. */
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
 * Runs `work` while one of the leases is held and the engine holds the cluster's update lease, then releases the former
 * in any case.
 * @param work receives the name of the lease that was taken
 */
export async function withLease<T>(
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
  const fence = update ? allFences(update, lease) : lease;
  client.fences.add(fence);
  try {
    return await work(fence, lease.name);
  } catch (error) {
    // A failure after the loss of a lease is no verdict on anything: the loss is reported instead.
    for (const right of update ? [update, lease] : [lease])
      await right.requireOwned().catch((lost: unknown) => {
        if (lost instanceof LeaseLost) throw lost;
      });
    throw error;
  } finally {
    client.fences.delete(fence);
    await lease.release();
  }
}

/** Name of a slot's lease: one step at a time works on the nodes of the slot. */
export const slotLease = ({ pool, slot }: Pick<SlotInput, "pool" | "slot">): string[] => [leaseNames.slot(pool, slot)];

/** Names of a pool's disruption leases: their number is how many nodes may be disrupted at a time. */
export const disruptionLeases = ({ pool, strategy }: Pick<SlotInput, "pool" | "strategy">): string[] =>
  Array.from({ length: Math.max(1, strategy.maxUnavailable) }, (_, number) => leaseNames.disruption(pool, number));

/** Combines several fences into one: each of them is checked. */
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

/** Runs cleanup whose own failure must not hide the error that is already being thrown; it is only logged. */
export async function attemptQuietly(what: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    say(`${what}: ${messageOf(error)}`);
  }
}
