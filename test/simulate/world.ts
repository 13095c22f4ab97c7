import { createHash } from "node:crypto";
import { stringify } from "yaml";
import { useClock } from "../../src/runtime/clock.ts";
import { useConnections } from "../../src/runtime/connections.ts";
import { forgetHidden, sayTo } from "../../src/runtime/log.ts";
import { guest as files } from "../../images/contract.ts";
import { labels } from "../../src/domain/model/formats.ts";
import { tagsOf } from "../../src/clients/proxmox/tags.ts";
import { generationOf, nodeName, adoptedGeneration } from "../../src/domain/model/generation.ts";
import type { NodeRecord, PoolSpec } from "../../src/domain/model/types.ts";
import { Chance } from "./chance.ts";
import { Cluster } from "./cluster.ts";
import { Coverage } from "./coverage.ts";
import { registrationAddress } from "./control-plane.ts";
import { DataCentre, type Vm } from "./data-centre.ts";
import { EtcdWatcher } from "./etcd-watcher.ts";
import { eventKinds } from "./events.ts";
import { Faults, type Fault } from "./faults.ts";
import { Guest, type Image } from "./guest.ts";
import { KubernetesApi } from "./kubernetes-api.ts";
import type { Workload } from "./pods.ts";
import { current, Process } from "./process.ts";
import { ProxmoxApi } from "./proxmox-api.ts";
import { Story } from "./story.ts";
import { VirtualTime } from "./time.ts";
import { VerdictWatcher } from "./verdict-watcher.ts";
import { Watcher } from "./watcher.ts";
import { silence, Wire, type Answer, type Call, type Far } from "./wire.ts";

export interface WorldOptions {
  seed: number;
  images: readonly Image[];
  workloads: Workload[];
  /** Keeps every line of the story. */
  told: boolean;
}

/** Both APIs, the models behind them, and the processes that use them. */
export class World {
  readonly seed: number;
  readonly time = new VirtualTime();
  readonly story: Story;
  readonly faults: Faults;
  readonly coverage: Coverage;
  readonly watcher: Watcher;
  readonly etcdWatcher: EtcdWatcher;
  readonly dc: DataCentre;
  readonly cluster: Cluster;
  /** Called for every request that arrives, and again after its effect. */
  onBoundary: (process: Process, side: "before" | "after") => void = () => undefined;
  /** Changes requests or answers as a defective driver would, to test that the watcher notices. */
  defect: Far["answer"] | undefined;
  /** Answers that a defective driver assumes instead of asking. */
  believes: (call: Call) => Answer | undefined = () => undefined;
  /** Whether an older state was imported: a VM that is kept for a disk may be in no state, and is made again then. */
  hasOlderState = false;
  /** Whether steps ask for the lease of the update. */
  locked = true;
  /** Steps that the engine takes for done without running them. */
  skips: (urn: string) => boolean = () => false;
  /** Whether the engine keeps the edges between the slots of a pool. */
  ordered = true;
  private readonly images: ReadonlyMap<string, Image>;
  private readonly far: Far;
  private readonly processes = new Set<Process>();
  private spawned = 0;

  constructor({ seed, images, workloads, told }: WorldOptions) {
    this.seed = seed;
    this.images = new Map(images.map((image) => [image.name, image]));
    this.story = new Story(this.time.elapsed, told);
    this.coverage = new Coverage(seed, eventKinds);
    this.faults = new Faults(seed, this.coverage);
    const reaction = () => this.faults.reaction();
    this.etcdWatcher = new EtcdWatcher(this.story, this.time.elapsed, reaction);
    this.watcher = new Watcher(this.story, this.etcdWatcher, this.time.elapsed, reaction);
    this.dc = new DataCentre(this.time, this.faults, this.watcher, seed);
    this.cluster = new Cluster(this.time, this.watcher, this.etcdWatcher, this.faults, workloads, seed);
    this.watcher.attach(this.dc, this.cluster);
    const isFaulty = (image: string) => this.image(image)?.fault !== undefined;
    new VerdictWatcher(this.story, this.watcher, isFaulty).attach(this.cluster);
    const [proxmox, kubernetes] = [new ProxmoxApi(this.dc), new KubernetesApi(this.cluster)];
    const { control } = this.cluster;
    const answer = (call: Call) => {
      if (call.api === "pve") return proxmox.answer(call);
      return call.api === "supervisor" ? control.supervise(call) : kubernetes.answer(call);
    };
    this.far = {
      time: this.time,
      latency: new Chance(seed, "latency"),
      aheadMs: (host) => this.cluster.clockOfServer(host),
      answer: (call) => (this.defect ?? answer)(call),
      fault: (call) => this.faultOf(call),
      waits: (call) => (call.api === "pve" ? proxmox.waits(call) : control.waits()),
      boundary: ({ process }, side) => this.onBoundary(process, side),
      heard: (call, outcome) =>
        this.story.tell(call.process.name, () => `${call.api} ${call.method} ${call.path} -> ${outcome}`),
      signals: new Set(),
    };
    this.honest = answer;
    this.dc.inhabit = (vm) => this.inhabit(vm);
    this.plantImages(images);
  }

  private faultOf(call: Call): Fault | undefined {
    const refusal = this.believes(call);
    if (refusal) return { refusal };
    return (call.api === "pve" ? undefined : this.cluster.control.unreachable(call)) ?? this.faults.of(call);
  }

