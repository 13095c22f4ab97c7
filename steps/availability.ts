import { Deadline, DeadlineError } from "../common/deadline.ts";
import { UserError } from "../common/errors.ts";
import type { Kubernetes } from "../kubernetes/client.ts";
import { isReady, labels, nameOf } from "../kubernetes/nodes.ts";
import { readPoolRecord, readWantedSlots } from "../kubernetes/record.ts";
import { paths, type Node } from "../kubernetes/types.ts";
import { until } from "../kubernetes/watch.ts";
import { listVms } from "../proxmox/vms.ts";
import { emptySlots, type EmptySlot, type SlotNode } from "../rollout/availability.ts";
import { roomBeside } from "../rollout/order.ts";
import type { SlotInput } from "./input.ts";
import type { Leaver } from "./retirement.ts";
import type { Run } from "./run.ts";

/**
 * Waits, before a node that serves is drained, until it fits beside the other slots of its pool in which nobody serves: who
 * was down when the run was planned comes first (rollout/order.ts), and others fall while it goes on. Those whose VM Proxmox
 * knows nothing of, since its host is silent, are out for nobody knows how long: one slot at a time goes on beside them.
 * @throws UserError that names them. No image is to blame
 */
export async function awaitAvailable(run: Run, client: Kubernetes, input: SlotInput, leaver: Leaver): Promise<void> {
  if (leaver.node === undefined || !isReady(leaver.node)) return;
  const [{ nodes: records }, isWanted, vms] = await Promise.all([
    readPoolRecord(client, input.pool),
    readWantedSlots(client, input.pool),
    listVms(run.pve),
  ]);
  const silent = new Set(
    vms.filter(({ status, state }) => status === "unknown" && state === undefined).map(({ vmid }) => vmid),
  );
  const others = records.filter(({ slot }) => slot !== input.slot && isWanted(slot));
  let down: EmptySlot[] = [];
  const deadline = new Deadline("the other slots of the pool to serve", input.site.timeouts.gate, run.stop);
  try {
    await until<Node, true>(client, { path: paths.nodes }, deadline, (seen) => {
      const empty = emptySlots(
        others,
        [...seen.values()].map((node) => slotNode(node, input.pool)),
      );
      down = empty.filter(({ owner }) => !silent.has(owner.vmid));
      return down.length < roomBeside(empty.length - down.length, input.strategy) ? true : undefined;
    });
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    throw new UserError(
      {
        what: `${leaver.name} is not drained: ${down.map(wordsOf).join(", ")}, and at most ${input.strategy.maxUnavailable} may be out at once (waited ${deadline.seconds} s)`,
        where: `slot ${input.slot} of pool ${input.pool}, whose ${leaver.name} serves on`,
        todo: "run again: the next run brings back or replaces first what is down when it begins. The image is not judged",
      },
      { cause: error },
    );
  }
}

/** A Node as somebody who serves in a slot of a pool, or elsewhere. */
export function slotNode(node: Node, pool: string): SlotNode {
  const labelled = node.metadata?.labels ?? {};
  const slot = labelled[labels.pool] === pool ? labelled[labels.slot] : undefined;
  return { name: nameOf(node), slot: slot === undefined ? undefined : Number(slot), isReady: isReady(node) };
}

function wordsOf({ slot, owner }: EmptySlot): string {
  return `nobody serves in slot ${slot} (${owner.name} is not Ready)`;
}
