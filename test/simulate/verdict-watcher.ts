import type { Cluster } from "./cluster.ts";
import { labels } from "../../src/domain/model/formats.ts";
import { lineOf } from "../../src/domain/model/generation.ts";
import type { NodeSpec } from "../../src/domain/model/types.ts";
import type { Stored } from "./objects.ts";
import { isRefused } from "./pods.ts";
import type { Story } from "./story.ts";
import type { Watcher } from "./watcher.ts";

/** How long a handover waits for a pod to start, and some more, in milliseconds. */
const patience = 150_000;

interface Judged {
  id: string;
  state: string;
  why: string;
  spec: NodeSpec;
}

/**
 * Checks verdicts: a generation is judged by what its own nodes do, so a generation of a good image must not be judged
 * failed when no fault has touched its nodes.
 */
export class VerdictWatcher {
  private readonly seen = new Set<string>();
  /** By pool and generation: its state, as it was last written. */
  private readonly states = new Map<string, string>();
  private readonly story: Story;
  private readonly watcher: Watcher;
  private readonly isFaulty: (image: string) => boolean;

  constructor(story: Story, watcher: Watcher, isFaulty: (image: string) => boolean) {
    this.story = story;
    this.watcher = watcher;
    this.isFaulty = isFaulty;
  }

  attach(cluster: Cluster): void {
    const { objects, control } = cluster;
    objects.onChange(({ collection, object }) => {
      if (collection !== "configmaps" || !object.metadata.name.startsWith("pool-")) return;
      const facts = Object.entries((object.data ?? {}) as Record<string, string>);
      const judged = facts
        .filter(([key]) => key.startsWith("generation."))
        .map(([, fact]) => JSON.parse(fact) as Judged);
      for (const generation of judged) {
        this.judges(generation, control.etcd.stalledNodes);
        // One that an ended run has left may have had no node that a pod could start on.
        const isFirst = !judged.some(({ id, state }) => id !== generation.id && state === "proved");
        // A slot of servers that goes back gets another incarnation of the content, with an id of its own.
        const line = judged.flatMap(({ id, spec }) => (lineOf(spec) === generation.id ? [id] : []));
        const proved = { ...generation, ids: new Set([generation.id, ...line]) };
        this.proves(object.metadata.name.replace("pool-", ""), proved, isFirst, cluster);
      }
    });
  }

  /**
   * No generation is proved by a long soak that one of its nodes did not hold for, or while not one of them starts a pod,
   * and Kubernetes says why.
   */
  private proves(
    pool: string,
    { id, state, ids }: Judged & { ids: ReadonlySet<string> },
    isFirst: boolean,
    { objects, pods, time }: Cluster,
  ): void {
    // Servers and agents of the same content have the same id.
    const key = `${pool} ${id}`;
    const isNew = state === "proved" && this.states.get(key) !== "proved";
    this.states.set(key, state);
    if (!isNew) return;
    const isOne = ({ metadata: { labels: all = {} } }: Stored) =>
      all[labels.pool] === pool && ids.has(all[labels.generation] ?? "");
    const nodes = objects.list("nodes").filter(isOne);
    const { availability } = this.watcher;
    for (const node of nodes.filter((one) => availability.hasCutSoakShort(pool, one)))
      this.story.wrong(`${id} is proved, and ${node.metadata.name} was not Ready in its soak`);
    // Of pods that no node before could start nobody knows whether they can start at all.
    if (isFirst) return;
    // A pod may have waited for a place long before there was this node.
    const isLate = ({ metadata }: Stored) => time.date() - Date.parse(metadata.creationTimestamp) > patience;
    const given = nodes.flatMap((node) => pods.servingOn(node.metadata.name).map((pod) => ({ pod, node })));
    if (nodes.length === 0) this.story.wrong(`${id} is proved, and there is no node of it`);
    if (given.length > 0 && given.every(({ pod, node }) => isRefused(pod) && isLate(pod) && isLate(node)))
      this.story.wrong(`${id} is proved, and none of its nodes can start a pod`);
  }

  private judges({ id, state, why, spec }: Judged, stalled: ReadonlySet<string>): void {
    if (state !== "failed" || this.seen.has(id)) return;
    this.seen.add(id);
    const isExcused = [...this.watcher.touched, ...stalled].some((name) => name.endsWith(`-${id}`));
    if (!isExcused && !this.isFaulty(spec.image)) this.story.wrong(`a good generation is judged failed: ${id}, ${why}`);
  }
}
