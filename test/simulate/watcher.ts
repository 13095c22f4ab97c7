import { parse } from "yaml";
import { SERVER_POOL } from "../../src/config/config.ts";
import { guest } from "../../images/contract.ts";
import { labels } from "../../src/domain/model/formats.ts";
import { nodeTags } from "../../src/clients/proxmox/tags.ts";
import { AvailabilityWatcher } from "./availability-watcher.ts";
import type { Cluster } from "./cluster.ts";
import type { DataCentre, Vm } from "./data-centre.ts";
import { isUp } from "./etcd.ts";
import type { EtcdWatcher } from "./etcd-watcher.ts";
import { isReady, isSchedulable, readySince } from "./nodes.ts";
import type { Stored } from "./objects.ts";
import { PlaceWatcher } from "./place-watcher.ts";
import { nodeOf } from "./pods.ts";
import type { Process } from "./process.ts";
import type { Story } from "./story.ts";
import { TeardownWatcher } from "./teardown-watcher.ts";
import { placeOf, Truth, uuidOf, type Place } from "./truth.ts";

/**
 * Checks every effect the moment it happens and reports the promise that it breaks. It knows the true state, not an
 * API's answer.
 */
export class Watcher {
  readonly availability: AvailabilityWatcher;
  /** Called for every VM that is destroyed. @default without consent no disk that somebody has attached goes with it */
  onDestroyed = ({ name, vmid, attached }: Vm, by: Process): void => {
    if (attached.size > 0)
      this.story.wrong(`${by.name} destroys ${name} (VM ${vmid}) with ${[...attached.keys()].join(", ")} of somebody`);
  };
  /** Nodes that a fault has ever touched. */
  readonly touched = new Set<string>();
  /** Nodes that somebody has deleted. */
  readonly deletedByHand = new Set<string>();
  /** Nodes that were incomplete when they were cordoned. */
  private readonly incomplete = new Set<string>();
  private readonly story: Story;
  readonly places: PlaceWatcher;
  private readonly etcd: EtcdWatcher;
  private readonly elapsed: () => number;
  private readonly truth = new Truth();
  private readonly teardown: TeardownWatcher;

  constructor(story: Story, etcd: EtcdWatcher, elapsed: () => number, reaction: () => number) {
    this.story = story;
    this.places = new PlaceWatcher(story);
    this.etcd = etcd;
    this.teardown = new TeardownWatcher(story, this.truth, etcd);
    this.elapsed = elapsed;
    this.availability = new AvailabilityWatcher(story, this.truth, elapsed, reaction);
  }

  /** Something other than our steps has touched a node: it may not do what it should. */
  touchedByFate(name: string): void {
    this.touched.add(name);
  }

  /** A fault takes a node out. */
  struck(name: string): void {
    this.touched.add(name);
    this.availability.struck(name);
  }

  attach(dc: DataCentre, cluster: Cluster): void {
    this.truth.dc = dc;
    this.truth.cluster = cluster;
    this.places.attach(cluster);
  }

  evicted(pod: Stored, by: Process): void {
    const node = this.truth.node(nodeOf(pod));
    if (node === undefined) return;
    this.places.evicted(pod, placeOf(node), by);
    this.requireRight(placeOf(node), by, `evicts ${pod.metadata.name}`, true);
  }

  /** A run says that it is done, of which this watches what was evicted. */
  runDone(): void {
    this.places.runDone();
  }

  podDeleted(pod: Stored, by: Process): void {
    this.story.wrong(`${by.name} deletes the pod ${pod.metadata.name} instead of evicting it`);
  }

  nodeChanges(before: Stored, after: Stored, by: Process): void {
    const place = placeOf(before);
    const { name } = before.metadata;
    if (isSchedulable(before) && !isSchedulable(after)) {
      this.requireRight(place, by, `cordons ${name}`, true);
      // A node that does not serve is drained all the same: a waiting pod may need what only this node can release.
      if (isReady(before))
        this.places.cordoned(name, place.pool, by, this.availability.promises.get(place.pool)?.maxUnavailable);
      const isIncomplete = this.availability.isIncomplete(place, name, by);
      if (isIncomplete) this.incomplete.add(name);
      else this.availability.requireAvailable(place.pool, name, `${by.name} cordons ${name}`);
      if (by.name.startsWith("handover-")) {
        this.availability.requireSuccessor(place, name, by);
        // A departing node that is down itself makes no slot unavailable.
        if (isReady(before)) this.availability.requireDownFirst(place, name, by);
      }
      if (place.pool === SERVER_POOL) this.requireControllers(name, by);
    } else if (!isSchedulable(before) && isSchedulable(after)) this.requireNobodyElse(place, by, `uncordons ${name}`);
    if (!isOutOfService(before) && isOutOfService(after)) {
      this.requireRight(place, by, `declares ${name} off`, false);
      if (this.truth.vmsOf(place.pool).some((vm) => vm.name === name && vm.running))
        this.story.wrong(`${by.name} has the volumes of ${name} released, whose VM runs`);
    }
    if (isAskedToLeave(before) || !isAskedToLeave(after)) return;
    this.requireRight(place, by, `takes ${name} out of etcd`, true);
    this.etcd.removalAsked(name, by.name, isReady(after));
  }

