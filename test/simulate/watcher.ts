import { SERVER_POOL } from "../../config.ts";
import { guest } from "../../images/contract.ts";
import { labels } from "../../kubernetes/nodes.ts";
import { nodeTags } from "../../proxmox/tags.ts";
import type { Cluster } from "./cluster.ts";
import type { DataCentre, Vm } from "./data-centre.ts";
import type { EtcdWatcher } from "./etcd-watcher.ts";
import { isReady, isSchedulable, readySince } from "./nodes.ts";
import type { Stored } from "./objects.ts";
import { PlaceWatcher } from "./place-watcher.ts";
import { nodeOf } from "./pods.ts";
import type { Process } from "./process.ts";
import type { Story } from "./story.ts";

/** What a pool promises while it is changed. */
export interface Promises {
  /** The fewest slots of all configurations since everything was well. */
  fewest: number;
  /** The most. */
  most: number;
  surge: number;
  maxUnavailable: number;
}

/** Looks at every effect the moment it happens and says which promise it breaks. It knows the truth, not an API's answer. */
export class Watcher {
  readonly promises = new Map<string, Promises>();
  /** Nodes that something other than us took away, and that are not back: when. */
  readonly lost = new Map<string, number>();
  /** Told of every VM that is destroyed. */
  onDestroyed: (vm: Vm, by: Process) => void = () => undefined;
  /** Nodes that fate has ever been at. */
  readonly touched = new Set<string>();
  private losses = 0;
  private runBegan = 0;
  /** By pool: more running VMs than slots when the run began. */
  private readonly leftOver = new Map<string, number>();
  /** VMs whose node was not Ready when the plan was made: they serve nobody, and their slots come first. */
  private readonly dead = new Set<string>();
  /** By pool of agents: slots in which nobody served when the run began, for so long that it had to be seen. */
  private readonly down = new Map<string, number[]>();
  private readonly story: Story;
  private readonly places: PlaceWatcher;
  private readonly etcd: EtcdWatcher;
  private readonly elapsed: () => number;
  private readonly reaction: () => number;
  private dc: DataCentre | undefined;
  private cluster: Cluster | undefined;

  constructor(story: Story, etcd: EtcdWatcher, elapsed: () => number, reaction: () => number) {
    this.story = story;
    this.places = new PlaceWatcher(story);
    this.etcd = etcd;
    this.elapsed = elapsed;
    this.reaction = reaction;
  }

  /** Something other than us was at a node: it may not do what it should. */
  touchedByFate(name: string): void {
    this.touched.add(name);
  }

  /** Fate takes a node away. */
  struck(name: string): void {
    this.touched.add(name);
    this.lost.set(name, this.elapsed());
    this.losses += 1;
  }

  /**
   * A run begins beside what a failed one left. Most of that goes first; what may be the only node that pods find goes when
   * its slot is handed over (steps/half-made.ts).
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
      const agents = pool === SERVER_POOL ? [] : this.vmsOf(pool).filter((one) => one.running && this.node(one.name));
      for (const { name } of agents) if (!this.isReady(name)) this.dead.add(name);
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
      this.vmsOf(pool).filter((one) => one.running),
      ({ tags }) => nodeTags(tags)?.slot,
    );
    const stuck = [...slots.values()].filter((vms) => vms.some(({ host }) => this.dc?.silent.has(host)));
    return stuck.reduce((sum, vms) => sum + vms.length - 1, 0);
  }

  /** Whoever is on a host that does not answer waits for it, and lets everybody else go on. */
  private isOnSilentHost(pool: string, slot: number): boolean {
    const { dc } = this;
    return this.vmsOf(pool).some((vm) => nodeTags(vm.tags)?.slot === slot && dc?.silent.has(vm.host) === true);
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
    return (this.cluster?.objects.list("nodes") ?? []).filter(
      (node) => placeOf(node).pool === pool && this.isThere(node),
    );
  }

