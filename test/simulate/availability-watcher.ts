import { SERVER_POOL } from "../../src/config/config.ts";
import { cordonedBy, labels } from "../../src/domain/model/formats.ts";
import { nodeTags } from "../../src/clients/proxmox/tags.ts";
import type { PoolSpec } from "../../src/domain/model/types.ts";
import { INLINE_SOAK_SECONDS } from "../../src/domain/rollout/decision.ts";
import type { Vm } from "./data-centre.ts";
import { isReady, isSchedulable, readySince } from "./nodes.ts";
import type { Stored } from "./objects.ts";
import type { Process } from "./process.ts";
import type { Story } from "./story.ts";
import { placeOf, type Place, type Truth } from "./truth.ts";

/** How far clocks of servers are apart at most, and some more, in milliseconds. */
const clocksApart = 60_000;

/** What a pool guarantees while it is changed. */
export interface Promises {
  /** Fewest slots of all configurations since the pool was first complete; 0 before that. */
  fewest: number;
  /** Most slots of all those configurations. */
  most: number;
  surge: number;
  maxUnavailable: number;
  /** Disruption leases that there are: a step of a run that was killed before an edit may hold one of more. */
  leases?: number;
  /** How long its nodes have to hold, in seconds. */
  soakSeconds?: number;
  /** The pool was added to others, and was not complete yet. */
  incomplete?: true;
}

/**
 * Watches how many nodes serve and how many VMs run during a change: the guarantees of `maxUnavailable` and `surge`.
 */
export class AvailabilityWatcher {
  /** Guarantees by pool. */
  readonly promises = new Map<string, Promises>();
  /** Nodes that something other than our steps took out and that are not back yet, with the time of the loss. */
  readonly lost = new Map<string, number>();
  /** Whether the pools were ever complete. */
  private established = true;
  private losses = 0;
  private runBegan = 0;
  private runPlannedAt = 0;
  /** By pool: running VMs in excess of the slots when the run began. */
  private readonly leftOver = new Map<string, number>();
  /** VMs whose Node was not Ready when the plan was made: they serve no workload, and their slots come first. */
  private readonly dead = new Set<string>();
  /** By agent pool: slots without a serving node when the plan was made, for so long that the plan had to see it. */
  private readonly down = new Map<string, number[]>();
  private readonly story: Story;
  private readonly truth: Truth;
  private readonly elapsed: () => number;
  private readonly reaction: () => number;

  constructor(story: Story, truth: Truth, elapsed: () => number, reaction: () => number) {
    this.story = story;
    this.truth = truth;
    this.elapsed = elapsed;
    this.reaction = reaction;
  }

  /**
   * Sets the guarantees from now on.
   * @param established whether the pools were ever complete: before that, no availability is guaranteed
   */
  promise(specs: readonly PoolSpec[], established: boolean): void {
    const isFirst = this.promises.size === 0;
    for (const { name, slots, strategy } of specs) {
      const before = this.promises.get(name);
      const isNew = before === undefined ? !isFirst : before.incomplete === true;
      const incomplete = isNew && this.unserved(name, slotsBelow(slots)).length > 0;
      const fewest = this.established && !isNew ? before?.fewest : undefined;
      this.promises.set(name, {
        ...(incomplete ? { incomplete } : {}),
        fewest: established && !incomplete ? Math.min(slots, fewest ?? slots) : 0,
        most: Math.max(slots, before?.most ?? slots),
        surge: strategy.kind === "blueGreen" ? Math.max(slots, before?.surge ?? 0) : strategy.surge,
        maxUnavailable: strategy.maxUnavailable,
        soakSeconds: strategy.soakSeconds,
        leases: Math.max(strategy.maxUnavailable, before?.maxUnavailable ?? 0),
      });
    }
    const wanted = new Set(specs.map(({ name }) => name));
    for (const [name, promise] of this.promises) if (!wanted.has(name)) promise.fewest = 0;
    this.established = established;
  }

  /** A fault takes a node out. */
  struck(name: string): void {
    this.lost.set(name, this.elapsed());
    this.losses += 1;
  }

  /**
   * A run begins beside the leftovers of a failed run. Most of them are removed first. A leftover that may be the only
   * node available to pods is removed when its slot is handed over (src/steps/node/incomplete-nodes.ts).
   */
  runBegins(): void {
    this.runBegan = this.elapsed();
    this.leftOver.clear();
    this.runPlanned();
  }

