/** A small Longhorn: replicas move when their node is evicted, and budgets hold nodes until the replicas have moved. */
import { setTimeout as delay } from "node:timers/promises";
import type { Kube, KubeObject } from "../kube.ts";
import { workloadNamespace } from "../load/workload.ts";
import type { Profile } from "../types.ts";
import {
  collections,
  definitions,
  longhornDefaults,
  managerOf,
  namespace,
  newBudget,
  newManager,
  newNode,
  newReplica,
  newVolume,
  nodeConditions,
  type LonghornNode,
  type LonghornOptions,
  type Replica,
  type Volume,
} from "./objects.ts";

interface Node extends KubeObject {
  spec: { unschedulable?: boolean };
  status?: { conditions?: { type: string; status: string }[] };
}

interface Pod extends KubeObject {
  spec: { nodeName?: string };
}

/** Everything that a turn decides on. */
interface World {
  nodes: Map<string, Node>;
  known: LonghornNode[];
  replicas: Replica[];
  volumes: Volume[];
  pods: Pod[];
  budgets: KubeObject[];
}

/** Milliseconds between two turns. */
const turn = 150;
const noMore = () => undefined;

export class Longhorn {
  private readonly kube: Kube;
  private readonly profile: Profile;
  private readonly signal: AbortSignal;
  private options = longhornDefaults;
  private running: Promise<void> | undefined;
  /** When each rebuild began, milliseconds of the monotonic clock. */
  private readonly rebuilds = new Map<string, number>();
  private count = 0;

  constructor(kube: Kube, profile: Profile, signal: AbortSignal) {
    this.kube = kube;
    this.profile = profile;
    this.signal = signal;
  }

