import { labels } from "../../src/domain/model/formats.ts";
import type { Displaced } from "../../src/domain/model/types.ts";
import type { Cluster } from "./cluster.ts";
import type { Stored } from "./objects.ts";
import { hasItsDataBehind } from "./local-volumes.ts";
import { isPodReady, isRefused, nodeOf } from "./pods.ts";
import { isReady } from "./nodes.ts";
import type { Process } from "./process.ts";
import type { Story } from "./story.ts";
import { placeOf, type Place } from "./truth.ts";

/** Time that a scheduler and a polling handover may take, in milliseconds. */
const patience = 60_000;
/** The same to start, for whoever has just seen all that was evicted run: steps that hand no slot over, runs that are done. */
const briefly = 3_000;
/** Time in which a kubelet finds out that it cannot fetch an image, and some more, in milliseconds. */
const waitsForStart = 10_000;

/** What is known of a workload of which pods were evicted, until all that it wants are Ready once. */
interface Evicted {
  /** The last process that evicted a pod of it. */
  by: Process;
  from: Place;
  /** All slots that pods of it were evicted from, with their pools. */
  slots: ReadonlySet<string>;
  /** When it did so last, in milliseconds. */
  at: number;
  /** Most of its pods that had started before one was evicted. */
  started: number;
}

/** How long what was evicted may lack something, in milliseconds. */
interface Patience {
  /** To be made again, and to have a place. */
  toCome: number;
  /** To start there. @default for ever */
  toStart?: number;
}

/**
 * Checks that what was evicted runs elsewhere before the next node of its pool is emptied, by whatever step, and when a
 * run says that it is done: as many pods of each workload as had started before. Between handovers a place is enough: each
 * waits for its own pods to start.
 * Other pools continue: servers come first in every run, and are patched also while a label that some agent had is
 * missing.
 */
