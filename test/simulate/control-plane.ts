import type { Chance } from "./chance.ts";
import type { Cluster } from "./cluster.ts";
import { isUp, memberName, type Etcd } from "./etcd.ts";
import type { EtcdWatcher } from "./etcd-watcher.ts";
import { status } from "./fault-kinds.ts";
import type { Fault } from "./faults.ts";
import type { JoinData } from "./guest.ts";
import { Managers } from "./managers.ts";
import { isReady } from "./nodes.ts";
import type { Stored } from "./objects.ts";
import type { Server } from "./server.ts";
import { tokenHash } from "../../src/clients/kubernetes/server-token.ts";
import type { Answer, Call, Stream } from "./wire.ts";

export const registrationAddress = "10.0.0.5";
const prefix = "etcd.rke2.cattle.io";
const password = "0123456789abcdef";
/** How long a load balancer keeps sending requests to a server that has died, in milliseconds. */
const noticedAfter = 3000;

/** The servers of a cluster, the load balancer in front of them, and RKE2's controllers. */
export class ControlPlane {
  readonly cluster: Cluster;
  readonly etcd: Etcd;
  readonly watcher: EtcdWatcher;
  readonly servers = new Set<Server>();
  readonly managers: Managers;
  /** The server token: it equals cluster admin. */
  readonly token = `K10${"a".repeat(64)}::server:${password}`;
  readonly kubeconfig = kubeconfig();
  /** The answer to every request to a supervisor; undefined: it works. */
  supervisorRefuses: Answer | undefined;
  private readonly chance: Chance;
  private readonly streams = new Map<Stream, Server>();
  private lastLoss = -Infinity;
  private away = false;
  private snapshots = 0;
  private renews = 0;

  constructor(cluster: Cluster, etcd: Etcd, watcher: EtcdWatcher, chance: Chance) {
    this.cluster = cluster;
    this.etcd = etcd;
    this.watcher = watcher;
    this.chance = chance;
    this.managers = new Managers(cluster.time, chance);
    etcd.onChange(() => {
      for (const { node } of etcd.members) cluster.time.after(chance.between(500, 4000), () => this.tell(node));
      watcher.changed();
    });
    cluster.objects.onChange(({ collection, object, removed }) => this.noticed(collection, object, removed));
  }

  /** The fault of a request that reaches no server; undefined when a server answers. */
  unreachable({ host }: Call): Fault | undefined {
    const { time } = this.cluster;
    if (this.away) return { lost: { after: false, how: this.chance.happens(0.7) ? "hang up" : "silence" } };
    if (host !== registrationAddress) {
      const server = [...this.servers].find(({ address }) => address === host);
      if (server?.serves) return undefined;
      return { lost: { after: false, how: server ? "hang up" : "silence" } };
    }
    const serving = this.ready().length;
    const isMissed = time.elapsed() - this.lastLoss < noticedAfter && this.chance.happens(1 / (serving + 1));
    return serving === 0 || isMissed ? { lost: { after: false, how: "hang up" } } : undefined;
  }

  /**
   * Makes all API servers unreachable from outside and breaks every watch. The nodes do not notice.
   * @returns a function that ends it
   */
  goAway(): () => void {
    this.away = true;
    for (const out of [...this.streams.keys()]) breakOff(out);
    return () => (this.away = false);
  }

  /** Milliseconds until etcd has a leader. */
  waits(): number {
    return Math.max(0, this.etcd.electionUntil - this.cluster.time.elapsed());
  }

  /** The answer to `/readyz`: whether etcd has quorum. */
  isReady(): Answer {
    return this.etcd.hasQuorum() ? { status: 200, body: "ok" } : { status: 500, body: "etcd failed" };
  }

  /** Ties a watch to a server: it ends with that server. @returns a function to call when the watch ends */
  hold(out: Stream): () => void {
    const ready = this.ready();
    if (ready.length > 0) this.streams.set(out, this.chance.pick(ready));
    return () => this.streams.delete(out);
  }

  /** @param why `removed`: its member was taken out of etcd */
  ends(server: Server, why: "removed" | "stopped"): void {
    this.dropStreams(server);
    const others = [...this.servers].filter((other) => other !== server && other.serves);
    this.managers.ends(server, why === "removed", others);
  }

  private dropStreams(server: Server): void {
    if (!server.yielding) this.lastLoss = this.cluster.time.elapsed();
    for (const [out, through] of [...this.streams]) {
      if (through === server) breakOff(out);
    }
  }

  /** Why RKE2 refuses the join of a server; undefined when it does not. */
  whyRefused({ server, token }: JoinData): string | undefined {
    if (server !== `https://${registrationAddress}:9345`) return `no server at ${server ?? "(none)"}`;
    if (this.ready().length === 0) return "no answer from the supervisor";
    return token === this.token ? undefined : "token CA hash does not match";
  }

  /** RKE2's supervisor. */
  supervise(call: Call): Answer {
    if (this.supervisorRefuses) return this.supervisorRefuses;
    if (call.path === "/cacerts") return this.certificates();
    const credentials = Buffer.from(`server:${password}`).toString("base64");
    if (call.headers.authorization !== `Basic ${credentials}`) return status(401, "Unauthorized", "Unauthorized");
    if (call.method === "POST" && call.path === "/db/snapshot") return this.snapshot(call);
    if (call.path !== "/db/info") return status(404, "NotFound", "404 page not found");
    const members = this.etcd.members.map(({ node, address, learner, started, uuid }) => ({
      name: started ? memberName({ node, uuid }) : "",
      peerURLs: [`https://${address}:2380`],
      isLearner: learner,
    }));
    return { status: 200, body: JSON.stringify({ members }) };
  }