  /** Installs Longhorn, or changes its options; resolves when all volumes exist and are healthy. */
  async order(changes: Partial<LonghornOptions>): Promise<void> {
    this.options = { ...this.options, ...changes };
    for (const one of definitions) await this.make(collections.definitions, one);
    await this.make("/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } });
    this.running ??= this.run();
    for (let tries = 0; !this.options.stuck && !(await this.isWhole()); tries++) {
      if (tries > 100) throw new Error("Longhorn's volumes did not come");
      await delay(turn);
    }
  }

  private async isWhole(): Promise<boolean> {
    const volumes = await this.list<Volume>(collections.volumes).catch(() => []);
    const whole = volumes.filter(({ status }) => status?.robustness === "healthy" && status.currentNodeID !== "");
    return whole.length >= this.options.volumes;
  }

  private async run(): Promise<void> {
    while (!this.signal.aborted) {
      // The API server may be down, or another client was faster: the next turn tries again.
      await this.turn().catch(noMore);
      await delay(turn, undefined, { signal: this.signal }).catch(noMore);
    }
  }

  private async turn(): Promise<void> {
    const world = await this.look();
    await this.keepNodes(world);
    await this.keepVolumes(world);
    for (const volume of world.volumes) await this.keepReplicas(world, volume);
    for (const node of world.known) await this.keepManager(world, node);
  }

  private async look(): Promise<World> {
    const agents = "/api/v1/nodes?labelSelector=%21node-role.kubernetes.io%2Fcontrol-plane";
    const [nodes, known, replicas, volumes, pods, budgets] = await Promise.all([
      this.list<Node>(agents),
      this.list<LonghornNode>(collections.nodes),
      this.list<Replica>(collections.replicas),
      this.list<Volume>(collections.volumes),
      this.list<Pod>("/api/v1/pods"),
      this.list<KubeObject>(collections.budgets),
    ]);
    return { nodes: new Map(nodes.map((node) => [node.metadata.name, node])), known, replicas, volumes, pods, budgets };
  }

  /** Every agent is a Longhorn node, which is removed a turn after its Kubernetes Node was seen to be gone. */
  private async keepNodes({ nodes, known, replicas }: World): Promise<void> {
    for (const [name, node] of nodes) {
      if (isReady(node) && !known.some(({ metadata }) => metadata.name === name))
        await this.make(collections.nodes, newNode(name));
    }
    for (const one of known) {
      const { name } = one.metadata;
      const node = nodes.get(name);
      const lost = one.status?.conditions?.some(({ reason }) => reason === "KubernetesNodeGone") ?? false;
      if (!node && lost && !replicas.some(({ spec }) => spec.nodeID === name)) {
        await this.remove(`${collections.nodes}/${name}`);
        continue;
      }
      const cordoned = node?.spec.unschedulable === true;
      const conditions = nodeConditions(node !== undefined && isReady(node), !cordoned, !node);
      if (JSON.stringify(conditions) === JSON.stringify(one.status?.conditions)) continue;
      await this.patch(`${collections.nodes}/${name}`, { status: { conditions } });
    }
  }

  private async keepVolumes({ volumes, replicas, known }: World): Promise<void> {
    for (let index = volumes.length; index < this.options.volumes; index++)
      await this.make(collections.volumes, newVolume(`pvc-${index}`, this.options.replicas));
    for (const { metadata, spec } of volumes) {
      const have = new Set(
        replicas.filter((one) => one.spec.volumeName === metadata.name).map((one) => one.spec.nodeID),
      );
      if (have.size > 0) continue;
      // A new volume starts with all its replicas, spread so that every node has some.
      const places = known.filter(takesReplicas).map((one) => one.metadata.name);
      const first = Number(metadata.name.slice("pvc-".length));
      for (let copy = 0; copy < Math.min(spec.numberOfReplicas, places.length); copy++)
        await this.place(metadata.name, places[(first + copy) % places.length] ?? "", new Date().toISOString());
    }
  }

  /** Copies a replica of an evicted node, then removes it; an incomplete copy goes when the eviction is cancelled. */
  private async keepReplicas(world: World, volume: Volume): Promise<void> {
    const { name } = volume.metadata;
    const own = world.replicas.filter(({ spec }) => spec.volumeName === name);
    const evicting = own.filter(({ spec }) =>
      world.known.some((node) => isEvicted(node) && node.metadata.name === spec.nodeID),
    );
    const fresh = own.find(({ spec }) => spec.healthyAt === "");
    if (fresh && evicting.length === 0) await this.remove(`${collections.replicas}/${fresh.metadata.name}`);
    else if (fresh) await this.rebuild(fresh, evicting);
    else if (evicting.length > 0) {
      const taken = new Set(own.map(({ spec }) => spec.nodeID));
      const place = world.known.find((node) => takesReplicas(node) && !taken.has(node.metadata.name));
      if (place) await this.place(name, place.metadata.name, "");
    }
    await this.keepStatus(world, volume, fresh !== undefined && evicting.length > 0, own);
  }

  private async rebuild(fresh: Replica, evicting: readonly Replica[]): Promise<void> {
    const { name } = fresh.metadata;
    const since = this.rebuilds.get(name) ?? performance.now();
    this.rebuilds.set(name, since);
    if (this.options.stuck || performance.now() - since < this.profile.rebuild) return;
    this.rebuilds.delete(name);
    await this.patch(`${collections.replicas}/${name}`, { spec: { healthyAt: new Date().toISOString() } });
    const [old] = evicting;
    if (old) await this.remove(`${collections.replicas}/${old.metadata.name}`);
  }

  /** The engine follows the pod that uses the volume: it leaves a cordoned node with the last pod of the workload. */
  private async keepStatus(world: World, volume: Volume, rebuilds: boolean, own: readonly Replica[]): Promise<void> {
    if (own.length === 0) return;
    const before = volume.status?.currentNodeID ?? "";
    const node = world.nodes.get(before);
    const inUse = world.pods.some(
      ({ metadata, spec }) => metadata.namespace === workloadNamespace && spec.nodeName === before,
    );
    const stays = node !== undefined && (node.spec.unschedulable !== true || inUse);
    const open = own.find(({ spec }) => world.nodes.get(spec.nodeID)?.spec.unschedulable !== true);
    const currentNodeID = stays ? before : (open?.spec.nodeID ?? before);
    const status = { state: "attached", robustness: rebuilds ? "degraded" : "healthy", currentNodeID };
    if (volume.status?.robustness === status.robustness && before === currentNodeID) return;
    // A volume that was set to faulted stays faulted.
    if (volume.status?.robustness === "faulted") return;
    await this.patch(`${collections.volumes}/${volume.metadata.name}`, { status });
  }

  /** Removes the budget of a cordoned node without replicas and engines; its manager is not created again there. */
  private async keepManager(world: World, { metadata: { name } }: LonghornNode): Promise<void> {
    const node = world.nodes.get(name);
    if (!node || !isReady(node)) return;
    const used =
      world.replicas.some(({ spec }) => spec.nodeID === name) ||
      world.volumes.some(({ status }) => status?.currentNodeID === name);
    const budget = world.budgets.some(({ metadata }) => metadata.name === managerOf(name));
    if (node.spec.unschedulable === true) {
      if (budget && !used) await this.remove(`${collections.budgets}/${managerOf(name)}`);
      return;
    }
    const pod = world.pods.some(
      ({ metadata }) => metadata.namespace === namespace && metadata.name === managerOf(name),
    );
    if (!pod) await this.make(collections.pods, newManager(name));
    else if (!budget) await this.make(collections.budgets, newBudget(name));
  }

  private async place(volume: string, node: string, healthyAt: string): Promise<void> {
    this.count += 1;
    await this.make(collections.replicas, newReplica(`${volume}-r-${this.count}`, volume, node, healthyAt));
  }

  private async list<T>(path: string): Promise<T[]> {
    const { status, body } = await this.kube.call<{ items: T[] }>("GET", path);
    if (status !== 200) throw new Error(`list ${path}: ${status}`);
    return body.items;
  }

  private async make(collection: string, object: object): Promise<void> {
    const { status, body } = await this.kube.call<{ message?: string }>("POST", collection, object);
    if (status !== 201 && status !== 409) throw new Error(`${collection}: ${body.message ?? status}`);
  }

  private async patch(path: string, body: object): Promise<void> {
    const { status } = await this.kube.call("PATCH", path, body);
    if (status !== 200 && status !== 404) throw new Error(`${path}: ${status}`);
  }

  private async remove(path: string): Promise<void> {
    await this.kube.call("DELETE", path);
  }
}

function isReady({ status }: Node): boolean {
  return status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}

const isEvicted = (node: LonghornNode): boolean => node.spec.evictionRequested;

function takesReplicas({ spec, status }: LonghornNode): boolean {
  const open = status?.conditions?.every((one) => one.status === "True") ?? false;
  return open && spec.allowScheduling && !spec.evictionRequested;
}