  nodeDeleted(node: Stored, by: Process): void {
    const { name } = node.metadata;
    // A join may delete a dead server, which leaves before its successor joins, and an incomplete agent.
    const isServer = node.metadata.labels?.[labels.server] !== undefined;
    // The owner of its slot may have fallen since its cordon.
    const isIncomplete = this.incomplete.delete(name) || this.availability.isIncomplete(placeOf(node), name, by);
    const served = isReady(node) && !isIncomplete;
    if (by.name.startsWith("join-") && !isServer && served) this.story.wrong(`${by.name} deletes the Node ${name}`);
    if (this.truth.cluster?.nodes.isAlive(name))
      this.story.wrong(`${by.name} deletes the Node ${name}, whose kubelet runs`);
    if (!by.name.startsWith("program")) this.requireRight(placeOf(node), by, `deletes the Node ${name}`, false);
  }

  /**
   * A ConfigMap of the record is written. A step that has lost its slot writes nothing more about the nodes of the
   * slot.
   */
  remembered(map: string, by: Process): void {
    const [, pool, slot] = /^slot-(.+)-(\d+)$/.exec(map) ?? [];
    if (pool === undefined || slot === undefined || by.name.startsWith("program")) return;
    this.requireRight({ pool, slot }, by, "writes what is remembered of a node", false);
  }

  vmTouched(vm: Vm, what: string, form: URLSearchParams, by: Process): void {
    if (vm.owner !== "ours")
      this.story.wrong(`${by.name} touches VM ${vm.vmid}, which is no node of ours (${vm.owner}): ${what}`);
    const takesOut = /status\/(stop|shutdown)$/.test(what) || (what === "PUT config" && form.get("onboot") === "0");
    const tags = nodeTags(vm.tags);
    if (/status\/(stop|shutdown)$/.test(what) && !this.teardown.takes(vm, by))
      this.etcd.goesOff(vm.name, vm.uuid, by.name);
    if (takesOut && tags && !this.teardown.takes(vm, by))
      this.requireRight(
        tags,
        by,
        `${what} of ${vm.name}`,
        vm.guest?.node !== undefined && this.truth.node(vm.name) !== undefined,
      );
    // The number may be another VM's since the proof; the digest is what ties the write to it.
    if (what === "PUT config" && !form.has("digest"))
      this.story.wrong(`${by.name} changes the configuration of ${vm.name} without the digest of what it has proved`);
    const bringsIn = what === "POST status/start" || what === "POST agent/file-write";
    if (bringsIn && tags && !by.name.startsWith("program") && !this.isBeforeLeases(what))
      this.requireRight(tags, by, `${what} of ${vm.name}`, false);
    if (what === "DELETE ") this.destroyed(vm, by);
    const marker = form.get("file") === guest.marker ? Buffer.from(form.get("content") ?? "", "base64").toString() : "";
    if (what !== "POST agent/file-write" || !marker.startsWith("server")) return;
    const data = parse(vm.disk.get(guest.join) ?? "") as { server?: string } | null;
    if (data?.server === undefined) this.etcd.toldToFound(vm, vm.disk.has(guest.kubeconfig), by.name);
    else this.etcd.toldToJoin(vm.name, vm.uuid, by.name);
  }

  /** Something in the cluster is changed: by a step only when its engine has the lease of the update. */
  changes(what: string, by: Process): void {
    if (/^(program|clone|destroy)/.test(by.name) || by.hasUpdate) return;
    this.story.wrong(`${by.name} changes ${what} without the lease of the update`);
  }

  /**
   * Whether no API can be asked for a lease: no server has made a cluster yet, or none serves and one is turned on
   * again.
   */
  private isBeforeLeases(what: string): boolean {
    const { dc, cluster } = this.truth;
    const ours = [...(dc?.vms.values() ?? [])].filter(({ owner }) => owner === "ours");
    if (!ours.some(({ disk }) => disk.has(guest.kubeconfig))) return true;
    const serves = [...(cluster?.control.servers ?? [])].some((server) => server.serves);
    return what === "POST status/start" && !serves;
  }