  private running(pool: string): number {
    return this.vmsOf(pool).filter((one) => one.running).length;
  }

  attach(dc: DataCentre, cluster: Cluster): void {
    this.dc = dc;
    this.cluster = cluster;
    this.places.attach(cluster);
  }

  evicted(pod: Stored, by: Process): void {
    const node = this.node(nodeOf(pod));
    this.places.evicted(pod, node ? placeOf(node).pool : "", by);
    if (node) this.requireRight(placeOf(node), by, `evicts ${pod.metadata.name}`, true);
  }

  podDeleted(pod: Stored, by: Process): void {
    this.story.wrong(`${by.name} deletes the pod ${pod.metadata.name} instead of evicting it`);
  }

  nodeChanges(before: Stored, after: Stored, by: Process): void {
    const place = placeOf(before);
    const { name } = before.metadata;
    if (isSchedulable(before) && !isSchedulable(after)) {
      this.requireRight(place, by, `cordons ${name}`, true);
      this.places.cordoned(name, place.pool, by);
      if (!this.isHalfMade(place, name, by)) this.requireAvailable(place.pool, name, `${by.name} cordons ${name}`);
      if (by.name.startsWith("handover-")) {
        this.requireSuccessor(place, name, by);
        // One that is down itself is taken away from nobody.
        if (isReady(before)) this.requireDownFirst(place, name, by);
      }
      if (place.pool === SERVER_POOL) this.requireControllers(name, by);
    } else if (!isSchedulable(before) && isSchedulable(after)) this.requireNobodyElse(place, by, `uncordons ${name}`);
    if (isAskedToLeave(before) || !isAskedToLeave(after)) return;
    this.requireRight(place, by, `takes ${name} out of etcd`, true);
    this.etcd.removalAsked(name, by.name);
  }

  nodeDeleted(node: Stored, by: Process): void {
    const { name } = node.metadata;
    // A dead server goes before its successor comes.
    const isServer = node.metadata.labels?.[labels.server] !== undefined;
    if (by.name.startsWith("join-") && !isServer) this.story.wrong(`${by.name} deletes the Node ${name}`);
    if (this.cluster?.nodes.isAlive(name)) this.story.wrong(`${by.name} deletes the Node ${name}, whose kubelet runs`);
    if (!by.name.startsWith("program")) this.requireRight(placeOf(node), by, `deletes the Node ${name}`, false);
  }

  vmTouched(vm: Vm, what: string, form: URLSearchParams, by: Process): void {
    if (vm.owner !== "ours")
      this.story.wrong(`${by.name} touches VM ${vm.vmid}, which is no node of ours (${vm.owner}): ${what}`);
    const takesOut = /status\/(stop|shutdown)$/.test(what) || (what === "PUT config" && form.get("onboot") === "0");
    const tags = nodeTags(vm.tags);
    if (takesOut && tags)
      this.requireRight(
        tags,
        by,
        `${what} of ${vm.name}`,
        vm.guest?.node !== undefined && this.node(vm.name) !== undefined,
      );
    if (what === "DELETE ") this.destroyed(vm, by);
    const marker = form.get("file") === guest.marker ? Buffer.from(form.get("content") ?? "", "base64").toString() : "";
    if (what === "POST agent/file-write" && marker.startsWith("server"))
      this.etcd.toldToJoin(vm.name, vm.uuid, by.name);
  }

  vmStarted(vm: Vm): void {
    const pool = nodeTags(vm.tags)?.pool ?? "";
    const promised = this.promises.get(pool);
    this.lost.delete(vm.name);
    const running = this.vmsOf(pool).filter(
      (one) => one.running && (!this.dead.has(one.name) || this.isReady(one.name)),
    ).length;
    // A server boots ahead of its turn, RKE2 held back (rollout/order.ts). What fate turned off comes back beside whoever
    // took its place.
    const ahead = pool === SERVER_POOL ? 1 : 0;
    const besides = ahead + this.losses + Math.max(this.leftOver.get(pool) ?? 0, this.outOfReach(pool));
    if (promised && running > promised.most + promised.surge + besides)
      this.story.wrong(`${running} VMs of pool ${pool} run, and ${promised.most} slots + ${promised.surge} may`);
  }

