import { SERVER_POOL } from "../../src/config/config.ts";
import { nodeTags } from "../../src/clients/proxmox/tags.ts";
import type { PoolSpec } from "../../src/domain/model/types.ts";
import type { Vm } from "./data-centre.ts";
import { isReady, isSchedulable, readySince } from "./nodes.ts";
import type { Stored } from "./objects.ts";
import type { Process } from "./process.ts";
import type { Story } from "./story.ts";
import { placeOf, type Place, type Truth } from "./truth.ts";

/** What a pool promises while it is changed. */
export interface Promises {
  /** The fewest slots of all configurations since everything was well. */
  fewest: number;
  /** The most. */
  most: number;
  surge: number;
  maxUnavailable: number;
}

/** How many nodes serve, and how many VMs run, while something is changed: what `maxUnavailable` and `surge` promise. */
export class AvailabilityWatcher {
  /** By pool. */
  readonly promises = new Map<string, Promises>();
  /** Nodes that something other than us took away, and that are not back: when. */
  readonly lost = new Map<string, number>();
  private losses = 0;
  private runBegan = 0;
  /** By pool: more running VMs than slots when the run began. */
  private readonly leftOver = new Map<string, number>();
  /** VMs whose node was not Ready when the plan was made: they serve nobody, and their slots come first. */
  private readonly dead = new Set<string>();
  /** By pool of agents: slots in which nobody served when the plan was made, for so long that it had to be seen. */
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

  /** What pools promise from now on. @param established whether they were ever complete: before, there is nobody to be served */
  promise(specs: readonly PoolSpec[], established: boolean): void {
    for (const { name, slots, strategy } of specs) {
      const before = this.promises.get(name);
      this.promises.set(name, {
        fewest: established ? Math.min(slots, before?.fewest ?? slots) : 0,
        most: Math.max(slots, before?.most ?? slots),
        surge: strategy.kind === "blueGreen" ? Math.max(slots, before?.surge ?? 0) : strategy.surge,
        maxUnavailable: strategy.maxUnavailable,
      });
    }
  }

  /** Fate takes a node away. */
  struck(name: string): void {
    this.lost.set(name, this.elapsed());
    this.losses += 1;
  }

  /**
   * A run begins beside what a failed one left. Most of that goes first; what may be the only node that pods find goes when
   * its slot is handed over (src/steps/node/incomplete-nodes.ts).
   */
  runBegins(): void {
    this.runBegan = this.elapsed();
    this.leftOver.clear();
    this.runPlanned();
  }

