import type { Cluster } from "./cluster.ts";
import type { Stored } from "./objects.ts";
import { nodeOf } from "./pods.ts";
import type { Process } from "./process.ts";
import type { Story } from "./story.ts";

/** Time that a scheduler and a polling handover may take, in milliseconds. */
const patience = 60_000;

/**
 * Checks that the pods that a handover has evicted are scheduled again before the next handover of its pool begins.
 * Other pools continue: servers come first in every run, and are patched also while a label that some agent had is
 * missing.
 */
export class PlaceWatcher {
  /** By workload: the last process that evicted a pod of it, and from which pool. */
  private readonly evictors = new Map<string, { by: Process; pool: string }>();
  private readonly story: Story;
  private cluster: Cluster | undefined;

  constructor(story: Story) {
    this.story = story;
  }

  attach(cluster: Cluster): void {
    this.cluster = cluster;
  }

  evicted(pod: Stored, pool: string, by: Process): void {
    this.evictors.set(appOf(pod), { by, pool });
  }

  /**
   * A node is about to be drained. A step that removes an incomplete node, or gives up a slot, does not wait for pods
   * that handovers have evicted.
   */
  cordoned(name: string, pool: string, by: Process): void {
    if (!by.name.startsWith("handover-")) return;
    const waiting = this.cluster?.objects.list("pods").filter((pod) => this.waitsForOther(pod, pool, by)) ?? [];
    if (waiting.length === 0) return;
    const names = waiting.map(({ metadata }) => metadata.name).join(", ");
    this.story.wrong(`${by.name} cordons ${name}, and what others evicted has found no place: ${names}`);
  }

  private waitsForOther(pod: Stored, pool: string, by: Process): boolean {
    const { deletionTimestamp, creationTimestamp } = pod.metadata;
    const evictor = this.evictors.get(appOf(pod));
    if (evictor?.pool !== pool || evictor.by === by || !evictor.by.isDead()) return false;
    const age = (this.cluster?.time.date() ?? 0) - Date.parse(creationTimestamp);
    return nodeOf(pod) === "" && deletionTimestamp === undefined && age > patience;
  }
}

function appOf({ metadata }: Stored): string {
  return metadata.labels?.app ?? "";
}