  /**
   * Whether a node of a pool that soaks over several runs was not Ready less than its soak before this run was planned,
   * and the plan had to see it.
   */
  hasCutSoakShort(pool: string, { metadata, ...node }: Stored): boolean {
    const { soakSeconds = 0, fewest } = this.promises.get(pool) ?? { fewest: 0 };
    const since = readySince({ metadata, ...node }, this.truth.aheadMs);
    const isPlanned = Number(metadata.labels?.[labels.slot]) < fewest;
    const isRecent = since > this.runPlannedAt - soakSeconds * 1000 + clocksApart;
    return isPlanned && soakSeconds > INLINE_SOAK_SECONDS && isRecent && since < this.runBegan;
  }

  /**
   * The observed state behind the plan may be minutes newer than the start of the run, which waits for leases and for a
   * server.
   */
  runPlanned(): void {
    this.runPlannedAt = this.elapsed();
    this.dead.clear();
    for (const [pool, { fewest }] of this.promises) {
      const before = this.leftOver.get(pool) ?? 0;
      this.leftOver.set(pool, Math.max(before, this.excess(pool), this.outOfReach(pool)));
      const slots = slotsBelow(pool === SERVER_POOL ? 0 : fewest);
      const agents =
        pool === SERVER_POOL ? [] : this.truth.vmsOf(pool).filter((one) => one.running && this.truth.node(one.name));
      for (const { name } of agents) if (!this.truth.isReady(name)) this.dead.add(name);
      this.down.set(
        pool,
        this.unserved(pool, slots).filter((slot) => !this.isOnSilentHost(pool, slot)),
      );
    }
  }

  /**
   * Counts VMs in excess of their slots where a VM of the slot is on a host that does not answer. No step can turn such
   * a VM off or count it, and the run continues without the slot instead of stopping while a host is down
   * (docs/recovery.md).
   */
  private outOfReach(pool: string): number {
    const slots = Map.groupBy(
      this.truth.vmsOf(pool).filter((one) => one.running),
      ({ tags }) => nodeTags(tags)?.slot,
    );
    const stuck = [...slots.values()].filter((vms) => vms.some(({ host }) => this.truth.dc?.silent.has(host)));
    return stuck.reduce((sum, vms) => sum + vms.length - 1, 0);
  }

  /**
   * Whether a slot has a VM on a host that does not answer: the slot waits for its host, and all other slots continue.
   */
  private isOnSilentHost(pool: string, slot: number): boolean {
    const { dc } = this.truth;
    return this.truth.vmsOf(pool).some((vm) => nodeTags(vm.tags)?.slot === slot && dc?.silent.has(vm.host) === true);
  }

  private unserved(pool: string, slots: readonly number[]): number[] {
    // A cordon is the operator's decision, and the pods on a cordoned node keep running.
    const served = new Set(this.nodesThere(pool).map((node) => Number(placeOf(node).slot)));
    return slots.filter((slot) => !served.has(slot));
  }

  private nodesThere(pool: string): Stored[] {
    return this.truth.nodes().filter((node) => placeOf(node).pool === pool && this.isThere(node));
  }

  /** VMs that run beyond one in each slot. */
  private excess(pool: string): number {
    const running = this.truth.vmsOf(pool).filter((one) => one.running);
    return running.length - new Set(running.map(({ tags }) => nodeTags(tags)?.slot)).size;
  }

  /** @param asked when the start was requested: a run that was killed may have done so, and the next one finds the VM */
  vmStarted(vm: Vm, asked: number): void {
    const pool = nodeTags(vm.tags)?.pool ?? "";
    if (asked <= this.runBegan) this.leftOver.set(pool, Math.max(this.leftOver.get(pool) ?? 0, this.excess(pool)));
    const promised = this.promises.get(pool);
    this.lost.delete(vm.name);
    const running = this.truth
      .vmsOf(pool)
      .filter((one) => one.running && (!this.dead.has(one.name) || this.truth.isReady(one.name))).length;
    // A server boots ahead of its turn with RKE2 held back (src/domain/rollout/order.ts). A VM that a fault turned off
    // may start again beside its replacement.
    const ahead = pool === SERVER_POOL ? 1 : 0;
    const besides = ahead + this.losses + Math.max(this.leftOver.get(pool) ?? 0, this.outOfReach(pool));
    if (promised && running > promised.most + promised.surge + besides)
      this.story.wrong(`${running} VMs of pool ${pool} run, and ${promised.most} slots + ${promised.surge} may`);
  }

  /**
   * Requires enough slots with a serving node, whatever took the others out. A node that failed a moment ago still
   * counts, since no step may have noticed yet.
   * @param departing the departing node, which does not count
   */
  requireAvailable(pool: string, departing: string, what: string): void {
    const promised = this.promises.get(pool);
    if (promised === undefined) return;
    const all = this.truth
      .nodes()
      .filter((node) => placeOf(node).pool === pool && serves(node) && !this.isKnownOut(node));
    const serving = all.filter(({ metadata }) => metadata.name !== departing);
    // A departing node that does not serve reduces nothing.
    if (serving.length === all.length) return;
    const slots = new Set(serving.map((node) => placeOf(node).slot)).size;
    // Slots on a host that does not answer are unavailable, and everything else continues.
    const away = this.unserved(pool, slotsBelow(promised.fewest)).filter((slot) => this.isOnSilentHost(pool, slot));
    const least = promised.fewest - promised.maxUnavailable - away.length;
    if (slots < least) this.story.wrong(`${what}: ${slots} slots of pool ${pool} are left to serve, and ${least} must`);
  }

