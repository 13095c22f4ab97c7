/** RKE2 on a server: a real etcd member, a real API server, and the same kubelet as on an agent. */
import { mkdirSync } from "node:fs";
import { messageOf } from "../../src/runtime/errors.ts";
import { Kube } from "../kube.ts";
import type { Supervised } from "../process.ts";
import { runKubelet } from "./agent.ts";
import type { NodeStart } from "./agent.ts";
import { apiReady } from "./balancer.ts";
import { Cluster } from "./cluster.ts";
import type { GuestContext } from "./context.ts";
import { seatOf, startApiServer, startControllers, startEtcd } from "./control-plane.ts";
import type { EtcdStart, Seat } from "./control-plane.ts";
import { EtcdController } from "./controller.ts";
import { EtcdClient, EtcdRefusal } from "./etcd.ts";
import type { EtcdMember } from "./etcd.ts";
import { checkFamilies, nodeIps, withDefaults } from "./families.ts";
import { insist } from "./insist.ts";
import { paths } from "./join.ts";
import * as disk from "./member.ts";
import { checkServerToken, fetchCa, JoinFailure, readToken } from "./registration.ts";
import { Scope } from "./scope.ts";
import { installSnapshotKind } from "./snapshot-crd.ts";
import { Snapshots } from "./snapshots.ts";
import { serveSupervisor } from "./supervisor.ts";
import { learnerEvery } from "./times.ts";

/** Milliseconds between two polls of something that starts. */
const look = 50;

/** Milliseconds after which a learner that does not answer is restarted. */
const mutePatience = 1000;

export class Server {
  readonly guest: GuestContext;
  readonly cluster: Cluster;
  readonly node: string;
  /** Name of its etcd member. */
  readonly member: string;
  readonly etcd: EtcdClient;
  readonly kube: Kube;
  /** Its API server answers and the registration address sends connections to it. */
  ready = false;
  /** It is being removed from the cluster. */
  leaving = false;
  /** It has been told to step down. */
  private yielding = false;
  private readonly start: NodeStart;
  private readonly seat: Seat;
  private readonly dataDirectory: string;
  /** It has no data and its join data names no server: it bootstraps a cluster, whatever other servers exist. */
  private readonly founds: boolean;
  /** Ends when the control plane stops; the kubelet continues. */
  private readonly plane: Scope;

  constructor(start: NodeStart, cluster: Cluster, plane: Scope) {
    const { guest, fragment } = start;
    const { files, address } = guest;
    this.start = start;
    this.guest = guest;
    this.cluster = cluster;
    this.plane = plane;
    this.node = fragment.nodeName;
    this.dataDirectory = disk.etcdDirectoryOf(guest);
    this.founds = fragment.server === undefined && !disk.hasData(guest);
    this.member = files.get(disk.memberFile)?.toString() ?? disk.nameMember(guest, this.node);
    files.put(disk.caFile, cluster.serverCa.cert);
    this.seat = seatOf(guest, cluster);
    this.etcd = new EtcdClient(cluster, address);
    const { cert, key } = cluster.admin;
    this.kube = new Kube({ server: `https://${address}:6443`, ca: cluster.serverCa.cert, cert, key });
    plane.defer(() => this.etcd.close());
    plane.defer(() => this.kube.close());
  }

  get address(): string {
    return this.guest.address;
  }

  /**
   * Starts or resumes the control plane, then the kubelet. Resolves when the Node is registered.
   * @throws JoinFailure
   */
  async run(scope: Scope): Promise<void> {
    const { cluster, guest, plane } = this;
    cluster.certifyServer(this.address, this.names);
    const etcd = await this.startEtcd(disk.hasData(guest));
    guest.files.remove(disk.resetFile);
    this.tell("Starting etcd", this.member);
    await this.becomeVoter(etcd);
    this.tell("etcd is a voting member", this.member);
    cluster.servers.set(guest.machine.vmid, this);
    plane.defer(() => void cluster.servers.delete(guest.machine.vmid));
    await this.startApiServer();
    this.tell("Kube API server is now running", this.address);
    guest.files.put(paths.serverToken, `${cluster.serverToken}\n`);
    guest.files.put(paths.kubeconfig, cluster.adminKubeconfig("https://127.0.0.1:6443"));
    plane.run(() => installSnapshotKind(this.kube, plane));
    const { address, names, kube } = this;
    const { boundaries } = guest.rack;
    const members = () => this.etcd.members();
    await serveSupervisor({ cluster, address, names, kube, boundaries, snapshots: this.snapshots(), members }, plane);
    this.attach();
    const from = { supervisor: `https://${this.address}:9345`, api: `https://${this.address}:6443` };
    const token = readToken(cluster.serverToken);
    await runKubelet(this.start, { ...from, ca: cluster.serverCa.cert, token }, scope);
    await this.decorate();
    plane.run(() => new EtcdController(this, plane).run());
  }

