import type { Cluster } from "./cluster.ts";
import type { Story } from "./story.ts";

interface Judged {
  id: string;
  state: string;
  why: string;
  spec: { image: string };
}

/**
 * Checks verdicts: a generation is judged by what its own nodes do, so a generation of a good image must not be judged
 * failed when no fault has touched its nodes.
 */
export class VerdictWatcher {
  private readonly seen = new Set<string>();
  private readonly story: Story;
  private readonly touched: ReadonlySet<string>;
  private readonly isFaulty: (image: string) => boolean;

  /** @param touched nodes that a fault has ever touched */
  constructor(story: Story, touched: ReadonlySet<string>, isFaulty: (image: string) => boolean) {
    this.story = story;
    this.touched = touched;
    this.isFaulty = isFaulty;
  }

  attach({ objects, control }: Cluster): void {
    objects.onChange(({ collection, object }) => {
      if (collection !== "configmaps" || !object.metadata.name.startsWith("pool-")) return;
      for (const [key, fact] of Object.entries((object.data ?? {}) as Record<string, string>))
        if (key.startsWith("generation.")) this.judges(JSON.parse(fact) as Judged, control.etcd.stalledNodes);
    });
  }

  private judges({ id, state, why, spec }: Judged, stalled: ReadonlySet<string>): void {
    if (state !== "failed" || this.seen.has(id)) return;
    this.seen.add(id);
    const isExcused = [...this.touched, ...stalled].some((name) => name.endsWith(`-${id}`));
    if (!isExcused && !this.isFaulty(spec.image)) this.story.wrong(`a good generation is judged failed: ${id}, ${why}`);
  }
}
