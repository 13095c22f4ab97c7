import { labels } from "../../src/domain/model/formats.ts";
import type { Cluster } from "./cluster.ts";
import type { Stored } from "./objects.ts";
import { hasItsDataBehind } from "./local-volumes.ts";
import { isRefused, nodeOf } from "./pods.ts";
import { isReady } from "./nodes.ts";
import type { Process } from "./process.ts";
import type { Story } from "./story.ts";
import { placeOf, type Place } from "./truth.ts";

/** Time that a scheduler and a polling handover may take, in milliseconds. */
const patience = 60_000;
/** Time in which a kubelet finds out that it cannot fetch an image, and some more, in milliseconds. */
const waitsForStart = 10_000;

/**
 * Checks that the pods that a handover has evicted are scheduled again before the next handover of its pool begins.
 * Other pools continue: servers come first in every run, and are patched also while a label that some agent had is
 * missing.
 */
export class PlaceWatcher {
  /** By workload: the last process that evicted a pod of it, and from which slot. */
  private readonly evictors = new Map<string, { by: Process; from: Place }>();
  /** When a node got its slot. */
  private readonly handedOver = new Map<string, number>();
  /** Workloads whose volumes are in a zone without nodes, as a plan has said. */
  readonly behind = new Set<string>();
  private readonly story: Story;
  private cluster: Cluster | undefined;

  constructor(story: Story) {
    this.story = story;
  }

  attach(cluster: Cluster): void {
    this.cluster = cluster;
    cluster.objects.onChange(({ collection, object }) => {
      if (collection === "configmaps" && object.metadata.name.startsWith("slot-")) this.noteHandovers(object);
    });
  }

  private noteHandovers({ data }: Stored): void {
    for (const fact of Object.values((data ?? {}) as Record<string, string>)) {
      if (!fact.startsWith("{")) continue;
      const { name, phase } = JSON.parse(fact) as { name?: string; phase?: string };
      if (name !== undefined && phase === "handedOver" && !this.handedOver.has(name))
        this.handedOver.set(name, this.cluster?.time.date() ?? 0);
    }
  }

  evicted(pod: Stored, from: Place, by: Process): void {
    this.evictors.set(appOf(pod), { by, from });
  }

  /**
   * A node is about to be drained. A step that removes an incomplete node, or gives up a slot, does not wait for pods
   * that handovers have evicted.
   */
  cordoned(name: string, pool: string, by: Process, maxUnavailable = 1): void {
    if (!by.name.startsWith("handover-")) return;
    this.opens(name, pool, by, maxUnavailable);
    const idle = this.refusing(pool, name);
    if (idle.length > 0) this.story.wrong(`${by.name} cordons ${name} while no pod can start on ${idle.join(", ")}`);
    const waiting = this.cluster?.objects.list("pods").filter((pod) => this.waitsForOther(pod, pool, by)) ?? [];
    if (waiting.length === 0) return;
    const names = waiting.map(({ metadata }) => metadata.name).join(", ");
    this.story.wrong(`${by.name} cordons ${name}, and what others evicted has found no place: ${names}`);
  }

  /**
   * Nodes of other slots that can start none of the pods that they were given, with their slot for themselves. Pods that
   * another pool has evicted, or a handover that still waits for them, are their concern.
   */
  private refusing(pool: string, departing: string): string[] {
    const { objects, pods } = this.cluster ?? {};
    if (objects === undefined || pods === undefined) return [];
    const nodes = objects.list("nodes").filter((node) => placeOf(node).pool === pool);
    const slotOf = (node: Stored) => String(placeOf(node).slot);
    const own = nodes.find(({ metadata }) => metadata.name === departing);
    const alone = nodes.filter(
      (node) =>
        nodes.filter((one) => slotOf(one) === slotOf(node)).length === 1 &&
        own?.metadata.labels?.[labels.generation] !== node.metadata.labels?.[labels.generation],
    );
    const wasThere = ({ metadata }: Stored, name: string) =>
      Date.parse(metadata.creationTimestamp) + waitsForStart < (this.handedOver.get(name) ?? -Infinity);
    const isOurs = (pod: Stored) => {
      const evictor = this.evictors.get(appOf(pod));
      return evictor?.from.pool === pool && evictor.by.isDead();
    };
    return alone.flatMap(({ metadata: { name } }) => {
      const given = pods.servingOn(name);
      return given.length > 0 && given.every((pod) => isRefused(pod) && isOurs(pod) && wasThere(pod, name))
        ? [name]
        : [];
    });
  }

  /** No more handovers are begun than nodes may be out at once: one that has failed is open until what it evicted runs. */
  private opens(name: string, pool: string, by: Process, maxUnavailable: number): void {
    const { objects } = this.cluster ?? {};
    const nodes = objects?.list("nodes") ?? [];
    const own = nodes.find(({ metadata }) => metadata.name === name);
    const open = (objects?.list("configmaps") ?? [])
      .filter(({ metadata }) => metadata.name.startsWith(`slot-${pool}-`))
      .flatMap(({ data }) => Object.values((data ?? {}) as Record<string, string>))
      .filter((fact) => fact.startsWith("{"))
      .map((fact) => JSON.parse(fact) as { slot: number; displaced?: unknown[] })
      .filter(({ displaced = [] }) => displaced.length > 0);
    const slots = new Set(open.map(({ slot }) => String(slot)));
    const serves = (slot: string) =>
      nodes.some((node) => placeOf(node).pool === pool && String(placeOf(node).slot) === slot && isReady(node));
    if (own === undefined || slots.has(String(placeOf(own).slot))) return;
    const others = [...slots].filter(serves);
    if (others.length >= Math.max(1, maxUnavailable))
      this.story.wrong(`${by.name} cordons ${name} while the handovers of slots ${others.join(", ")} are not over`);
  }

  private waitsForOther(pod: Stored, pool: string, by: Process): boolean {
    const { deletionTimestamp, creationTimestamp } = pod.metadata;
    const evictor = this.evictors.get(appOf(pod));
    if (evictor?.from.pool !== pool || evictor.by === by || !evictor.by.isDead()) return false;
    if (!this.exists(evictor.from)) return false;
    if (this.behind.has(appOf(pod)) || (this.cluster && hasItsDataBehind(this.cluster, pod))) return false;
    const age = (this.cluster?.time.date() ?? 0) - Date.parse(creationTimestamp);
    return nodeOf(pod) === "" && deletionTimestamp === undefined && age > patience;
  }

  /** Whether a slot has a node still. Whoever made the pool smaller wanted less room, and nobody waits for more. */
  private exists({ pool, slot }: Place): boolean {
    const nodes = this.cluster?.objects.list("nodes").map(placeOf) ?? [];
    return nodes.some((place) => place.pool === pool && place.slot === slot);
  }
}

function appOf({ metadata }: Stored): string {
  return metadata.labels?.app ?? "";
}