  /**
   * Slots that were down when the plan was made come first and count as unavailable, whatever took their nodes out:
   * with those still down, handovers may use only the rest of `maxUnavailable`. Each handover holds a disruption lease,
   * including this one.
   */
  requireDownFirst({ pool, slot }: Place, departing: string, by: Process): void {
    const most = this.promises.get(pool)?.maxUnavailable ?? 1;
    const others = (this.down.get(pool) ?? []).filter((one) => String(one) !== String(slot));
    const down = this.unserved(pool, others).filter(
      (one) => !this.isOnSilentHost(pool, one) && !this.fellNow(pool, one),
    );
    const out = this.truth.ticketsOf(pool, most).filter(Boolean).length;
    if (down.length > 0 && down.length + out > most)
      this.story.wrong(
        `${by.name} cordons ${departing} while nobody serves in slots ${down.join(", ")} of pool ${pool}, ${out} are handed over, and ${most} may be out`,
      );
  }

  /** Whether the slot got a node that was then lost in this run: it is not waited for again. */
  private fellNow(pool: string, slot: number): boolean {
    return this.truth
      .vmsOf(pool)
      .some((vm) => nodeTags(vm.tags)?.slot === slot && (this.lost.get(vm.name) ?? 0) > this.runBegan);
  }

  /**
   * Requires another serving node in the slot before a node leaves it. A node that failed a moment ago still counts,
   * since no step may have noticed yet.
   */
  requireSuccessor({ pool, slot }: Place, departing: string, by: Process): void {
    const others = this.truth.nodes().filter((node) => {
      const place = placeOf(node);
      return place.pool === pool && place.slot === slot && node.metadata.name !== departing;
    });
    if (others.some((node) => isSchedulable(node) && this.isThere(node))) return;
    this.story.wrong(`${by.name} cordons ${departing}, and nobody else serves in slot ${slot} of pool ${pool}`);
  }

  private isThere(node: Stored): boolean {
    const since = this.sinceWhenOut(node);
    return since === -Infinity || this.elapsed() - since < this.reaction();
  }

  /** Whether a process that polls no VM must know that a node is out, from its Node or from the list of VMs. */
  private isKnownOut(node: Stored): boolean {
    const since = this.sinceWhenOut(node);
    const vm = this.truth.vmsOf(placeOf(node).pool).find(({ name }) => name === node.metadata.name);
    const lag = vm?.running === true ? readyGraceMs : listLagMs;
    const noticed = Math.max(this.reaction(), isReady(node) ? lag : 0);
    return since !== -Infinity && this.elapsed() - since >= noticed;
  }

  private sinceWhenOut(node: Stored): number {
    const since = readySince(node, this.truth.aheadMs);
    const lost = this.lost.get(node.metadata.name);
    // A machine that runs registers again when somebody has deleted its Node.
    if (isReady(node)) return lost === undefined || since > lost ? -Infinity : lost;
    return lost ?? since;
  }

  /**
   * Whether a node is an incomplete leftover of an abandoned run and is removed at the start: by the rollout, or at the
   * latest by the join of its slot. It takes the room that new VMs need, also those of slots that are down, and the
   * owner of its slot serves.
   */
  isIncomplete({ pool, slot }: Place, name: string, by: Process): boolean {
    // An owner that somebody has cordoned is one.
    const others = this.nodesThere(pool).filter((node) => node.metadata.name !== name && !isCordonedByUs(node));
    return /^(rollout|join)-/.test(by.name) && others.some((node) => String(placeOf(node).slot) === String(slot));
  }
}

/** Kubernetes marks a node not Ready this long after its last heartbeat, in milliseconds. */
const readyGraceMs = 50_000;
/** Maximum age of the list of VMs, including the time to read it, in milliseconds. */
const listLagMs = 15_000;

/** A server that somebody has cordoned serves on as one: only our own cordon is the beginning of its end. */
function serves(node: Stored): boolean {
  return isSchedulable(node) || (labels.server in (node.metadata.labels ?? {}) && !isCordonedByUs(node));
}

function isCordonedByUs(node: Stored): boolean {
  return !isSchedulable(node) && cordonedBy in (node.metadata.annotations ?? {});
}

const slotsBelow = (count: number): number[] => Array.from({ length: count }, (_, slot) => slot);