  /** Steps down before it leaves: its connections are drained, then another member becomes leader. */
  async yield(): Promise<void> {
    this.yielding = true;
    await this.cluster.balancer.drain(this.address);
    const { id, leader } = await this.etcd.status();
    if (id !== leader) return;
    const heir = (await this.etcd.members()).find(({ ID, isLearner }) => ID !== id && !isLearner);
    if (heir) await this.etcd.transferLeadership(heir.ID);
    this.tell("etcd leadership was handed over", heir?.name ?? "to nobody");
  }

  /** Resumes serving: the server stays in the cluster after all. */
  serveAgain(): void {
    if (this.yielding && this.ready) this.cluster.balancer.add(this.address, this.client);
    this.yielding = false;
  }

  /** Stops being a server permanently: another member has removed it from etcd. */
  async stopControlPlane(): Promise<void> {
    await this.plane.end();
    // RKE2 leaves a tombstone: the data of a removed member can never be used again.
    disk.forgetMember(this.guest);
    const { vmid, name } = this.guest.machine;
    this.guest.log.say("rke2", 'level=info msg="this node has been removed from the cluster"');
    this.guest.rack.report({ kind: "left", vmid, name });
  }

  private snapshots(): Snapshots {
    const { node, etcd, kube, cluster, guest, plane } = this;
    const directory = disk.snapshotDirectoryOf(guest);
    const fault = () => guest.rack.snapshotFault;
    return new Snapshots({ node, etcd, kube, password: cluster.password, directory, fault }, plane);
  }

  /** What the health checks of the registration address ask with. */
  private get client(): { cert: string; key: string } {
    const { cert, key } = this.cluster.admin;
    return { cert, key };
  }

  private tell(what: string, subject: string): void {
    this.guest.log.say("rke2", `level=info msg="${what}" ${subject}`);
  }

  private get names(): string[] {
    return [this.address, this.cluster.balancer.address, ...this.start.fragment.tlsSan];
  }

  private get peerUrl(): string {
    return `https://${this.address}:2380`;
  }

  private async startEtcd(resuming: boolean): Promise<Supervised> {
    const initial = resuming ? [] : await this.initialCluster();
    mkdirSync(this.dataDirectory, { recursive: true, mode: 0o700 });
    const start: EtcdStart = {
      member: this.member,
      dataDirectory: this.dataDirectory,
      initialCluster: initial.length > 0 ? initial : [`${this.member}=${this.peerUrl}`],
      state: initial.length > 1 ? "existing" : "new",
    };
    const etcd = startEtcd(this.seat, start);
    this.plane.defer(() => etcd.kill());
    return etcd;
  }

  /** Names and addresses of all members, this server included, which is added as a learner; empty: it bootstraps. */
  private async initialCluster(): Promise<string[]> {
    if (this.founds) return [];
    const others = [...this.cluster.servers.values()];
    if (others.length === 0) return [];
    const members = await this.addLearner(others);
    return members.flatMap(({ name, peerURLs = [] }) =>
      peerURLs.map((url) => `${name === undefined || name === "" ? this.member : name}=${url}`),
    );
  }

  private async addLearner(others: readonly Server[]): Promise<EtcdMember[]> {
    for (let turn = 0; ; turn++) {
      const other = others[turn % others.length];
      try {
        const before = (await other?.etcd.members()) ?? [];
        if (before.some(({ name }) => name?.replace(/-[0-9a-f]{8}$/, "") === this.node)) {
          throw new JoinFailure("duplicate node name found, please use a unique name for this node");
        }
        // A leftover of an attempt that never started: it would block every other join.
        const stale = before.find(({ peerURLs }) => peerURLs?.includes(this.peerUrl));
        if (stale) await other?.etcd.remove(stale.ID);
        if (other) return await other.etcd.addLearner(this.peerUrl);
      } catch (error) {
        if (error instanceof JoinFailure) throw error;
        this.guest.log.say(
          "rke2",
          `level=info msg="Waiting for other members to finish joining etcd cluster: ${messageOf(error)}"`,
        );
        await this.plane.wait(300);
      }
    }
  }

