import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { readKeptClaims, writeFacts } from "../../clients/kubernetes/record.ts";
import { paths, type Pod } from "../../clients/kubernetes/types.ts";
import { displacedFrom, strictest, unplaced } from "../../domain/availability/placement.ts";
import type { Displaced, PoolRecord } from "../../domain/model/types.ts";
import type { SlotInput } from "../input.ts";
import { awaitEvicted } from "./await-evicted.ts";
import { readNodeView, type NodeView } from "./node-view.ts";
import type { StepContext } from "../context.ts";

/** A node of a slot. */
export type OfSlot = Pick<SlotInput, "pool" | "role" | "slot" | "node">;

/**
 * Records with a node whose pods are about to be evicted: with the one that gets the slot in a handover, else with the one
 * that leaves. When a run is killed after the drain, the record tells which pods have to run elsewhere.
 * @returns what is known of the node with that
 */
export async function rememberDisplaced(
  client: Kubernetes,
  of: OfSlot,
  leaving: ReadonlySet<string>,
): Promise<NodeView["own"]> {
  const { own, record } = await readNodeView(client, of);
  const { items } = await client.list<Pod>(paths.pods);
  const before = owed(record, of);
  const more = displacedFrom(items, leaving, await readKeptClaims(client)).filter((one) => !has(before, one));
  if (own === undefined || more.length === 0) return own;
  const now = { ...own, displaced: [...(own.displaced ?? []), ...more] };
  await writeFacts(client, of.pool, { nodes: [now] });
  return now;
}

/**
 * Controllers whose pods have to run elsewhere before the slot is handed over. They include pods evicted for a node that
 * was given up since, because nothing else waits for them.
 */
export function owed({ nodes }: PoolRecord, { slot }: Pick<SlotInput, "slot">): Displaced[] {
  return strictest(nodes.filter((node) => node.slot === slot).flatMap(({ displaced = [] }) => displaced));
}

function has(some: readonly Displaced[], { namespace, kind, name }: Displaced): boolean {
  return some.some((one) => one.namespace === namespace && one.kind === kind && one.name === name);
}

/** The pods that are not on nodes of the record that have left: the garbage collector takes up to a minute for these. */
export function apartFromRetired(pods: readonly Pod[], { nodes }: PoolRecord): Pod[] {
  const gone = new Set(nodes.filter(({ phase }) => phase === "retired").map(({ name }) => name));
  return pods.filter((pod) => !gone.has(pod.spec?.nodeName ?? ""));
}

/**
 * Waits until the pods that a handover has evicted run elsewhere.
 * @throws UserError that names the pods: no other node is drained before they have a place. No image is to blame
 */
export async function awaitPlaced(context: StepContext, client: Kubernetes, input: SlotInput): Promise<void> {
  const { record } = await readNodeView(client, input);
  const displaced = owed(record, input);
  if (displaced.length === 0) return;
  const kept = await readKeptClaims(client);
  const seconds = input.site.timeouts.gate;
  await awaitEvicted(context, client, {
    seconds,
    displaced,
    left: (pods, wanted) => unplaced(apartFromRetired(pods, record), displaced, wanted, kept),
    error: (left, cause) =>
      new UserError(
        {
          what: `pods that were evicted for ${input.node} have found no place in ${seconds} s: ${left}`,
          where: `slot ${input.slot} of pool ${input.pool}, whose new node serves`,
          todo: GIVE_ROOM,
        },
        { cause },
      ),
  });
  say(
    displaced.length === 1
      ? "1 controller has its pods elsewhere"
      : `${displaced.length} controllers have their pods elsewhere`,
  );
}

/** What helps pods that have no place. */
export const GIVE_ROOM =
  "give the cluster room, or the labels and taints that these pods ask for, or scale them down; then run again. No other node of the pool is drained before, and the image is not judged";
