/** A run that is killed at one point, a plain run after it, and the checks that follow. */
import type { ChildProcess } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { Deadline } from "../../src/runtime/deadline.ts";
import type { Seen } from "../../lab/boundaries.ts";
import { killTree } from "../e2e/processes.ts";
import { Site, type Ran } from "../e2e/site.ts";
import { Bakes } from "./bakes.ts";
import { clusterPicture, differences, memoryPicture } from "./picture.ts";
import type { Point } from "./points.ts";

/** The cluster under test. */
export interface Shape {
  servers: number;
  agents: number;
  /** Whether the servers are replaced too. */
  rollServers: boolean;
  /** Whether each roll is to an image that the same update bakes and proves; points are those of the bake and the proof. */
  bakes: boolean;
}

/**
 * When the next run starts: while the leases of the dead steps are still held, so that it must wait for them, or after
 * they have expired, so that it finds expired leases.
 */
export type Next = "at once" | "later";

export interface Outcome {
  point: Point;
  next: Next;
  /** The request that was held; undefined when the run ended before it. */
  request: string | undefined;
  /** Duration in seconds of the killed run and of the run after it. */
  seconds: [number, number];
  /** What is not as it must be, one line each; empty when the next run repaired everything. */
  violations: string[];
  /** Output of both runs. */
  said: [string, string];
}

/** Maximum duration of a run, in seconds. */
const patience = 280;

const up = ["up", "--yes", "--skip-preview", "--stack", "dev"];

/** A lab with a cluster that is rolled repeatedly. */
export class Stage {
  readonly site: Site;
  private readonly shape: Shape;
  private readonly pools: readonly string[];
  private rollouts = 0;
  /** State after an undisturbed roll. */
  private wanted: { cluster: string[]; memory: string[] } = { cluster: [], memory: [] };
  private counted: Seen = { changes: 0, reads: 0 };
  private bakes: Bakes | undefined;

  private constructor(site: Site, shape: Shape) {
    this.site = site;
    this.shape = shape;
    this.pools = shape.rollServers ? ["servers", "workers"] : ["workers"];
  }

  /** Creates the cluster and rolls it once undisturbed. @param prefix address prefix of the lab */
  static async create(prefix: string, shape: Shape): Promise<Stage> {
    const site = await Site.create(prefix, { audit: true });
    try {
      const stage = new Stage(site, shape);
      await stage.settle();
      await stage.measure();
      return stage;
    } catch (error) {
      await site.close();
      throw error;
    }
  }

  /** Number of requests of a roll from its start to its end; of bakes, those with their token. */
  get requests(): Seen {
    return this.counted;
  }

  async close(): Promise<void> {
    await this.bakes?.close();
    await this.site.close();
  }

  private async settle(): Promise<void> {
    const { servers, agents } = this.shape;
    await this.site.configure({
      "controlPlane.servers": servers,
      "pools.0.slots": agents,
      "pools.0.strategy.surge": 1,
      // Every roll takes new VMIDs.
      "controlPlane.vmIds": { first: 1000, last: 1089 },
    });
    await this.site.up();
    if (this.shape.bakes) this.bakes = await Bakes.start(this.site);
    await this.site.load({ replicas: 2 * agents });
    const limits = { surge: 1, maxUnavailable: 1 };
    await this.site.lab.call("POST /watcher/limits", {
      workers: { slots: agents, ...limits },
      servers: { slots: servers, ...limits, ahead: 1 },
    });
  }

  private async measure(): Promise<void> {
    await this.change();
    const before = await this.seen();
    const ran = await this.run();
    if (ran.code !== 0) throw new Error(`the roll that nobody disturbs ended with ${ran.code}:\n${ran.output}`);
    const after = await this.seen();
    this.counted = { changes: after.changes - before.changes, reads: after.reads - before.reads };
    const complaints = [...(await this.site.complaints()), ...((await this.bakes?.ended()) ?? [])];
    if (complaints.length > 0) throw new Error(`the roll that nobody disturbs: ${complaints.join("\n")}`);
    await this.site.calm();
    this.wanted = { cluster: await clusterPicture(this.site), memory: await memoryPicture(this.site, this.pools) };
  }

  private async seen(): Promise<Seen> {
    const { boundaries, bakeBoundaries } = await this.site.lab.status;
    return this.bakes ? bakeBoundaries : boundaries;
  }

  /** Configures another generation for every pool that is rolled. */
  private async change(): Promise<void> {
    this.rollouts += 1;
    await this.site.configure({
      ...((await this.bakes?.next()) ?? { "pools.0.rollout": this.rollouts }),
      ...(this.shape.rollServers ? { "controlPlane.memoryMiB": 4096 + this.rollouts } : {}),
    });
  }