  vmStops(vm: Vm, by: Process): void {
    if (this.teardown.takes(vm, by)) return;
    // The kubelet is stopped before the power goes, and its pods run until then.
    const { name } = vm;
    const all = this.truth.cluster?.pods;
    const pods = (all?.servingOn(name) ?? []).filter((pod) => all?.mayGoWithNode(pod) !== true);
    // A dead kubelet reports no pod as ended.
    const ends = this.truth.cluster?.nodes.isAlive(name) ?? false;
    // Nor does a stopped kubelet start pods that the scheduler still assigns to it, such as those that tolerate
    // everything.
    const runsOn = pods.filter(
      ({ metadata, status }) => ends || (metadata.deletionTimestamp === undefined && status?.phase !== "Pending"),
    );
    const node = this.truth.node(name);
    // A node that was not Ready for as long as Kubernetes waits is dead, whatever runs there, up to the difference of
    // clocks.
    const { aheadMs } = this.truth;
    const isDead = !ends && node && !isReady(node) && this.elapsed() - readySince(node, aheadMs) > deadAfterMs;
    if (runsOn.length > 0 && !isDead)
      this.story.wrong(
        `${by.name} turns ${name} off with pods on it: ${runsOn.map(({ metadata }) => metadata.name).join(", ")}`,
      );
    const member = this.truth.cluster?.control.etcd.member(vm.uuid);
    if (member !== undefined && !member.learner && isUp(member))
      this.story.wrong(`${by.name} turns ${name} off, which is a voter of etcd`);
    // A cordoned node no longer serves, nor does a server that has left etcd, whose cordon somebody has lifted: this was
    // checked when it was cordoned.
    const hasLeft = node !== undefined && labels.server in (node.metadata.labels ?? {}) && member === undefined;
    if (node && isSchedulable(node) && !hasLeft)
      this.availability.requireAvailable(nodeTags(vm.tags)?.pool ?? "", name, `${by.name} turns ${name} off`);
  }

  /** Called right before a VM is destroyed, by any process. */
  destroyed(vm: Vm, by: Process): void {
    const node = this.truth.nodes().find((one) => uuidOf(one) === vm.uuid);
    if (vm.owner !== "ours")
      this.story.wrong(`${by.name} destroys VM ${vm.vmid}, which is no node of ours (${vm.owner})`);
    if (vm.running) this.story.wrong(`${by.name} destroys ${vm.name}, which runs`);
    const isTornDown = this.teardown.takes(vm, by);
    if (node && !isTornDown) this.story.wrong(`${by.name} destroys ${vm.name}, which is a member of the cluster`);
    // A learner may get its vote however long it is off.
    const member = this.truth.cluster?.control.etcd.member(vm.uuid);
    if (!isTornDown && member)
      this.story.wrong(`${by.name} destroys ${vm.name}, which is a ${member.learner ? "learner" : "voter"} of etcd`);
    this.etcd.destroyed(vm.uuid);
    this.onDestroyed(vm, by);
  }

  /** Requires the lease of the slot, and with `ticket` also a disruption lease. */
  private requireRight({ pool, slot }: Place, by: Process, what: string, ticket: boolean): void {
    const holder = this.truth.holderOf(`slot-${pool}-${slot}`);
    if (holder !== by.id)
      this.story.wrong(`${by.name} ${what} without the lease of slot ${slot}, which ${holder ?? "nobody"} has`);
    const { leases, maxUnavailable = 1 } = this.availability.promises.get(pool) ?? {};
    const most = leases ?? maxUnavailable;
    if (ticket && !this.truth.ticketsOf(pool, most).includes(by.id))
      this.story.wrong(`${by.name} ${what} without a ticket of pool ${pool}`);
  }

  private requireNobodyElse({ pool, slot }: Place, by: Process, what: string): void {
    const holder = this.truth.holderOf(`slot-${pool}-${slot}`);
    if (holder !== undefined && holder !== by.id && !by.name.startsWith("program"))
      this.story.wrong(`${by.name} ${what} while ${holder} has the lease of slot ${slot}`);
  }

  private requireControllers(departing: string, by: Process): void {
    const gone = this.truth.cluster?.control.managers.pausedBy;
    if (gone === undefined) return;
    this.story.wrong(`${by.name} cordons ${departing}, and no controllers work since ${gone} was taken out of etcd`);
  }
}

/** Kubernetes deletes the pods of a node after 300 s without Ready; clocks are up to 20 s apart, in milliseconds. */
const deadAfterMs = 280_000;

function isOutOfService({ spec }: Stored): boolean {
  const taints = (spec?.taints ?? []) as { key: string }[];
  return taints.some(({ key }) => key === "node.kubernetes.io/out-of-service");
}

function isAskedToLeave({ metadata }: Stored): boolean {
  return metadata.annotations?.["etcd.rke2.cattle.io/remove"] === "true";
}
