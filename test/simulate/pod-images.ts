import type { Chance } from "./chance.ts";
import type { Cluster } from "./cluster.ts";
import type { Stored } from "./objects.ts";

/** What the pods of workloads need of the world around them. */
export type Missing = "registry" | "driver";

export interface SlowRegistry {
  /** How long a pull takes, at least and at most, in milliseconds. */
  ms: readonly [number, number];
  onPull?: () => void;
}

/** Which images nodes have, and how they come by others. */
export class PodImages {
  private readonly cluster: Cluster;
  private readonly chance: Chance;
  /** For what a pod waits on a node that has started none of its workload before; empty: for nothing. */
  private readonly missing = new Set<Missing>();
  /** By node and workload, or DaemonSet. */
  private readonly fetched = new Set<string>();
  /** Uids of pods whose images nodes pull. */
  private readonly pulling = new Set<string>();
  /** Undefined: a pull takes no time. */
  private slow: SlowRegistry | undefined;
  /** By node: when its kubelet, which pulls one image after the other, is done. */
  private readonly pulledAt = new Map<string, number>();

  constructor(cluster: Cluster, chance: Chance) {
    this.cluster = cluster;
    this.chance = chance;
  }

  /** @returns a function that brings it back */
  lose(what: Missing): () => void {
    this.missing.add(what);
    return () => this.missing.delete(what);
  }

  /** @param running pods whose nodes have their images @returns a function that makes the registry fast again */
  slowDown(slow: SlowRegistry, running: readonly Stored[]): () => void {
    for (const pod of running) this.fetched.add(imageOn(pod));
    this.slow = slow;
    return () => {
      this.slow = undefined;
      this.pulledAt.clear();
    };
  }

  forget(node: string, of: string): void {
    this.fetched.delete(`${node}/${of}`);
  }

  /**
   * Whether the node has what a pod needs, gets it now, or pulls it for a while; what DaemonSets need is in the image of
   * the node when no registry is slow.
   */
  find(pod: Stored): "there" | "missing" | SlowRegistry {
    const own = imageOn(pod);
    if (this.slow !== undefined && !this.fetched.has(own)) return this.slow;
    if (pod.metadata.labels?.app === undefined) return "there";
    if (this.missing.size === 0) this.fetched.add(own);
    return this.fetched.has(own) ? "there" : "missing";
  }

  /** Why a pod waits for what is missing, as its kubelet says it. */
  whyMissing(): object {
    return this.missing.has("registry")
      ? { reason: "ImagePullBackOff", message: "Back-off pulling image" }
      : { reason: "ContainerCreating" };
  }

  /**
   * The kubelet says that it pulls, and then waits for the pulls before.
   * @param then called when the image is there, unless it came at once meanwhile
   */
  pull(pod: Stored, { ms, onPull }: SlowRegistry, then: () => void): void {
    const { time, nodes } = this.cluster;
    const node = String(pod.spec?.nodeName);
    const at = Math.max(time.elapsed(), this.pulledAt.get(node) ?? 0) + this.chance.between(...ms);
    this.pulledAt.set(node, at);
    this.tell(pod, "Pulling");
    this.pulling.add(pod.metadata.uid);
    onPull?.();
    time.after(at - time.elapsed(), () => {
      this.pulling.delete(pod.metadata.uid);
      if (this.pulledAt.get(node) === undefined || !nodes.hasKubelet(node)) return;
      this.fetched.add(imageOn(pod));
      this.tell(pod, "Pulled");
      then();
    });
  }

  isPulled({ metadata: { uid } }: Stored): boolean {
    return this.pulling.has(uid);
  }

  private tell(pod: Stored, reason: string): void {
    const { objects, time, aheadMs } = this.cluster;
    const { name, namespace = "", uid } = pod.metadata;
    objects.put("events", {
      metadata: { name: `${name}.${reason}`, namespace },
      involvedObject: { kind: "Pod", namespace, name, uid, fieldPath: "spec.containers{main}" },
      type: "Normal",
      reason,
      message: `${reason} image "registry.example/${name}"`,
      lastTimestamp: new Date(time.date() + aheadMs).toISOString().replace(/\.\d+Z$/, "Z"),
    });
  }
}

/** The image of a pod, on its node. */
const imageOn = ({ spec, metadata: { labels } }: Stored): string =>
  `${String(spec?.nodeName)}/${labels?.app ?? labels?.daemon ?? ""}`;