export class PlaceWatcher {
  /** By workload. */
  private readonly evictors = new Map<string, Evicted>();
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
      if (collection === "pods" && this.hasSettled(appOf(object))) this.evictors.delete(appOf(object));
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
    const app = appOf(pod);
    const before = this.evictors.get(app);
    const started = Math.max(before?.started ?? 0, this.startedOf(app).length);
    const slots = new Set([...(before?.slots ?? []), slotKey(from)]);
    this.evictors.set(app, { by, from, slots, at: this.now(), started });
  }

  /**
   * A node is about to be emptied. One that an unfinished run has left, and on which nothing has started, takes nothing
   * away.
   */
  cordoned(name: string, pool: string, by: Process, maxUnavailable = 1): void {
    const isHandover = by.name.startsWith("handover-");
    if (isHandover) {
      this.opens(name, pool, by, maxUnavailable);
      const idle = this.refusing(pool, name);
      if (idle.length > 0) this.story.wrong(`${by.name} cordons ${name} while no pod can start on ${idle.join(", ")}`);
    } else if (!(this.cluster?.pods.servingOn(name) ?? []).some(isPodReady)) return;
    const waiting = [...this.evictors].flatMap(([app, one]) =>
      one.from.pool === pool && one.by !== by && one.by.isDead()
        ? this.waitingOf(app, one, isHandover ? { toCome: patience } : { toCome: briefly, toStart: briefly })
        : [],
    );
    if (waiting.length > 0)
      this.story.wrong(`${by.name} cordons ${name}, and what others evicted has found no place: ${waiting.join(", ")}`);
  }

  /** A run says that it is done. */
  runDone(): void {
    const waiting = [...this.evictors].flatMap(([app, one]) =>
      this.waitingOf(app, one, { toCome: patience, toStart: briefly }),
    );
    if (waiting.length > 0) this.story.wrong(`a run is done, and what it evicted does not run: ${waiting.join(", ")}`);
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

  /**
   * No more handovers are begun than nodes may be out at once: one that has failed is open until what it evicted runs. What
   * it would have evicted, and was refused, runs on.
   */
  private opens(name: string, pool: string, by: Process, maxUnavailable: number): void {
    const { objects } = this.cluster ?? {};
    const nodes = objects?.list("nodes") ?? [];
    const own = nodes.find(({ metadata }) => metadata.name === name);
    const open = (objects?.list("configmaps") ?? [])
      .filter(({ metadata }) => metadata.name.startsWith(`slot-${pool}-`))
      .flatMap(({ data }) => Object.values((data ?? {}) as Record<string, string>))
      .filter((fact) => fact.startsWith("{"))
      .map((fact) => JSON.parse(fact) as { slot: number; phase: string; displaced?: Displaced[] })
      // A node that has its slot says what its own retirement has begun to evict.
      .filter(({ phase, displaced = [] }) => phase !== "handedOver" && displaced.some((one) => !this.runs(one)));
    const slots = new Set(open.map(({ slot }) => String(slot)));
    const serves = (slot: string) =>
      nodes.some((node) => placeOf(node).pool === pool && String(placeOf(node).slot) === slot && isReady(node));
    if (own === undefined || slots.has(String(placeOf(own).slot))) return;
    const hasEvicted = (slot: string) => [...this.evictors.values()].some((one) => one.slots.has(`${pool}/${slot}`));
    const others = [...slots].filter((slot) => serves(slot) && hasEvicted(slot));
    if (others.length >= Math.max(1, maxUnavailable))
      this.story.wrong(`${by.name} cordons ${name} while the handovers of slots ${others.join(", ")} are not over`);
  }

  /** Whether pods of a controller that were evicted run again: the record may say so only later. */
  private runs({ name, pods, unplaced }: Displaced): boolean {
    return this.startedOf(name).length >= Math.min(pods - unplaced, this.wantedOf(name));
  }

  /** What a workload lacks, in words. */
  private waitingOf(app: string, { at, started }: Evicted, { toCome, toStart = Infinity }: Patience): string[] {
    const least = Math.min(started, this.wantedOf(app));
    const age = (time: number) => this.now() - time;
    if (this.startedOf(app).length >= least) return [];
    const own = this.podsOf(app);
    const waits = (pod: Stored) =>
      age(Date.parse(pod.metadata.creationTimestamp)) >
        (nodeOf(pod) === "" ? toCome : isRefused(pod) ? toStart : Infinity) &&
      this.cluster?.pods.isPulled(pod) !== true &&
      !this.behind.has(app) &&
      !(this.cluster && hasItsDataBehind(this.cluster, pod));
    const missing = own.length < least && age(at) > toCome ? [`${own.length} of ${least} pods of ${app}`] : [];
    return [...own.filter(waits).map(({ metadata }) => metadata.name), ...missing];
  }

  /** Whether all pods that a workload wants are Ready: what becomes of them later is no matter of who evicted them. */
  private hasSettled(app: string): boolean {
    if (!this.evictors.has(app)) return false;
    const own = this.podsOf(app);
    return own.every(isPodReady) && own.length >= this.wantedOf(app);
  }

  private podsOf(app: string): Stored[] {
    const all = this.cluster?.objects.list("pods") ?? [];
    return all.filter((pod) => appOf(pod) === app && pod.metadata.deletionTimestamp === undefined);
  }

  private startedOf(app: string): Stored[] {
    return this.podsOf(app).filter((pod) => nodeOf(pod) !== "" && !isRefused(pod));
  }

  private wantedOf(app: string): number {
    return Number(this.cluster?.objects.get("replicasets", `load/${app}`)?.spec?.replicas ?? 0);
  }

  private now(): number {
    return this.cluster?.time.date() ?? 0;
  }
}

function slotKey({ pool, slot }: Place): string {
  return `${pool}/${slot}`;
}

function appOf({ metadata }: Stored): string {
  return metadata.labels?.app ?? "";
}
