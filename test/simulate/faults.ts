import { Chance } from "./chance.ts";
import type { Coverage } from "./coverage.ts";
import { faultKinds, type FaultKind } from "./fault-kinds.ts";
import { requestOf, type Asked } from "./requests.ts";
import type { Answer } from "./wire.ts";

/** The fault of one request. */
export interface Fault {
  /** Extra latency before it arrives, in milliseconds. */
  ms?: number;
  /** Answer given in place of the server, without effect. */
  refusal?: Answer;
  /** No answer comes; with `after` the effect happens all the same. */
  lost?: { after: boolean; how: "hang up" | "silence" };
  /** A stream breaks after this time, in milliseconds. */
  breaksAfter?: number;
}

/** Fault rates: shares of requests, unless stated otherwise. */
export interface Weather {
  /** Of the requests to Proxmox. */
  pve: number;
  /** Of the requests to Kubernetes. */
  kube: number;
  /** Of the watches: they break, or their resource version is too old. */
  watch: number;
  /** Requests that take seconds. */
  slow: number;
  /** Of the kinds of requests: a single request of such a kind fails. */
  aim: number;
  /** Proxmox tasks that end with warnings or with an error. */
  task: number;
  /** Learners of etcd that make no progress for a while. */
  learner: number;
}

export const calm: Weather = { pve: 0, kube: 0, watch: 0, slow: 0, aim: 0, task: 0, learner: 0 };

/** A fault of one kind for one request of a kind, independent of the fault rates: it fills a cell of the coverage. */
export interface Strike {
  request: string;
  fault: string;
}

interface Aim {
  nth: number;
  kind: FaultKind;
}

/** Draws faults from their own random streams and counts what they struck. */
export class Faults {
  /** The fault requested by name. */
  strike: Strike | undefined;
  private now: Weather = calm;
  private acts = 0;
  private readonly seed: number;
  private readonly chance: Chance;
  private readonly coverage: Coverage;
  /** Requests of this act by kind, and the single requests that are to fail. */
  private readonly made = new Map<string, number>();
  private readonly aims = new Map<string, Aim | undefined>();

  constructor(seed: number, coverage: Coverage) {
    this.seed = seed;
    this.chance = new Chance(seed, "faults");
    this.coverage = coverage;
  }

  get weather(): Weather {
    return this.now;
  }

  set weather(weather: Weather) {
    this.now = weather;
    this.acts += 1;
    this.made.clear();
    this.aims.clear();
  }

  of(call: Asked): Fault | undefined {
    // Nothing is drawn either: a fault requested by name then strikes the same story that the seed plays without it.
    if (this.now === calm) return undefined;
    const request = requestOf(call);
    const nth = (this.made.get(request) ?? 0) + 1;
    this.made.set(request, nth);
    const kinds = faultKinds.filter((kind) => kind.strikes(call));
    this.coverage.made(request, kinds);
    const struck = [this.asked(request, kinds), this.aimed(request, nth, kinds), ...this.drawn(call, kinds)];
    const found = struck.flatMap((kind) => kind ?? []);
    if (found.length === 0) return undefined;
    const [first] = found;
    const slow = found.find(({ name }) => name === "slow");
    for (const kind of new Set([first, slow])) if (kind) this.coverage.struck(request, kind.name);
    return { ...slow?.fault(this.chance), ...first?.fault(this.chance) };
  }

  /** How a Proxmox task ends that would have succeeded. */
  taskEnd(): "OK" | "WARNINGS: 1" | "can't lock file '/var/lock/qemu-server/lock-1.conf' - got timeout" {
    if (!this.chance.happens(this.now.task)) return "OK";
    const end = this.chance.pick([
      "WARNINGS: 1",
      "can't lock file '/var/lock/qemu-server/lock-1.conf' - got timeout",
    ] as const);
    this.coverage.event(end === "WARNINGS: 1" ? "a task that warns" : "a task without its lock");
    return end;
  }

  /**
   * How long a learner of etcd makes no progress, in milliseconds: less than RKE2 waits before it removes the learner.
   */
  stall(): number {
    if (!this.chance.happens(this.now.learner)) return 0;
    this.coverage.event("a learner that learns nothing");
    return this.chance.between(20_000, 250_000);
  }

  /**
   * A node that failed less than this ago may not have been noticed, in milliseconds: a step waits half a minute for a
   * lost answer.
   */
  reaction(): number {
    const { pve, kube, slow, aim } = this.now;
    return pve + kube + slow + aim === 0 && this.strike === undefined ? 2000 : 40_000;
  }

  private asked(request: string, kinds: readonly FaultKind[]): FaultKind | undefined {
    if (this.strike?.request !== request) return undefined;
    const kind = kinds.find(({ name }) => name === this.strike?.fault);
    if (kind) this.strike = undefined;
    return kind;
  }

  /**
   * Each kind of request draws for itself when it first occurs, so that rare kinds are struck as often as frequent
   * kinds.
   */
  private aimed(request: string, nth: number, kinds: readonly FaultKind[]): FaultKind | undefined {
    if (this.now.aim === 0 || kinds.length === 0) return undefined;
    if (!this.aims.has(request)) this.aims.set(request, this.drawAim(request, kinds));
    const aim = this.aims.get(request);
    return aim?.nth === nth ? aim.kind : undefined;
  }

  private drawAim(request: string, kinds: readonly FaultKind[]): Aim | undefined {
    const chance = new Chance(this.seed, `aim ${this.acts} ${request}`);
    if (!chance.happens(this.now.aim)) return undefined;
    return { nth: chance.pick([1, 1, 2, 3, chance.between(1, 12)]), kind: chance.pick(kinds) };
  }

  private drawn(call: Asked, kinds: readonly FaultKind[]): (FaultKind | undefined)[] {
    const { chance, now } = this;
    const isWatch = call.query.get("watch") === "true";
    const share = isWatch ? now.watch : ["pve", "provider"].includes(call.api) ? now.pve : now.kube;
    const slow = chance.happens(now.slow) ? kinds.find(({ name }) => name === "slow") : undefined;
    if (!chance.happens(share)) return [slow];
    const others = kinds.filter(({ name }) => name !== "slow");
    return [others.length > 0 ? chance.pick(others) : undefined, slow];
  }
}