  /** Served without credentials once a server serves. */
  private certificates(): Answer {
    if (this.ready().length === 0) return status(503, "ServiceUnavailable", "no server");
    return { status: 200, body: "-----BEGIN CERTIFICATE-----" };
  }

  /** Writes the etcd role of a Node to the Node. */
  tell(node: string): void {
    const member = this.etcd.members.find((one) => one.node === node && one.started);
    const found = this.cluster.objects.get("nodes", node);
    if (!member || !found || !isUp(member) || `${prefix}/removed-node-name` in (found.metadata.annotations ?? {}))
      return;
    const part = member.learner
      ? { is: "False", reason: "MemberIsLearner" }
      : { is: "True", reason: "MemberNotLearner" };
    const named = {
      [`${prefix}/node-name`]: memberName(member),
      [`${prefix}/node-address`]: member.address,
    };
    this.cluster.nodes.setVoter(node, part.is, part.reason, (before) => ({ ...before, ...named }));
  }

  private ready(): Server[] {
    const serving = [...this.servers].filter(({ serves }) => serves);
    const open = serving.filter(({ yielding }) => !yielding);
    return open.length > 0 ? open : serving;
  }

  /** RKE2's and Kubernetes' own controllers react to a change. */
  private noticed(collection: string, object: Stored, removed: boolean): void {
    const { name, annotations = {}, generation } = object.metadata;
    const { time } = this.cluster;
    if (collection === "nodes") {
      const asked = `${prefix}/remove` in annotations && !(`${prefix}/removed-node-name` in annotations);
      if (removed || asked) time.after(this.chance.between(300, 1500), () => this.removeMember(name));
    }
    if (collection === "replicasets" && object.status?.observedGeneration !== generation)
      this.managers.after(this.chance.between(50, 500), () => this.observe(object));
  }

  /** Takes the member of a Node that goes, or is to go, out of etcd. */
  removeMember(node: string): void {
    const member = this.etcd.members.find((one) => one.node === node);
    const found = this.cluster.objects.get("nodes", node);
    const { [`${prefix}/removed-node-name`]: removed, ...annotations } = found?.metadata.annotations ?? {};
    if (member) {
      const serves = [...this.servers].some((server) => server.node === node && server.serves);
      const isWell = found !== undefined && isReady(found) && serves;
      const refusal = this.etcd.remove(member.uuid, () => this.watcher.removes(member, isWell));
      if (refusal !== undefined) {
        this.cluster.time.after(1000, () => this.removeMember(node));
        return;
      }
    }
    for (const server of this.servers) if (server.node === node) server.stopControlPlane("removed");
    if (!found || removed !== undefined || !(`${prefix}/remove` in annotations)) return;
    this.cluster.nodes.setVoter(node, "False", "NotAMember", (before) => {
      const rest = Object.entries(before).filter(
        ([key]) => ![`${prefix}/node-name`, `${prefix}/node-address`].includes(key),
      );
      return { ...Object.fromEntries(rest), [`${prefix}/removed-node-name`]: before[`${prefix}/node-name`] ?? node };
    });
  }

  private observe({ metadata, status: before }: Stored): void {
    const { objects } = this.cluster;
    const found = objects.get("replicasets", `${metadata.namespace ?? ""}/${metadata.name}`);
    const generation = found?.metadata.generation;
    if (found && before?.observedGeneration !== generation)
      objects.put("replicasets", { ...found, status: { ...found.status, observedGeneration: generation } });
  }

  /** The scheduler renews its lease; modelled only for a while after a process reads the lease. */
  renew(): void {
    if (this.renews > 0) return;
    this.renews = 8;
    const once = (): void => {
      this.renews -= 1;
      const renewTime = new Date(this.cluster.time.date() + this.cluster.aheadMs).toISOString();
      this.cluster.objects.put("leases", {
        metadata: { name: "kube-scheduler", namespace: "kube-system" },
        spec: { renewTime },
      });
      if (this.renews > 0) this.managers.after(2000, once);
    };
    this.managers.after(this.chance.between(200, 2000), once);
  }

  private snapshot(call: Call): Answer {
    const [server] = this.ready();
    const { name: [asked = ""] = [] } = JSON.parse(call.body) as { name?: string[] };
    if (!server || !this.etcd.hasQuorum()) return status(500, "InternalError", "etcdserver: no leader");
    const { time, objects, aheadMs } = this.cluster;
    const made = time.date() + aheadMs;
    const name = `${asked}-${server.node}-${Math.floor(made / 1000)}`;
    const hash = tokenHash({ text: this.token, password });
    this.snapshots += 1;
    time.after(this.chance.between(200, 3000), () =>
      objects.put("etcdsnapshotfiles", {
        metadata: { name: `local-${name}-${this.snapshots}`, annotations: { [`${prefix}/snapshot-token-hash`]: hash } },
        spec: {
          snapshotName: name,
          nodeName: server.node,
          location: `file:///var/lib/rancher/rke2/server/db/snapshots/${name}`,
        },
        status: { readyToUse: true, size: "8123k", creationTime: new Date(made).toISOString() },
      }),
    );
    return { status: 200, body: JSON.stringify({ created: [name] }) };
  }
}

function breakOff(out: Stream): void {
  out.fail(Object.assign(new Error("other side closed"), { code: "UND_ERR_SOCKET" }));
}

function kubeconfig(): string {
  const secret = Buffer.from("PEM").toString("base64");
  return JSON.stringify({
    "current-context": "default",
    contexts: [{ name: "default", context: { cluster: "default", user: "default" } }],
    clusters: [
      { name: "default", cluster: { server: "https://127.0.0.1:6443", "certificate-authority-data": secret } },
    ],
    users: [{ name: "default", user: { "client-certificate-data": secret, "client-key-data": secret } }],
  });
}
