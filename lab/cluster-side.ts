/** The lab's view of the cluster that was created in it: follows, loads and probes it. */
import type { LabStatus } from "./control.ts";
import { isHealthy } from "./guest/etcd.ts";
import type { Member } from "./guest/rack.ts";
import type { Journal } from "./journal.ts";
import { Kube, readKubeconfig } from "./kube.ts";
import { Longhorn } from "./longhorn/longhorn.ts";
import type { LonghornOptions } from "./longhorn/objects.ts";
import { Prober, type ProbeReport } from "./load/prober.ts";
import { deploy, type WorkloadOptions, workloadDefaults, workloadName, workloadNamespace } from "./load/workload.ts";
import { type NodeObject, nodeFact } from "./watcher/facts.ts";
import { feed } from "./watcher/feed.ts";
import type { MemberFact, NodeFact } from "./watcher/model.ts";
import type { Profile } from "./types.ts";
import type { Watcher } from "./watcher/watcher.ts";

interface Options {
  /** Kubeconfig of the administrator, through the registration address. */
  kubeconfig: string;
  /** Members of etcd as a live member reports them; empty when none is live. */
  members: () => Promise<Member[]>;
  watcher: Watcher;
  journal: Journal;
  /** Deploys the workload automatically once the number of agents is stable. */
  autoLoad: boolean;
}

/** Milliseconds between two polls of the member list. */
const memberEvery = 500;
/** Milliseconds that the number of agents must be stable before the workload is deployed: pods are spread only once. */
const settled = 3000;

/** A cluster, from its first server until it is torn down. */
export class ClusterSide {
  readonly kubeconfig: string;
  private readonly options: Options;
  private readonly kube: Kube;
  private readonly prober: Prober;
  private readonly stopped = new AbortController();
  private readonly timer: NodeJS.Timeout;
  private wanted: number | undefined;
  private agents = { count: 0, since: performance.now() };
  private looking = false;
  private longhorn: Longhorn | undefined;

  constructor(options: Options) {
    this.options = options;
    this.kubeconfig = options.kubeconfig;
    this.kube = new Kube(readKubeconfig(options.kubeconfig));
    this.prober = new Prober(this.kube);
    this.prober.start();
    void feed(this.kube, options.watcher, this.stopped.signal);
    this.timer = setInterval(() => void this.look(), memberEvery);
  }

  get probe(): ProbeReport {
    return this.prober.report;
  }

  resetProbe(): void {
    this.prober.reset();
  }

  get load(): LabStatus["load"] {
    if (this.wanted === undefined) return undefined;
    const pods = [...this.options.watcher.model.pods.values()].filter(
      (pod) => pod.namespace === workloadNamespace && pod.labels.app === workloadName,
    );
    return { wanted: this.wanted, ready: pods.filter((pod) => pod.ready && !pod.deleting).length };
  }

  async deploy(changes: Partial<WorkloadOptions> = {}): Promise<void> {
    const options = { ...workloadDefaults, ...changes };
    this.wanted = options.replicas;
    await deploy(this.kube, options);
    this.options.journal.add(
      "load",
      `${options.replicas} pods, at most ${options.maxUnavailable} of them may miss at once`,
    );
  }

  /** Installs Longhorn with volumes on every agent, or changes the options of the running Longhorn. */
  async storeData(options: Partial<LonghornOptions>, profile: Profile): Promise<void> {
    this.longhorn ??= new Longhorn(this.kube, profile, this.stopped.signal);
    await this.longhorn.order(options);
    this.options.journal.add("load", `Longhorn: ${JSON.stringify(options)}`);
  }

  /** The Node as the API shows it now; undefined when there is none. */
  async node(name: string): Promise<NodeFact | undefined> {
    const { status, body } = await this.kube.call<NodeObject>("GET", `/api/v1/nodes/${name}`);
    return status === 200 ? nodeFact(body) : undefined;
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    this.stopped.abort();
    this.prober.stop();
    await this.kube.close();
  }

  private async look(): Promise<void> {
    if (this.looking) return;
    this.looking = true;
    try {
      const members = await Promise.all((await this.options.members()).map(memberFact));
      if (!this.stopped.signal.aborted) this.options.watcher.setMembers(members);
      await this.autoLoad();
    } catch (error) {
      this.options.journal.add("load", `not yet: ${String(error)}`);
    } finally {
      this.looking = false;
    }
  }

  private async autoLoad(): Promise<void> {
    if (!this.options.autoLoad || this.wanted !== undefined) return;
    const nodes = [...this.options.watcher.model.nodes.values()];
    const count = nodes.filter((node) => !node.server && node.ready && node.schedulable).length;
    if (count !== this.agents.count) this.agents = { count, since: performance.now() };
    if (count === 0 || performance.now() - this.agents.since < settled) return;
    try {
      await this.deploy();
    } catch (error) {
      this.wanted = undefined;
      throw error;
    }
  }
}

/** An election is not the loss of a voter, so a member without a leader counts as healthy. */
async function memberFact({ name, learner, address }: Member): Promise<MemberFact> {
  return { name, learner, healthy: await isHealthy(address, "livez") };
}
