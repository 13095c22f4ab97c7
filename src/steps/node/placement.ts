import { clock } from "../../runtime/clock.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError, type Problem } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { Changes } from "../../clients/kubernetes/changes.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { isReady } from "../../clients/kubernetes/nodes.ts";
import { readKeptClaims, readPoolRecord, writeFacts } from "../../clients/kubernetes/record.ts";
import { namespacedPath, paths, type Pod } from "../../clients/kubernetes/types.ts";
import { watch } from "../../clients/kubernetes/watch.ts";
import { displacedFrom, unplaced, unscheduled } from "../../domain/availability/placement.ts";
import type { Displaced, NodeRecord, PoolRecord } from "../../domain/model/types.ts";
import type { SlotInput } from "../input.ts";
import { readNodeView } from "./node-view.ts";
import type { DepartingNode } from "./departing-nodes.ts";
import type { StepContext } from "../context.ts";

/**
 * Time between two reads of what a controller wants, in milliseconds: it may want fewer pods by then, or be deleted.
 */
const lookMs = 5_000;

/**
 * Records whose pods a handover is about to evict: when a run is killed after the drain, the record tells which pods
 * have to find a place before the slot is handed over.
 */
export async function rememberDisplaced(
  client: Kubernetes,
  input: SlotInput,
  leaving: ReadonlySet<string>,
): Promise<void> {
  const { own, record } = await readNodeView(client, input);
  const { items } = await client.list<Pod>(paths.pods);
  const before = owed(record, input);
  const more = displacedFrom(items, leaving, await readKeptClaims(client)).filter((one) => !has(before, one));
  if (own === undefined || more.length === 0) return;
  await writeFacts(client, input.pool, { nodes: [{ ...own, displaced: [...(own.displaced ?? []), ...more] }] });
}

/**
 * Controllers whose pods have to find a place before the slot is handed over. They include pods evicted for a node that
 * was given up since, because nothing else waits for them.
 */
export function owed({ nodes }: PoolRecord, { slot }: Pick<SlotInput, "slot">): Displaced[] {
  return once(nodes.filter((node) => node.slot === slot));
}

/** What empties nodes: handovers, and retirements of nodes whose slot is given up. */
type Emptying = "handovers" | "retirements";

/**
 * Likewise for the whole pool. A slot whose nodes are all retired no longer exists, and only another retirement waits for
 * its evicted pods: it would take room from them once more.
 */
function owedInPool({ nodes }: PoolRecord, by: Emptying): Displaced[] {
  if (by === "retirements") return once(nodes);
  const slots = new Set(nodes.filter(({ phase }) => phase !== "retired").map(({ slot }) => slot));
  return once(nodes.filter(({ slot }) => slots.has(slot)));
}

function once(nodes: readonly NodeRecord[]): Displaced[] {
  const all = nodes.flatMap(({ displaced = [] }) => displaced);
  return all.filter((one, index) => !has(all.slice(0, index), one));
}

function has(some: readonly Displaced[], { namespace, kind, name }: Displaced): boolean {
  return some.some((one) => one.namespace === namespace && one.kind === kind && one.name === name);
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
  // Pods of a dead node are there for up to a minute after their Node: the garbage collector deletes them.
  const gone = new Set(record.nodes.filter(({ phase }) => phase === "retired").map(({ name }) => name));
  const isThere = (pod: Pod) => !gone.has(pod.spec?.nodeName ?? "");
  await awaitNone(context, client, input, {
    displaced,
    left: (pods, wanted) => unplaced(pods.filter(isThere), displaced, wanted, kept),
    problem: (left, seconds) => ({
      what: `pods that were evicted for ${input.node} have found no place in ${seconds} s: ${left}`,
      where: `slot ${input.slot} of pool ${input.pool}, whose new node serves`,
    }),
  });
  say(
    displaced.length === 1
      ? "1 controller has its pods elsewhere"
      : `${displaced.length} controllers have their pods elsewhere`,
  );
}

/**
 * Waits, before a node that serves is drained, until no pod that an earlier run has evicted waits for a place, from
 * this slot or another one. A node that does not serve is drained all the same: the pods may wait for what only its
 * drain releases.
 * @throws UserError that names the pods
 */