  /** Waits until the member serves: a learner serves no client until another member promotes it. */
  private async becomeVoter(etcd: Supervised): Promise<void> {
    let since = performance.now();
    // `/readyz` may succeed before the member knows that it is a learner: only an answered member list is proof.
    while (!(await this.serves())) {
      const other = this.founds ? undefined : [...this.cluster.servers.values()].find((server) => server !== this);
      const step = other && !this.stalls ? await this.promoteThrough(other) : "waits";
      if (step === "mute" && performance.now() - since > mutePatience) {
        // etcd missed its own membership because it arrived within a snapshot: it would wait 7 s for it.
        etcd.restart();
        this.tell("Starting etcd again", this.member);
        since = performance.now();
      }
      await this.plane.wait(learnerEvery);
    }
  }

  /** It never catches up with the others (image fault `learner-stalls`). */
  private get stalls(): boolean {
    return this.guest.machine.image.fault === "learner-stalls";
  }

  private async serves(): Promise<boolean> {
    return (await this.etcd.listens()) && this.etcd.members().then(Boolean, () => false);
  }

  private async promoteThrough(other: Server): Promise<"waits" | "mute" | "promoted"> {
    try {
      const own = (await other.etcd.members()).find(({ peerURLs }) => peerURLs?.includes(this.peerUrl));
      if (!own) throw new JoinFailure("this member has been permanently removed from the cluster");
      if (!own.isLearner) return "waits";
      if (!(await this.etcd.listens())) return "mute";
      await other.etcd.promote(own.ID);
      return "promoted";
    } catch (error) {
      if (error instanceof JoinFailure) throw error;
      // Refused until the learner has caught up.
      if (error instanceof EtcdRefusal) return "waits";
      this.guest.log.say("rke2", `level=warning msg="Unable to promote learner: ${messageOf(error)}"`);
      return "waits";
    }
  }

  private async startApiServer(): Promise<void> {
    const api = startApiServer(this.seat);
    this.plane.defer(() => api.kill());
    while (!(await apiReady(this.address, this.client))) await this.plane.wait(look);
    for (const child of startControllers(this.seat)) this.plane.defer(() => child.kill());
  }

  /** Makes the registration address send connections to this server from now on. */
  private attach(): void {
    const { balancer } = this.cluster;
    balancer.add(this.address, this.client);
    this.ready = true;
    this.plane.defer(async () => {
      this.ready = false;
      await balancer.remove(this.address);
    });
  }

  /** Writes what RKE2's controllers write to a server's Node. */
  private async decorate(): Promise<void> {
    const metadata = {
      labels: { "node-role.kubernetes.io/control-plane": "true", "node-role.kubernetes.io/etcd": "true" },
      annotations: { "etcd.rke2.cattle.io/node-name": this.member, "etcd.rke2.cattle.io/node-address": this.address },
      finalizers: ["wrangler.cattle.io/managed-etcd-controller"],
    };
    const path = `/api/v1/nodes/${this.node}`;
    await insist(this.plane, () => this.kube.call("PATCH", path, { metadata }, "strategic-merge"));
    const status = {
      conditions: [voterCondition("True", "MemberNotLearner", "Node is a voting member of the etcd cluster")],
    };
    await insist(this.plane, () => this.kube.call("PATCH", `${path}/status`, { status }, "strategic-merge"));
  }
}

export function voterCondition(status: "True" | "False", reason: string, message: string): object {
  const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  return { type: "EtcdIsVoter", status, reason, message, lastHeartbeatTime: now, lastTransitionTime: now };
}

/** Finds the server's cluster and runs the server: the cluster of its data, a new one, or the one that it joins. */
export async function runServer(start: NodeStart, scope: Scope): Promise<void> {
  const plane = new Scope(scope);
  checkFamilies(withDefaults(start.fragment.ranges), nodeIps(start.guest, start.fragment));
  const cluster = await clusterFor(start, scope);
  await new Server(start, cluster, plane).run(scope);
}

async function clusterFor({ guest, fragment }: NodeStart, scope: Scope): Promise<Cluster> {
  const { clusters, directory } = guest.rack;
  const { files } = guest;
  const known = [...clusters.values()].find(({ serverCa }) => serverCa.cert === files.text(disk.caFile));
  if (known && disk.hasData(guest)) return known;
  if (fragment.server === undefined) {
    const cluster = known ?? new Cluster(directory, guest.rack.balancerOf(fragment.tlsSan), fragment.ranges);
    clusters.set(cluster.serverCa.hash, cluster);
    return cluster;
  }
  const token = readToken(fragment.token);
  if (!token) throw new JoinFailure("--token is required");
  const ca = await fetchCa(guest, fragment.server, token, scope.signal);
  await checkServerToken(fragment.server, ca, token, scope.signal);
  const joined = [...clusters.values()].find(({ serverCa }) => serverCa.cert === ca);
  if (!joined) throw new JoinFailure("failed to get CA certs: no such cluster");
  return joined;
}
