import { Deadline, DeadlineError } from "../common/deadline.ts";
import { UserError } from "../common/errors.ts";
import type { Kubernetes } from "../kubernetes/client.ts";
import { isReady, labels, nameOf } from "../kubernetes/nodes.ts";
import { readPoolRecord, readWantedSlots } from "../kubernetes/record.ts";
import { paths, type Node } from "../kubernetes/types.ts";
import { listVms } from "../proxmox/vms.ts";
import { emptySlots, type SlotNode } from "../rollout/availability.ts";
import { roomBeside } from "../rollout/order.ts";
import type { NodeRecord } from "../rollout/types.ts";
import type { SlotInput } from "./input.ts";
import type { Leaver } from "./retirement.ts";
import type { Run } from "./run.ts";

/** A pause between two looks, in milliseconds: the list of VMs is up to ten seconds old. */
const paceMs = 2_000;

/**
 * Waits, before a node that serves is drained, until it fits beside the other slots of its pool in which nobody serves: who
 * was down when the run was planned comes first (rollout/order.ts), and others fall while it goes on. A Node looks Ready for
 * most of a minute after its VM has lost its power, so the list of VMs is asked too. Those whose VM Proxmox knows nothing of,
 * since its host is silent, are out for nobody knows how long: one slot at a time goes on beside them.
 * @throws UserError that names them. No image is to blame
 */
export async function awaitAvailable(run: Run, client: Kubernetes, input: SlotInput, leaver: Leaver): Promise<void> {
  if (leaver.node === undefined || !isReady(leaver.node)) return;
  let down: string[] = [];
  const deadline = new Deadline("the other slots of the pool to serve", input.site.timeouts.gate, run.stop);
  const fits = deadline.poll(paceMs, async () => {
    const { empty, silent } = await lookAtOthers(run, client, input);
    down = empty;
    return empty.length < roomBeside(silent, input.strategy) ? true : undefined;
  });
  await fits.catch((error: unknown) => {
    if (!(error instanceof DeadlineError)) throw error;
    throw new UserError(
      {
        what: `${leaver.name} is not drained: ${down.join(", ")}, and at most ${input.strategy.maxUnavailable} may be out at once (waited ${deadline.seconds} s)`,
        where: `slot ${input.slot} of pool ${input.pool}, whose ${leaver.name} serves on`,
        todo: "run again: the next run brings back or replaces first what is down when it begins. The image is not judged",
      },
      { cause: error },
    );
  });
}

/** Of the other slots of a pool in which nobody serves: those that are heard of, in words, and how many are on silent hosts. */
async function lookAtOthers(
  run: Run,
  client: Kubernetes,
  { pool, slot }: SlotInput,
): Promise<{ empty: string[]; silent: number }> {
  const [{ nodes: records }, isWanted, nodes, vms] = await Promise.all([
    readPoolRecord(client, pool),
    readWantedSlots(client, pool),
    client.list<Node>(paths.nodes),
    listVms(run.pve),
  ]);
  // A clone that a killed run has left may be off under the name of a node that serves.
  const on = new Set(vms.filter(({ status }) => status !== "stopped").map(({ name }) => name));
  const off = new Set(vms.flatMap(({ name = "" }) => (on.has(name) ? [] : [name])));
  const unknown = new Set(vms.filter(({ status, state }) => status === "unknown" && !state).map(({ vmid }) => vmid));
  const others = records.filter((one) => one.slot !== slot && isWanted(one.slot));
  const serving = nodes.items.map((node) => slotNode(node, pool)).filter(({ name }) => !off.has(name));
  const empty = emptySlots(others, serving);
  const heard = empty.filter(({ owner }) => !unknown.has(owner.vmid));
  const why = ({ name }: NodeRecord) => (off.has(name) ? `the VM of ${name} is off` : `${name} is not Ready`);
  const words = heard.map(({ slot, owner }) => `nobody serves in slot ${slot} (${why(owner)})`);
  return { empty: words, silent: empty.length - heard.length };
}

/** A Node as somebody who serves in a slot of a pool, or elsewhere. */
export function slotNode(node: Node, pool: string): SlotNode {
  const labelled = node.metadata?.labels ?? {};
  const slot = labelled[labels.pool] === pool ? labelled[labels.slot] : undefined;
  return { name: nameOf(node), slot: slot === undefined ? undefined : Number(slot), isReady: isReady(node) };
}