export async function awaitEarlierPlaced(
  context: StepContext,
  client: Kubernetes,
  input: SlotInput,
  departing: DepartingNode,
  by: Emptying = "handovers",
): Promise<void> {
  if (departing.node === undefined || !isReady(departing.node) || departing.node.spec?.unschedulable === true) return;
  const record = await readPoolRecord(client, input.pool);
  const displaced = owedInPool(record, by);
  if (displaced.length === 0) return;
  const kept = await readKeptClaims(client);
  await awaitNone(context, client, input, {
    displaced: [],
    left: (pods) => unscheduled(pods, displaced, kept),
    problem: (left, seconds) => ({
      what: `pods that earlier ${by} of pool ${input.pool} evicted have found no place in ${seconds} s: ${left}`,
      where: `slot ${input.slot}, whose ${departing.name} serves and stays until they have`,
    }),
  });
}

interface Waiting {
  left: (pods: readonly Pod[], wanted: (controller: Displaced) => number | undefined) => string[];
  /** Controllers of which `left` asks how many pods they want. */
  displaced: readonly Displaced[];
  /** The problem to report when the pods have not found a place in time. */
  problem: (left: string, seconds: number) => Pick<Problem, "what" | "where">;
}

async function awaitNone(context: StepContext, client: Kubernetes, input: SlotInput, waiting: Waiting): Promise<void> {
  let left: string[] = [];
  const deadline = new Deadline("what was evicted to find a place", input.site.timeouts.gate, context.stop);
  const end = new AbortController();
  try {
    deadline.throwIfStopped();
    const changes = new Changes(AbortSignal.any([deadline.signal(), end.signal]));
    const pods = changes.follow(watch<Pod>(client, paths.pods, {}, changes.signal));
    const wanted = new Wanted(client, waiting.displaced);
    while (await changes.next(lookMs)) {
      const seen = pods();
      if (seen === undefined) continue;
      await wanted.look();
      left = waiting.left([...seen.values()], (one) => wanted.of(one));
      if (left.length === 0) return;
    }
    deadline.throwIfStopped();
    throw deadline.error(left.join("; "));
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    throw new UserError(
      {
        ...waiting.problem(left.join("; "), deadline.seconds),
        todo: "give the cluster room, or the labels and taints that these pods ask for, or scale them down; then run again. No other node of the pool is drained before, and the image is not judged",
      },
      { cause: error },
    );
  } finally {
    end.abort();
  }
}

/** How many pods some controllers want, a few seconds old: a Deployment may be changed while a slot is handed over. */
class Wanted {
  private readonly client: Kubernetes;
  private readonly controllers: readonly Displaced[];
  private replicas: ReadonlyMap<Displaced, number | undefined> = new Map();
  private readAt = -Infinity;

  constructor(client: Kubernetes, controllers: readonly Displaced[]) {
    this.client = client;
    this.controllers = controllers;
  }

  of(controller: Displaced): number | undefined {
    return this.replicas.get(controller);
  }

  /** Reads again when `lookMs` have passed. While that fails, the last values count. */
  async look(): Promise<void> {
    if (clock.elapsed() - this.readAt < lookMs) return;
    const read = async (one: Displaced) => [one, await readReplicas(this.client, one)] as const;
    try {
      this.replicas = new Map(await Promise.all(this.controllers.map(read)));
    } catch (error) {
      if (this.readAt === -Infinity) throw error;
    }
    this.readAt = clock.elapsed();
  }
}

const collections: Readonly<Record<string, string>> = { ReplicaSet: "replicasets", StatefulSet: "statefulsets" };

/** How many pods a controller wants now; undefined for kinds whose number of replicas cannot be read. */
async function readReplicas(client: Kubernetes, { namespace, kind, name }: Displaced): Promise<number | undefined> {
  const collection = collections[kind];
  if (collection === undefined) return undefined;
  const path = namespacedPath("apps/v1", namespace, `${collection}/${name}`);
  const found = await client.find<{ spec?: { replicas?: number } }>(path);
  return found?.spec?.replicas ?? 0;
}