  vmStops(vm: Vm, by: Process): void {
    // The kubelet was told to stop before the power goes, and its pods run until then.
    const { name } = vm;
    const pods = this.cluster?.pods.servingOn(name) ?? [];
    // A kubelet that is dead says of no pod that it has ended.
    const ends = this.cluster?.nodes.isAlive(name) ?? false;
    // Nor does one that has stopped start any that the scheduler still sends, as those that tolerate everything.
    const runsOn = pods.filter(
      ({ metadata, status }) => ends || (metadata.deletionTimestamp === undefined && status?.phase !== "Pending"),
    );
    const node = this.node(name);
    // Whoever is not Ready for as long as Kubernetes waits is dead, whatever runs there: give or take what clocks are apart.
    const isDead = !ends && node !== undefined && !isReady(node) && this.elapsed() - readySince(node) > deadAfterMs;
    if (runsOn.length > 0 && !isDead)
      this.story.wrong(
        `${by.name} turns ${name} off with pods on it: ${runsOn.map(({ metadata }) => metadata.name).join(", ")}`,
      );
    // One that is cordoned serves nobody any more: that was decided then.
    if (node && isSchedulable(node))
      this.requireAvailable(nodeTags(vm.tags)?.pool ?? "", name, `${by.name} turns ${name} off`);
  }

  /** Right before a VM is no more, whoever does it. */
  destroyed(vm: Vm, by: Process): void {
    const node = this.cluster?.objects.list("nodes").find((one) => uuidOf(one) === vm.uuid);
    if (vm.owner !== "ours")
      this.story.wrong(`${by.name} destroys VM ${vm.vmid}, which is no node of ours (${vm.owner})`);
    if (vm.running) this.story.wrong(`${by.name} destroys ${vm.name}, which runs`);
    if (node) this.story.wrong(`${by.name} destroys ${vm.name}, which is a member of the cluster`);
    this.onDestroyed(vm, by);
  }

  private vmsOf(pool: string): Vm[] {
    return [...(this.dc?.vms.values() ?? [])].filter((vm) => vm.owner === "ours" && nodeTags(vm.tags)?.pool === pool);
  }

  private isReady(name: string): boolean {
    const node = this.node(name);
    return node !== undefined && isReady(node);
  }

  private node(name: string): Stored | undefined {
    return this.cluster?.objects.get("nodes", name);
  }

  private lease(name: string): string | undefined {
    return this.cluster?.objects.get("leases", `evergreen-system/${name}`)?.spec?.holderIdentity as string | undefined;
  }

  /** Who takes something out holds the lease of its slot, and a ticket when it serves. */
  private requireRight({ pool, slot }: Place, by: Process, what: string, ticket: boolean): void {
    const holder = this.lease(`slot-${pool}-${slot}`);
    if (holder !== by.id)
      this.story.wrong(`${by.name} ${what} without the lease of slot ${slot}, which ${holder ?? "nobody"} has`);
    const most = this.promises.get(pool)?.maxUnavailable ?? 1;
    const tickets = Array.from({ length: most }, (_, k) => this.lease(`ticket-${pool}-${k}`));
    if (ticket && !tickets.includes(by.id)) this.story.wrong(`${by.name} ${what} without a ticket of pool ${pool}`);
  }

  private requireNobodyElse({ pool, slot }: Place, by: Process, what: string): void {
    const holder = this.lease(`slot-${pool}-${slot}`);
    if (holder !== undefined && holder !== by.id && !by.name.startsWith("program"))
      this.story.wrong(`${by.name} ${what} while ${holder} has the lease of slot ${slot}`);
  }