  /** The answer of the models, without the defect. */
  readonly honest: Far["answer"];

  /** Replaces clock, sockets and standard error while `work` runs. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    useClock(this.time);
    useConnections((options) => new Wire(this.far, options));
    sayTo((line) => this.hear(line));
    try {
      return await this.time.until(work());
    } finally {
      for (const process of this.processes) process.kill();
      silence(this.far.signals);
      sayTo();
      // Else every line searches for the join tokens of all earlier worlds.
      forgetHidden();
      useConnections();
      useClock();
    }
  }

  process(name: string): Process {
    const process = new Process(name, `${name}-${(this.spawned += 1)}`);
    this.processes.add(process);
    return process;
  }

  image(name: string): Image | undefined {
    return this.images.get(name);
  }

  /** Processes whose code may still run. */
  living(): Process[] {
    for (const process of this.processes) if (process.isDead()) this.processes.delete(process);
    return [...this.processes];
  }

  /** Lets everything end that runs. */
  async rest(): Promise<void> {
    for (let left = 120; left > 0 && (this.living().length > 0 || this.dc.isBusy()); left -= 1)
      await this.time.sleep(500);
  }

  /** Creates the guest of a VM, as its disk says. */
  private inhabit(vm: Vm): void {
    const image = this.images.get(vm.disk.get("image") ?? "");
    if (image) vm.guest = new Guest(vm, image, this.cluster, new Chance(this.seed, `guest ${vm.vmid} ${vm.uuid}`));
  }

  /** Plants a node as an earlier, successful run left it. */
  plant(spec: PoolSpec, slot: number, vmid: number, adopted?: string): NodeRecord {
    const { cluster, name: pool } = spec;
    const generation = adopted === undefined ? generationOf(spec.node) : { id: adoptedGeneration(adopted) };
    const name = adopted ?? nodeName(cluster, pool, slot, generation.id);
    const identity = { cluster, pool, slot, generation: generation.id };
    const place = { vmid, host: this.dc.hosts[slot % this.dc.hosts.length] ?? "", pool: "nodes" };
    const vm = this.dc.add({
      ...place,
      owner: "ours",
      name,
      uuid: this.dc.uuid(),
      tags: tagsOf(identity),
      onBoot: true,
    });
    vm.disk.set("image", spec.node.image);
    vm.running = true;
    this.inhabit(vm);
    const nodeLabels = {
      [labels.cluster]: cluster,
      [labels.pool]: pool,
      [labels.slot]: String(slot),
      [labels.generation]: generation.id,
    };
    const server = `https://${registrationAddress}:9345`;
    const data = {
      // The join data of the bootstrap server names no other server.
      ...(spec.role === "server" && slot === 0 ? {} : { server }),
      "node-name": name,
      "node-label": Object.entries(nodeLabels).map(([key, value]) => `${key}=${value}`),
    };
    const text = stringify(data);
    vm.disk.set(files.join, text);
    vm.disk.set(files.marker, `${spec.role} ${createHash("sha256").update(text).digest("hex")}\n`);
    if (spec.role === "server") vm.guest?.plantServer(data);
    else {
      vm.disk.set("/var/lib/rancher/rke2/agent/client-kubelet.crt", "yes");
      vm.guest?.boot();
    }
    const since = new Date(this.time.date()).toISOString();
    return { name, slot, generation: generation.id, vmid, uuid: vm.uuid, phase: "handedOver", since };
  }

  /**
   * Writes the record of a pool whose nodes were planted.
   * @param made whether Evergreen made them, and knows their generation
   */
  remember(spec: PoolSpec, nodes: readonly NodeRecord[], made = true): void {
    const generation = generationOf(spec.node);
    const since = new Date(this.time.date()).toISOString();
    const facts = { ...generation, state: "proved", since };
    const data = {
      ...(made ? { [`generation.${generation.id}`]: JSON.stringify(facts) } : {}),
      ...Object.fromEntries(nodes.map((node) => [`node.${node.slot}.${node.generation}`, JSON.stringify(node)])),
    };
    const namespace = "evergreen-system";
    if (!this.cluster.objects.get("namespaces", namespace))
      this.cluster.objects.put("namespaces", { metadata: { name: namespace } });
    this.cluster.objects.put("configmaps", { metadata: { name: `pool-${spec.name}`, namespace }, data });
  }

  private plantImages(images: readonly Image[]): void {
    for (const [index, { name, rke2 }] of images.entries()) {
      const place = { vmid: 9001 + index, host: "pve1", pool: "templates" };
      this.dc.add({
        ...place,
        owner: "template",
        name,
        uuid: this.dc.uuid(),
        tags: ["eg-image", `rke2-${rke2}`],
        template: true,
      });
    }
    for (const vm of this.dc.vms.values()) vm.seen = { name: vm.name, running: false, template: vm.template };
  }

  private hear(line: string): void {
    const who = current.getStore()?.name ?? "";
    if (/::[a-z0-9]{6}\.[a-z0-9]{16}/.test(line)) this.story.wrong(`${who} says a join token`);
    this.story.tell(who, () => `  ${line.replaceAll("\n", `\n${" ".repeat(36)}`)}`);
  }
}
