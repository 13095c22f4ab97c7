import { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { Changes } from "../../clients/kubernetes/changes.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { listNodes, nameOf } from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../clients/kubernetes/record.ts";
import { paths, type Pod } from "../../clients/kubernetes/types.ts";
import { watch } from "../../clients/kubernetes/watch.ts";
import { startSeconds, startingOnEach, type NotStarted } from "../../domain/availability/starting.ts";
import type { SlotInput } from "../input.ts";
import { owed } from "./placement.ts";
import type { StepContext } from "../context.ts";

/**
 * Waits until each new node of the pool that was given pods of those that this handover has evicted has started one: a
 * node on which none can be fetched, created or mounted takes no more of them, or the rollout would end with every pod of
 * the pool down (kops#7258). One is enough: a pod that fails alone fails by itself. They may be on the node of another
 * slot, since all new nodes can come first. Of the evicted none is waited for that could not start anywhere before.
 * A node has `gateSeconds` from the moment it was given pods, which may be while this step waits, and all of them
 * together have `startSeconds`: pods may go from one new node to the next for ever.
 * @throws UserError that names the pods: no other node is drained. No image is judged, for the registry, a driver of
 *   volumes or the network of pods may be away
 */
export async function awaitStarted(context: StepContext, client: Kubernetes, input: SlotInput): Promise<void> {
  const { cluster, pool, generation } = input;
  const evicted = owed(await readPoolRecord(client, pool), input).filter((one) => !one.failing);
  if (evicted.length === 0) return;
  const list = async () => [input.node, ...(await listNodes(client, { cluster, pool, generation })).map(nameOf)];
  let nodes = await list();
  const waits = await watchStarts(context, client, input, async (pods) => {
    const left = startingOnEach(pods, nodes, evicted);
    if (left.length > 0) return left;
    // A node that has joined since may have been given them.
    nodes = await list();
    return startingOnEach(pods, nodes, evicted);
  });
  if (waits !== undefined) throw notStarted(input, waits);
}

/** Nodes that have started no pod in time. */
interface Waits {
  left: readonly NotStarted[];
  /** Whether they have had pods for a gate; false: the time of all of them is over, and they got theirs within it. */
  isWhole: boolean;
}

/** @returns nodes that have started no pod in time; undefined: there are none */
async function watchStarts(
  { stop }: StepContext,
  client: Kubernetes,
  { node, site: { timeouts } }: SlotInput,
  read: (pods: Pod[]) => Promise<NotStarted[]>,
): Promise<Waits | undefined> {
  const what = `the pods that left for ${node} to start`;
  const all = new Deadline(what, startSeconds(timeouts), stop);
  const end = new AbortController();
  const changes = new Changes(AbortSignal.any([all.signal(), end.signal]));
  let left: NotStarted[] | undefined;
  let each: ReadonlyMap<string, Deadline> = new Map();
  try {
    all.throwIfStopped();
    const pods = changes.follow(watch<Pod>(client, paths.pods, {}, changes.signal));
    while (await changes.next(Math.min(...[...each.values()].map((one) => one.left)))) {
      const seen = pods();
      if (seen === undefined) continue;
      left = await read([...seen.values()]);
      if (left.length === 0) return undefined;
      each = new Map(left.map((one) => [one.node, each.get(one.node) ?? new Deadline(what, timeouts.gate)]));
      const late = left.filter((one) => each.get(one.node)?.passed);
      if (late.length > 0) return { left: late, isWhole: true };
    }
    all.throwIfStopped();
    // A list of pods that never came shows nothing of them.
    if (left === undefined) throw all.error();
    return { left, isWhole: false };
  } finally {
    end.abort();
  }
}

function notStarted({ node, slot, pool, site: { timeouts } }: SlotInput, { left, isWhole }: Waits): UserError {
  const pods = left.flatMap((one) => one.pods).join("; ");
  const isRefused = left.some(({ is }) => is === "refused");
  const todo = `${isRefused ? REFUSED : WAITING}${isWhole ? "" : MOVING}`;
  return new UserError({
    what: isWhole
      ? `of the pods that left for ${node} none has started in ${timeouts.gate} s on a new node: ${pods}`
      : `for ${startSeconds(timeouts)} s the pods that left for ${node} came to new nodes that started none: ${pods}`,
    where: `slot ${slot} of pool ${pool}, whose new node serves`,
    todo: `${todo}; then run again. No other node of the pool is drained before, and the image is not judged`,
  });
}

const REFUSED =
  "bring the registry back, or mend what the image says of it (registries.yaml, certificates), or scale these pods down";
const WAITING =
  "look at the events of these pods (kubectl describe pod): a volume that is not mounted, a driver or a program that the image lacks (nfs-common, open-iscsi), a network of pods that gives no address; mend that, or configure another image, or raise timeouts.gateSeconds where the images of pods are large";
const MOVING =
  "; and find out what takes pods away before they have started (a descheduler, a controller that makes them anew, kubectl)";