  /** Slots with a node that serves, whoever took the others away. Who fell a moment ago may not have been noticed. @param leaver does not count */
  private requireAvailable(pool: string, leaver: string, what: string): void {
    const promised = this.promises.get(pool);
    if (promised === undefined) return;
    const all = (this.cluster?.objects.list("nodes") ?? []).filter(
      (node) => placeOf(node).pool === pool && isSchedulable(node) && this.isThere(node),
    );
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
  private requireDownFirst({ pool, slot }: Place, leaver: string, by: Process): void {
    const most = this.promises.get(pool)?.maxUnavailable ?? 1;
    const others = (this.down.get(pool) ?? []).filter((one) => String(one) !== String(slot));
    const down = this.unserved(pool, others).filter(
      (one) => !this.isOnSilentHost(pool, one) && !this.fellNow(pool, one),
    );
    const out = Array.from({ length: most }, (_, k) => this.lease(`ticket-${pool}-${k}`)).filter(Boolean).length;
    if (down.length > 0 && down.length + out > most)
      this.story.wrong(
        `${by.name} cordons ${leaver} while nobody serves in slots ${down.join(", ")} of pool ${pool}, ${out} are handed over, and ${most} may be out`,
      );
  }

  /** Whoever came into a slot and was taken away in this run is not waited for again. */
  private fellNow(pool: string, slot: number): boolean {
    return this.vmsOf(pool).some(
      (vm) => nodeTags(vm.tags)?.slot === slot && (this.lost.get(vm.name) ?? 0) > this.runBegan,
    );
  }

  /** Nobody leaves a slot before somebody else serves there. Who fell a moment ago may not have been noticed. */
  private requireSuccessor({ pool, slot }: Place, leaver: string, by: Process): void {
    const others = (this.cluster?.objects.list("nodes") ?? []).filter((node) => {
      const place = placeOf(node);
      return place.pool === pool && place.slot === slot && node.metadata.name !== leaver;
    });
    if (others.some((node) => isSchedulable(node) && this.isThere(node))) return;
    this.story.wrong(`${by.name} cordons ${leaver}, and nobody else serves in slot ${slot} of pool ${pool}`);
  }

  private requireControllers(leaver: string, by: Process): void {
    const gone = this.cluster?.control.managers.pausedBy;
    if (gone === undefined) return;
    this.story.wrong(`${by.name} cordons ${leaver}, and no controllers work since ${gone} was taken out of etcd`);
  }

  private isThere(node: Stored): boolean {
    const since = this.sinceWhenOut(node);
    return since === -Infinity || this.elapsed() - since < this.reaction();
  }

  private sinceWhenOut(node: Stored): number {
    return this.lost.get(node.metadata.name) ?? (isReady(node) ? -Infinity : readySince(node));
  }

  /**
   * A run begins with what a given-up one left: it holds the room that new VMs need, those of slots that are down too, and
   * the owner of its slot serves.
   */
  private isHalfMade({ pool, slot }: Place, name: string, by: Process): boolean {
    const others = this.servingNodes(pool).filter(({ metadata }) => metadata.name !== name);
    return by.name.startsWith("rollout-") && others.some((node) => String(placeOf(node).slot) === String(slot));
  }
}

/** Kubernetes gives a node's pods up after 300 s without Ready; clocks are up to 20 s apart, in milliseconds. */
const deadAfterMs = 280_000;

const slotsBelow = (count: number): number[] => Array.from({ length: count }, (_, slot) => slot);

interface Place {
  pool: string;
  slot: string | number;
}

function placeOf({ metadata }: Stored): Place {
  return { pool: metadata.labels?.[labels.pool] ?? "", slot: metadata.labels?.[labels.slot] ?? "" };
}

function isAskedToLeave({ metadata }: Stored): boolean {
  return metadata.annotations?.["etcd.rke2.cattle.io/remove"] === "true";
}

export function uuidOf({ status }: Stored): string {
  return (status?.nodeInfo as { systemUUID?: string } | undefined)?.systemUUID ?? "";
}
