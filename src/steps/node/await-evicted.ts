import { clock } from "../../runtime/clock.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import type { UserError } from "../../runtime/errors.ts";
import { Changes } from "../../clients/kubernetes/changes.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { namespacedPath, paths, type Node, type Pod } from "../../clients/kubernetes/types.ts";
import { watch } from "../../clients/kubernetes/watch.ts";
import type { Displaced } from "../../domain/model/types.ts";
import type { StepContext } from "../context.ts";

/**
 * Time between two reads of what a controller wants, in milliseconds: it may want fewer pods by then, or be deleted.
 */
const lookMs = 5_000;

/** How many pods a controller wants now; undefined: that cannot be read. */
export type WantedOf = (controller: Displaced) => number | undefined;

/** What a look at evicted pods is given. */
interface Looked {
  /** Whether the nodes are looked at, too, or from which pods on they are. Until then `look` gets none. */
  looksAtNodes: boolean | ((pods: readonly Pod[]) => boolean);
  /** Controllers of which `look` asks how many pods they want. */
  displaced: readonly Displaced[];
}

/** What is waited for, and what is said when it does not come. */
export interface Waiting extends Looked {
  /** How long, in seconds. */
  seconds: number;
  left: (pods: readonly Pod[], wanted: WantedOf, nodes: readonly Node[]) => string[];
  /** The error for pods that are left then. */
  error: (left: string, cause: unknown) => UserError;
}

/** Waits until no evicted pod is left that waits for something. */
export async function awaitEvicted({ stop }: StepContext, client: Kubernetes, waiting: Waiting): Promise<void> {
  let left: string[] = [];
  const deadline = new Deadline("what was evicted to run elsewhere", waiting.seconds, stop);
  try {
    const isOver = await followEvicted(client, waiting, deadline, (...seen) => {
      left = waiting.left(...seen);
      return Promise.resolve(left.length === 0);
    });
    if (!isOver) throw deadline.error(left.join("; "));
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    throw waiting.error(left.join("; ") || "the API has not listed pods and nodes", error);
  }
}

/**
 * Looks at all pods whenever one changes, and every few seconds, until a look ends it.
 * @returns false: the deadline has passed before
 */
export async function followEvicted(
  client: Kubernetes,
  { displaced, looksAtNodes }: Looked,
  deadline: Deadline,
  look: (pods: readonly Pod[], wanted: WantedOf, nodes: readonly Node[]) => Promise<boolean>,
): Promise<boolean> {
  const end = new AbortController();
  try {
    deadline.throwIfStopped();
    const changes = new Changes(AbortSignal.any([deadline.signal(), end.signal]));
    const pods = changes.follow(watch<Pod>(client, paths.pods, {}, changes.signal));
    const followNodes = () => changes.follow(watch<Node>(client, paths.nodes, {}, changes.signal));
    let nodes = looksAtNodes === true ? followNodes() : undefined;
    const wanted = new Wanted(client, displaced);
    while (await changes.next(lookMs)) {
      const seen = pods();
      if (seen === undefined) continue;
      const all = [...seen.values()];
      if (nodes === undefined && typeof looksAtNodes === "function" && looksAtNodes(all)) nodes = followNodes();
      const members = nodes === undefined ? new Map<string, Node>() : nodes();
      if (members === undefined) continue;
      await wanted.look();
      if (await look(all, (one) => wanted.of(one), [...members.values()])) return true;
    }
    deadline.throwIfStopped();
    return false;
  } finally {
    end.abort();
  }
}

/** How many pods some controllers want, a few seconds old: a Deployment may be changed while a slot is handed over. */
class Wanted {
  private readonly client: Kubernetes;
  private readonly controllers: readonly Displaced[];
  private replicas: ReadonlyMap<string, number | undefined> = new Map();
  private readAt = -Infinity;

  constructor(client: Kubernetes, controllers: readonly Displaced[]) {
    this.client = client;
    this.controllers = controllers;
  }

  of(controller: Displaced): number | undefined {
    return this.replicas.get(keyOf(controller));
  }

  /** Reads again when `lookMs` have passed. While that fails, the last values count. */
  async look(): Promise<void> {
    if (clock.elapsed() - this.readAt < lookMs) return;
    const read = async (one: Displaced) => [keyOf(one), await readReplicas(this.client, one)] as const;
    try {
      this.replicas = new Map(await Promise.all(this.controllers.map(read)));
    } catch (error) {
      if (this.readAt === -Infinity) throw error;
    }
    this.readAt = clock.elapsed();
  }
}

const keyOf = ({ namespace, kind, name }: Displaced): string => `${namespace}/${kind}/${name}`;

const collections: Readonly<Record<string, string>> = { ReplicaSet: "replicasets", StatefulSet: "statefulsets" };

/** How many pods a controller wants now; undefined for kinds whose number of replicas cannot be read. */
async function readReplicas(client: Kubernetes, { namespace, kind, name }: Displaced): Promise<number | undefined> {
  const collection = collections[kind];
  if (collection === undefined) return undefined;
  const path = namespacedPath("apps/v1", namespace, `${collection}/${name}`);
  const found = await client.find<{ spec?: { replicas?: number } }>(path);
  return found?.spec?.replicas ?? 0;
}
