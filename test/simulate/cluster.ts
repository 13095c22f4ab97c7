import { Budgets } from "./budgets.ts";
import { Chance } from "./chance.ts";
import { ControlPlane } from "./control-plane.ts";
import { Etcd } from "./etcd.ts";
import type { EtcdWatcher } from "./etcd-watcher.ts";
import type { Faults } from "./faults.ts";
import { Nodes } from "./nodes.ts";
import { Objects } from "./objects.ts";
import { Pods, type Workload } from "./pods.ts";
import type { VirtualTime } from "./time.ts";
import type { Watcher } from "./watcher.ts";
import type { Answer } from "./wire.ts";

/** A Kubernetes cluster: its objects, and the controllers and kubelets that change them. */
export class Cluster {
  readonly time: VirtualTime;
  readonly watcher: Watcher;
  readonly objects: Objects;
  readonly nodes: Nodes;
  readonly pods: Pods;
  readonly budgets: Budgets;
  readonly control: ControlPlane;
  private readonly clocks: Chance;
  /** How far the clock of the API server is ahead of ours, in milliseconds. */
  readonly aheadMs: number;
  /** How far the clock of a single API server may differ from that, in milliseconds. */
  apartMs = 0;
  /** How far the clocks of single servers are off, in milliseconds, by address. */
  readonly wrongMs = new Map<string, number>();
  /** The answer to every eviction; undefined: evictions work. */
  refusesEvictions: Answer | undefined;

  constructor(
    time: VirtualTime,
    watcher: Watcher,
    etcdWatcher: EtcdWatcher,
    faults: Faults,
    workloads: Workload[],
    seed: number,
  ) {
    this.time = time;
    this.watcher = watcher;
    this.aheadMs = new Chance(seed, "clock").between(-90_000, 90_000);
    this.clocks = new Chance(seed, "clocks");
    this.objects = new Objects(time);
    this.nodes = new Nodes(this, new Chance(seed, "nodes"));
    this.pods = new Pods(this, workloads, new Chance(seed, "pods"));
    this.budgets = new Budgets(this, workloads);
    const etcd = new Etcd(time, new Chance(seed, "etcd"), faults);
    this.control = new ControlPlane(this, etcd, etcdWatcher, new Chance(seed, "control plane"));
    etcdWatcher.attach(etcd);
    for (const name of ["kube-system", "load"]) this.objects.put("namespaces", { metadata: { name } });
  }

  /** How far the clock is ahead on the API server that answers: the load balancer picks any server. */
  clockOfServer(host: string): number {
    return (
      this.aheadMs +
      (this.wrongMs.get(host) ?? 0) +
      (this.apartMs === 0 ? 0 : this.clocks.pick([-this.apartMs, 0, this.apartMs]))
    );
  }

  /** Whether a join token exists and has not expired. */
  admits(token: string): boolean {
    const id = /::([a-z0-9]{6})\./.exec(token)?.[1] ?? "";
    const secret = this.objects.get("secrets", `kube-system/bootstrap-token-${id}`);
    const data = (secret?.data ?? {}) as Record<string, string>;
    const expiration = Buffer.from(data.expiration ?? "", "base64").toString();
    return Date.parse(expiration) > this.time.date();
  }
}
