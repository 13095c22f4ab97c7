import { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { readKeptClaims } from "../../clients/kubernetes/kept-claims.ts";
import { nameOf } from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../clients/kubernetes/record.ts";
import { paths, type Node, type Pod } from "../../clients/kubernetes/types.ts";
import { unstartedByNode } from "../../domain/availability/placement.ts";
import { hasStarted, startSeconds, startingOnEach, type NotStarted } from "../../domain/availability/starting.ts";
import { labels } from "../../domain/model/formats.ts";
import type { Displaced } from "../../domain/model/types.ts";
import type { SlotInput } from "../input.ts";
import { followEvicted, type WantedOf } from "./await-evicted.ts";
import { apartFromRetired, owed } from "./placement.ts";
import type { StepContext } from "../context.ts";

/**
 * Waits until the pods that this handover has evicted start where they are by now, or the rollout would end with every
 * pod of the pool down (kops#7258). Of the evicted none is waited for that could not start anywhere before.
 * - Each new node of the pool that was given some has to start one: a node on which none can be fetched, created or
 *   mounted takes no more of them. They may be on the node of another slot, since all new nodes can come first.
 * - Of each controller as many have to start as had before, or as it wants by now, on whatever nodes: what a node has
 *   started before a registry or a driver went away tells nothing of now. That is asked of pods that are there when
 *   this wait begins: other handovers wait for what they evict.
 *
 * A node has `gateSeconds` from the moment it was given pods, which may be while this step waits, and once more with
 * each that it starts; all of them together have `startSeconds`: pods may go from one node to the next for ever.
 * @throws UserError that names the pods: no other node is drained. No image is judged, for the registry, a driver of
 *   volumes or the network of pods may be away
 */
export async function awaitStarted(context: StepContext, client: Kubernetes, input: SlotInput): Promise<void> {
  const record = await readPoolRecord(client, input.pool);
  const evicted = owed(record, input).filter((one) => !one.failing);
  if (evicted.length === 0) return;
  const kept = await readKeptClaims(client);
  const list = async () => (await client.list<Node>(paths.nodes)).items;
  let nodes = await list();
  // What other handovers evict meanwhile is awaited by them.
  let first: ReadonlySet<string> | undefined;
  const missing = (pods: readonly Pod[], wanted: WantedOf): NotStarted[] => {
    const news = new Set([input.node, ...nodes.filter((node) => isNew(node, input)).map(nameOf)]);
    first ??= new Set(pods.map(uidOf));
    const seen = first;
    const there = apartFromRetired(pods, record, nodes).filter((pod) => seen.has(uidOf(pod)) || hasStarted(pod));
    const idle = startingOnEach(pods, [...news], evicted);
    const isIdle = ({ node }: NotStarted) => idle.some((one) => one.node === node);
    return [...idle, ...unstartedByNode(there, evicted, wanted, kept).filter((one) => !isIdle(one))];
  };
  const waits = await watchStarts(context, client, input, evicted, async (pods, wanted) => {
    const left = missing(pods, wanted);
    if (left.length > 0) return left;
    // A node that has joined since may have been given them.
    nodes = await list();
    return missing(pods, wanted);
  });
  if (waits !== undefined) throw notStarted(input, waits);
}

const uidOf = ({ metadata }: Pod): string => metadata?.uid ?? "";

function isNew({ metadata }: Node, { cluster, pool, generation }: SlotInput): boolean {
  const own = metadata?.labels ?? {};
  return own[labels.cluster] === cluster && own[labels.pool] === pool && own[labels.generation] === generation;
}

/** Nodes that have not started pods in time. */
interface Waits {
  left: readonly NotStarted[];
  /** Whether they have started none for a gate; false: the time of all of them is over. */
  isWhole: boolean;
}

/** @returns nodes that have not started pods in time; undefined: there are none */
async function watchStarts(
  { stop }: StepContext,
  client: Kubernetes,
  { node, site: { timeouts } }: SlotInput,
  displaced: readonly Displaced[],
  read: (pods: readonly Pod[], wanted: WantedOf) => Promise<NotStarted[]>,
): Promise<Waits | undefined> {
  const what = `the pods that left for ${node} to start`;
  const all = new Deadline(what, startSeconds(timeouts), stop);
  let left: NotStarted[] | undefined;
  let late: readonly NotStarted[] = [];
  let each: ReadonlyMap<string, Turn> = new Map();
  const isOver = await followEvicted(client, { displaced, looksAtNodes: false }, all, async (pods, wanted) => {
    left = await read(pods, wanted);
    each = new Map(
      left.map((one) => [one.node, turnOf(one, each.get(one.node), () => new Deadline(what, timeouts.gate))]),
    );
    late = left.filter((one) => each.get(one.node)?.deadline.passed);
    return left.length === 0 || late.length > 0;
  });
  if (isOver) return late.length > 0 ? { left: late, isWhole: true } : undefined;
  // A list of pods that never came shows nothing of them.
  if (left === undefined) throw all.error();
  return { left, isWhole: false };
}

/** The time that a node has to start one more of its pods. */
interface Turn {
  started: number;
  deadline: Deadline;
}

const turnOf = ({ started }: NotStarted, before: Turn | undefined, begin: () => Deadline): Turn =>
  before !== undefined && before.started >= started ? before : { started, deadline: begin() };

function notStarted(input: SlotInput, { left, isWhole }: Waits): UserError {
  const { node, slot, pool, site } = input;
  const pods = left.flatMap((one) => one.pods).join("; ");
  const fewer = [...new Set(left.flatMap((one) => one.fewer ?? []))];
  const isRefused = left.some(({ is }) => is === "refused");
  const isMoving = !isWhole && fewer.length === 0;
  const where = `slot ${slot} of pool ${pool}, whose new node serves`;
  const todo = `${isRefused ? REFUSED : WAITING}${isMoving ? MOVING : ""}; then run again. No other node of the pool is drained before, and the image is not judged`;
  const gate = site.timeouts.gate;
  const seconds = isWhole ? gate : startSeconds(site.timeouts);
  if (left.every((one) => one.fewer !== undefined))
    return new UserError({
      what: `pods that left for ${node} have not started in ${seconds} s, and fewer than before run (${fewer.join(", ")}): ${pods}`,
      where,
      todo,
    });
  return new UserError({
    what: isWhole
      ? `of the pods that left for ${node} none has started in ${gate} s on a new node: ${pods}`
      : `for ${seconds} s the pods that left for ${node} came to new nodes that started none: ${pods}`,
    where,
    todo,
  });
}

const REFUSED =
  "bring the registry back, or mend what the image says of it (registries.yaml, certificates), or scale these pods down";
const WAITING =
  "look at the events of these pods (kubectl describe pod): a volume that is not mounted, a driver or a program that the image lacks (nfs-common, open-iscsi), a network of pods that gives no address; mend that, or configure another image and delete the pods that do not move to its nodes, or raise timeouts.gateSeconds where the images of pods are large";
const MOVING =
  "; and find out what takes pods away before they have started (a descheduler, a controller that makes them anew, kubectl)";