  /**
   * Kills a roll at a point, then runs it once more.
   * @param idle whether `evergreen repair` and one more run must find nothing to do afterwards
   */
  async trial(point: Point, next: Next, idle: boolean): Promise<Outcome> {
    const { lab } = this.site;
    await this.change();
    await lab.call("POST /probe/reset", undefined);
    await lab.call("POST /watcher/reset", undefined);
    const before = await this.names();
    const { first, request, seen } = await this.killed(point);
    if (next === "later") await this.site.expireLeases();
    const second = await this.run();
    const violations = seen.map((line) => `when it was killed: ${line}`);
    if (second.code !== 0) violations.push(`the run after it ended with ${second.code}`);
    violations.push(...(await this.ended(before)), ...(idle ? await this.idle() : []));
    const seconds: [number, number] = [first.seconds, second.seconds];
    return { point, next, request, seconds, violations, said: [first.output, second.output] };
  }

  private async killed(
    point: Point,
  ): Promise<{ first: Ran & { seconds: number }; request: string | undefined; seen: string[] }> {
    const { lab } = this.site;
    const last = (await lab.events()).at(-1)?.number ?? 0;
    await lab.call("POST /faults", { kind: "hold", ...point, ofBakes: this.shape.bakes });
    const began = performance.now();
    const { child, ended } = this.site.startLauncher(up, this.bakes?.environment);
    const request = await this.held(last, child);
    if (request !== undefined) await killTree(child.pid ?? 0);
    const ran = await ended;
    // The request still has no answer, nor an effect if it is held before it.
    const seen = (await this.bakes?.look()) ?? [];
    await lab.call("DELETE /faults", undefined);
    return { first: { ...ran, seconds: (performance.now() - began) / 1000 }, request, seen };
  }

  /** Waits for the request to be held. @returns undefined when the run ended without that request */
  private async held(last: number, child: ChildProcess): Promise<string | undefined> {
    const deadline = new Deadline("the request that is held", patience);
    return await deadline
      .poll(25, async () => {
        const over = child.exitCode !== null || child.signalCode !== null;
        const told = (await this.site.lab.events(last)).find(({ text }) => text.startsWith("held "));
        return told?.text ?? (over ? "" : undefined);
      })
      .then((text) => text.split(": ").slice(1).join(": ") || undefined);
  }

  /** A plain `pulumi up`. */
  private async run(): Promise<Ran & { seconds: number }> {
    const began = performance.now();
    const { child, ended } = this.site.startLauncher(up, this.bakes?.environment);
    const over = new AbortController();
    const late = delay(patience * 1000, undefined, { signal: over.signal }).then(
      () => killTree(child.pid ?? 0),
      () => undefined,
    );
    const ran = await ended;
    over.abort();
    await late;
    return { ...ran, seconds: (performance.now() - began) / 1000 };
  }

  private async names(): Promise<string[]> {
    return (await Promise.all(this.pools.map((pool) => this.site.vms(pool)))).flat();
  }

  /** Differences from the state after an undisturbed roll. */
  private async ended(before: readonly string[]): Promise<string[]> {
    const { site, wanted, pools } = this;
    const stayed = (await this.names()).filter((name) => before.includes(name));
    const cluster = await this.settled();
    const memory = differences(wanted.memory, await memoryPicture(site, pools));
    const baked = (await this.bakes?.ended()) ?? [];
    const complaints = await site.complaints();
    return [...stayed.map((name) => `${name} was not replaced`), ...cluster, ...memory, ...complaints, ...baked];
  }

  /** Work that a repair or a further run still found. */
  private async idle(): Promise<string[]> {
    // An expired lease is free: the next process that needs it takes it, and a repair deletes it.
    await this.site.expireLeases();
    const repair = await this.site.evergreen("repair", "--stack", "dev");
    const mended = repair.output.split("\n").filter((line) => !/^$|^ {2}-> |repair(ed)?$|^the lease /.test(line));
    const unchanged = await this.site.pulumi([...up, "--expect-no-changes"], this.bakes?.environment);
    return [
      ...(repair.code === 0 && mended.length === 0 ? [] : [`evergreen repair: ${repair.output.trim()}`]),
      ...(unchanged.code === 0 ? [] : [`the next run found something to do: ${unchanged.output.trim()}`]),
    ];
  }

  /** Differences that persist: pods move, and status can be seconds old. */
  private async settled(): Promise<string[]> {
    let left: string[] = [];
    const deadline = new Deadline("the cluster to be what it was", 20);
    await deadline
      .poll(250, async () => {
        left = differences(this.wanted.cluster, await clusterPicture(this.site));
        return left.length === 0 ? true : undefined;
      })
      .catch(() => undefined);
    return left;
  }
}