  /** What the plan was made of may be minutes younger than the run: it has waited for leases, and a server. */
  runPlanned(): void {
    this.dead.clear();
    for (const [pool, { most, fewest }] of this.promises) {
      const before = this.leftOver.get(pool) ?? 0;
      this.leftOver.set(pool, Math.max(before, this.running(pool) - most, this.outOfReach(pool)));
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
   * VMs that run beside another one of their slot, which has one on a host that does not answer: nobody can turn them off or
   * count them, and the run goes on without their slot, instead of standing still while a host is down (docs/recovery.md).
   */
  private outOfReach(pool: string): number {
    const slots = Map.groupBy(
      this.truth.vmsOf(pool).filter((one) => one.running),
      ({ tags }) => nodeTags(tags)?.slot,
    );
    const stuck = [...slots.values()].filter((vms) => vms.some(({ host }) => this.truth.dc?.silent.has(host)));
    return stuck.reduce((sum, vms) => sum + vms.length - 1, 0);
  }

  /** Whoever is on a host that does not answer waits for it, and lets everybody else go on. */
  private isOnSilentHost(pool: string, slot: number): boolean {
    const { dc } = this.truth;
    return this.truth.vmsOf(pool).some((vm) => nodeTags(vm.tags)?.slot === slot && dc?.silent.has(vm.host) === true);
  }

  private unserved(pool: string, slots: readonly number[]): number[] {
    // A cordon is an operator's right, and the pods that are there run on.
    const served = new Set(this.nodesThere(pool).map((node) => Number(placeOf(node).slot)));
    return slots.filter((slot) => !served.has(slot));
  }

  private servingNodes(pool: string): Stored[] {
    return this.nodesThere(pool).filter(isSchedulable);
  }

  private nodesThere(pool: string): Stored[] {
    return this.truth.nodes().filter((node) => placeOf(node).pool === pool && this.isThere(node));
  }

  private running(pool: string): number {
    return this.truth.vmsOf(pool).filter((one) => one.running).length;
  }

  vmStarted(vm: Vm): void {
    const pool = nodeTags(vm.tags)?.pool ?? "";
    const promised = this.promises.get(pool);
    this.lost.delete(vm.name);
    const running = this.truth
      .vmsOf(pool)
      .filter((one) => one.running && (!this.dead.has(one.name) || this.truth.isReady(one.name))).length;
    // A server boots ahead of its turn, RKE2 held back (src/domain/rollout/order.ts). What fate turned off comes back beside whoever
    // took its place.
    const ahead = pool === SERVER_POOL ? 1 : 0;
    const besides = ahead + this.losses + Math.max(this.leftOver.get(pool) ?? 0, this.outOfReach(pool));
    if (promised && running > promised.most + promised.surge + besides)
      this.story.wrong(`${running} VMs of pool ${pool} run, and ${promised.most} slots + ${promised.surge} may`);
  }

  /** Slots with a node that serves, whoever took the others away. Who fell a moment ago may not have been noticed. @param leaver does not count */
  requireAvailable(pool: string, leaver: string, what: string): void {
    const promised = this.promises.get(pool);
    if (promised === undefined) return;
    const all = this.truth
      .nodes()
      .filter((node) => placeOf(node).pool === pool && isSchedulable(node) && !this.isKnownOut(node));
    const serving = all.filter(({ metadata }) => metadata.name !== leaver);
    // Whoever serves nobody takes nothing away.
    if (serving.length === all.length) return;
    const slots = new Set(serving.map((node) => placeOf(node).slot)).size;
    // Slots on a host that does not answer are out, and everything else goes on.
    const away = this.unserved(pool, slotsBelow(promised.fewest)).filter((slot) => this.isOnSilentHost(pool, slot));
    const least = promised.fewest - promised.maxUnavailable - away.length;
    if (slots < least) this.story.wrong(`${what}: ${slots} slots of pool ${pool} are left to serve, and ${least} must`);
  }

  /**
   * Slots that were down when the run began come first and count as out, whoever took their nodes away: beside those that are
   * down still, no more are handed over than the rest of `maxUnavailable`. Each handover has a ticket, its own too.
   */
  requireDownFirst({ pool, slot }: Place, leaver: string, by: Process): void {
    const most = this.promises.get(pool)?.maxUnavailable ?? 1;
    const others = (this.down.get(pool) ?? []).filter((one) => String(one) !== String(slot));
    const down = this.unserved(pool, others).filter(
      (one) => !this.isOnSilentHost(pool, one) && !this.fellNow(pool, one),
    );
    const out = this.truth.ticketsOf(pool, most).filter(Boolean).length;
    if (down.length > 0 && down.length + out > most)
      this.story.wrong(
        `${by.name} cordons ${leaver} while nobody serves in slots ${down.join(", ")} of pool ${pool}, ${out} are handed over, and ${most} may be out`,
      );
  }

  /** Whoever came into a slot and was taken away in this run is not waited for again. */
  private fellNow(pool: string, slot: number): boolean {
    return this.truth
      .vmsOf(pool)
      .some((vm) => nodeTags(vm.tags)?.slot === slot && (this.lost.get(vm.name) ?? 0) > this.runBegan);
  }

  /** Nobody leaves a slot before somebody else serves there. Who fell a moment ago may not have been noticed. */
  requireSuccessor({ pool, slot }: Place, leaver: string, by: Process): void {
    const others = this.truth.nodes().filter((node) => {
      const place = placeOf(node);
      return place.pool === pool && place.slot === slot && node.metadata.name !== leaver;
    });
    if (others.some((node) => isSchedulable(node) && this.isThere(node))) return;
    this.story.wrong(`${by.name} cordons ${leaver}, and nobody else serves in slot ${slot} of pool ${pool}`);
  }

  private isThere(node: Stored): boolean {
    const since = this.sinceWhenOut(node);
    return since === -Infinity || this.elapsed() - since < this.reaction();
  }

  /** What Kubernetes says of a node, or what it or the list of VMs has had the time to say to somebody who asks no machine. */
  private isKnownOut(node: Stored): boolean {
    const since = this.sinceWhenOut(node);
    const vm = this.truth.vmsOf(placeOf(node).pool).find(({ name }) => name === node.metadata.name);
    const lag = vm?.running === true ? readyGraceMs : listLagMs;
    const noticed = Math.max(this.reaction(), isReady(node) ? lag : 0);
    return since !== -Infinity && this.elapsed() - since >= noticed;
  }

  private sinceWhenOut(node: Stored): number {
    return this.lost.get(node.metadata.name) ?? (isReady(node) ? -Infinity : readySince(node, this.truth.aheadMs));
  }

  /**
   * A run, or at the latest the join of a slot, begins with what a given-up one left: it holds the room that new VMs need, those
   * of slots that are down too, and the owner of its slot serves.
   */
  isHalfMade({ pool, slot }: Place, name: string, by: Process): boolean {
    const others = this.servingNodes(pool).filter(({ metadata }) => metadata.name !== name);
    return /^(rollout|join)-/.test(by.name) && others.some((node) => String(placeOf(node).slot) === String(slot));
  }
}

/** Kubernetes calls a node not Ready that long after it was heard of last, in milliseconds. */
const readyGraceMs = 50_000;
/** So old may the list of VMs be, and a look at it, in milliseconds. */
const listLagMs = 15_000;

const slotsBelow = (count: number): number[] => Array.from({ length: count }, (_, slot) => slot);
