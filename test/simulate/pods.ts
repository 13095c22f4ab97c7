import type { Chance } from "./chance.ts";
import type { Cluster } from "./cluster.ts";
import { DaemonSets } from "./daemon-sets.ts";
import { lookSoon } from "./look.ts";
import { isReady, isSchedulable } from "./nodes.ts";
import { keyOf, type Stored } from "./objects.ts";
import { PodImages, type Missing, type SlowRegistry } from "./pod-images.ts";
import { reachesVolumes } from "./zonal-volumes.ts";

/** An application in the cluster. */
export interface Workload {
  name: string;
  replicas: number;
  /** Of its PodDisruptionBudget. */
  minAvailable: number;
  /** Longest time that a pod takes to end, in milliseconds. */
  slowestEnd: number;
  /** Whether each pod has a volume that has to be detached. */
  claims: boolean;
  /** A label that a node must have. */
  selector?: string;
  /** Whether it also runs on cordoned and tainted nodes. */
  toleratesAll?: boolean;
  /** The claim of a volume that is bound: its pods also run on servers. */
  volume?: string;
}

/** Delay of the controllers after a change, in milliseconds. */
const lookMs = 150;

/** How often a drain evicts the pods of a controller that come back (src/clients/kubernetes/eviction.ts). */
const mostReturns = 2;

/** Workload controllers, scheduler, pod garbage collector, and what kubelets do to pods. */
export class Pods {
  private readonly cluster: Cluster;
  private readonly workloads: Workload[];
  private readonly daemons: DaemonSets;
  private readonly chance: Chance;
  private made = 0;
  private readonly images: PodImages;
  /** How many pods of a workload were scheduled to a node after its cordon, by both their names. */
  private readonly returns = new Map<string, number>();

  constructor(cluster: Cluster, workloads: Workload[], chance: Chance) {
    this.cluster = cluster;
    this.workloads = workloads;
    this.chance = chance;
    this.daemons = new DaemonSets(cluster.objects);
    this.images = new PodImages(cluster, chance);
    for (const workload of workloads) this.makeReplicaSet(workload);
    const ask = lookSoon(cluster.time, lookMs, () => this.look());
    cluster.objects.onChange(({ collection, object, removed }) => {
      if (collection === "nodes" && removed) this.collect(object.metadata.name);
      if (collection === "nodes" && !removed && isOutOfService(object)) this.releaseVolumes(object.metadata.name);
      if (collection === "pods" || collection === "nodes") ask();
    });
    ask();
  }

  /** Deploys a workload. @returns a function that removes it and its pods */
  deploy(workload: Workload): () => void {
    this.workloads.push(workload);
    this.makeReplicaSet(workload);
    this.look();
    return () => {
      this.workloads.splice(this.workloads.indexOf(workload), 1);
      this.cluster.objects.remove("replicasets", `load/${workload.name}`);
      for (const pod of this.cluster.objects.list("pods")) if (appOf(pod) === workload.name) this.remove(pod);
    };
  }

  /** Scales a workload down to nothing. */
  withdraw(name: string): void {
    for (const workload of this.workloads) if (workload.name === name) workload.replicas = 0;
    this.cluster.objects.put("replicasets", { metadata: { name, namespace: "load" }, spec: { replicas: 0 } });
    for (const pod of this.cluster.objects.list("pods")) if (appOf(pod) === name) this.remove(pod);
  }

  /**
   * No node can start pods of a workload that it has not started before: the registry does not answer, or a driver of
   * their volumes does not. @returns a function that brings it back
   */
  lose(what: Missing): () => void {
    return this.untilBack(this.images.lose(what));
  }

  /**
   * A registry is slow, and no node has the images of daemons in its own image: each new one pulls them, one after the
   * other. @returns a function that makes it fast again: what is being pulled is there at once
   */
  slowDown(slow: SlowRegistry): () => void {
    return this.untilBack(this.images.slowDown(slow, this.cluster.objects.list("pods").filter(isPodReady)));
  }

  private untilBack(end: () => void): () => void {
    return () => {
      end();
      for (const pod of this.cluster.objects.list("pods")) if (isRefused(pod)) this.start(pod);
    };
  }

  /** A node no longer has the images of a workload: its kubelet has made room, and the pods that run keep theirs. */
  forgetImages(app: string, node: string): void {
    this.images.forget(node, app);
  }

  /** A pod is bound to a node, however things are there by now: the scheduler has decided a moment ago. */
  bindLate(app: string, node: string): void {
    const pod = this.put(`${app}-${(this.made += 1)}`, "load", "ReplicaSet", app, node);
    if (this.cluster.nodes.hasKubelet(node)) this.start(pod);
  }

  /** Deploys a DaemonSet that works nowhere. @returns a function that removes it */
  deployBrokenDaemon(): () => void {
    const takeAway = this.daemons.addBroken();
    for (const node of this.cluster.nodes.names()) this.startDaemons(node);
    return () => {
      takeAway();
      for (const pod of this.cluster.objects.list("pods")) if (!this.works(pod)) this.remove(pod);
    };
  }

  private works({ metadata }: Stored): boolean {
    return this.daemons.works(metadata.labels?.daemon);
  }

  private makeReplicaSet({ name, replicas }: Workload): void {
    this.cluster.objects.put("replicasets", { metadata: { name, namespace: "load" }, spec: { replicas } });
  }

  /** Whether the image of a pod is on its way: it starts by itself. */
  isPulled(pod: Stored): boolean {
    return this.images.isPulled(pod);
  }

  /** Pods of workloads on a node, without its DaemonSet pods. */
  servingOn(node: string): Stored[] {
    return this.on(node).filter((pod) => pod.metadata.labels?.app !== undefined);
  }

  /**
   * Whether a pod may still run when its node is turned off: it tolerates everything and comes back after every
   * eviction, it has no volume, and enough other pods are Ready.
   */
  mayGoWithNode(pod: Stored): boolean {
    const { toleratesAll = false, claims = true, minAvailable = 0 } = this.workloadOf(pod) ?? {};
    const isElsewhere = (one: Stored) => appOf(one) === appOf(pod) && nodeOf(one) !== nodeOf(pod) && isPodReady(one);
    const left = this.cluster.objects.list("pods").filter(isElsewhere).length;
    const returns = this.returns.get(`${nodeOf(pod)}/${appOf(pod) ?? ""}`) ?? 0;
    return toleratesAll && !claims && returns > mostReturns && left >= minAvailable;
  }

  kubeletStarts(node: string): void {
    this.startDaemons(node);
    for (const pod of this.on(node)) this.start(pod);
  }

  private startDaemons(node: string): void {
    for (const daemon of this.daemons.names) {
      const key = `kube-system/${daemon}-${node}`;
      if (this.cluster.objects.get("pods", key) === undefined)
        this.put(`${daemon}-${node}`, "kube-system", "DaemonSet", daemon, node);
    }
  }

  /** Deletes a pod with its grace period. */
  terminate(pod: Stored): void {
    if (pod.metadata.deletionTimestamp !== undefined) return;
    const deletionTimestamp = new Date(this.cluster.time.date()).toISOString();
    const ending = this.cluster.objects.put("pods", { ...pod, metadata: { ...pod.metadata, deletionTimestamp } });
    const slowest = this.workloadOf(pod)?.slowestEnd ?? 2000;
    this.cluster.time.after(this.chance.between(200, slowest), () => this.end(ending));
  }

  terminateOn(node: string): void {
    for (const pod of this.servingOn(node)) this.terminate(pod);
  }

  private workloadOf(pod: Stored): Workload | undefined {
    return this.workloads.find(({ name }) => name === appOf(pod));
  }

  private on(node: string): Stored[] {
    return this.cluster.objects.list("pods").filter(({ spec }) => spec?.nodeName === node);
  }

  /** The kubelet reports that the pod has ended; without a kubelet the pod stays. */
  private end(pod: Stored): void {
    const { objects, nodes, time } = this.cluster;
    const found = objects.get("pods", keyOf(pod));
    if (found?.metadata.uid !== pod.metadata.uid) return;
    const node = nodeOf(pod);
    if (node !== "" && !nodes.hasKubelet(node)) time.after(5000, () => this.end(pod));
    else this.remove(found);
  }

  private remove(pod: Stored): void {
    const { objects, time } = this.cluster;
    objects.remove("pods", keyOf(pod));
    const attachment = `csi-${pod.metadata.name}`;
    if (objects.get("volumeattachments", attachment)) {
      time.after(this.chance.between(500, 8000), () => objects.remove("volumeattachments", attachment));
    }
  }

  /** Removes the pods of a Node that no longer exists. */
  private collect(node: string): void {
    this.cluster.time.after(1000, () => {
      if (this.cluster.objects.get("nodes", node)) return;
      for (const pod of this.on(node)) this.remove(pod);
    });
  }

  /** The node has the out-of-service taint: its terminating pods are removed, and their volumes detached. */
  private releaseVolumes(node: string): void {
    this.cluster.time.after(1000, () => {
      for (const pod of this.on(node)) if (pod.metadata.deletionTimestamp !== undefined) this.remove(pod);
    });
  }

  private look(): void {
    const pods = this.cluster.objects.list("pods").filter(({ metadata }) => metadata.deletionTimestamp === undefined);
    for (const { name, replicas } of this.workloads) {
      const own = pods.filter(({ metadata }) => metadata.labels?.app === name);
      for (let count = own.length; count < replicas; count += 1)
        this.put(`${name}-${(this.made += 1)}`, "load", "ReplicaSet", name);
    }
    for (const pod of this.cluster.objects.list("pods")) if (pod.spec?.nodeName === undefined) this.schedule(pod);
    this.daemons.tell(isPodReady);
  }

  private schedule(pod: Stored): void {
    const { objects, nodes } = this.cluster;
    const workload = this.workloadOf(pod);
    const { toleratesAll = false, selector, volume } = workload ?? {};
    const agents = objects
      .list("nodes")
      .filter(
        (node) =>
          isReady(node) &&
          (toleratesAll || (isSchedulable(node) && !isTainted(node))) &&
          hasSelected(node, selector) &&
          reachesVolumes(this.cluster, volume, node) &&
          (volume !== undefined || node.metadata.labels?.["node-role.kubernetes.io/control-plane"] === undefined),
      );
    const weight = (node: Stored): number => this.on(node.metadata.name).length + (isAvoided(node) ? 1000 : 0);
    // A pod that tolerates everything prefers the node that is being drained, which has the most room.
    const best = agents.toSorted((a, b) => weight(a) - weight(b))[0];
    if (best === undefined) return;
    const { name } = best.metadata;
    const bound = objects.put("pods", { ...pod, spec: { ...pod.spec, nodeName: name } });
    if (workload?.claims === true) this.attach(bound, name);
    const returns = `${name}/${workload?.name ?? ""}`;
    if (!isSchedulable(best)) this.returns.set(returns, 1 + (this.returns.get(returns) ?? 0));
    if (nodes.hasKubelet(name)) this.start(bound);
  }

  private attach({ metadata }: Stored, nodeName: string): void {
    this.cluster.objects.put("volumeattachments", {
      metadata: { name: `csi-${metadata.name}` },
      spec: { attacher: "csi.example", nodeName, source: { persistentVolumeName: `pv-${metadata.name}` } },
    });
  }

  /** The kubelet starts the pod, or restarts it. */
  private start(pod: Stored): void {
    if (isPodReady(pod)) this.setReady(pod, "False");
    if (!this.works(pod)) return;
    this.cluster.time.after(this.chance.between(300, 6000), () => {
      if (!this.cluster.nodes.hasKubelet(nodeOf(pod))) return;
      const image = this.images.find(pod);
      if (image === "there") this.setReady(pod, "True");
      else if (image === "missing") this.setWaiting(pod, this.images.whyMissing());
      else {
        this.setWaiting(pod, { reason: "ContainerCreating" });
        this.images.pull(pod, image, () => this.setReady(pod, "True"));
      }
    });
  }

  private setWaiting(pod: Stored, waiting: object): void {
    const { objects } = this.cluster;
    const found = objects.get("pods", keyOf(pod));
    if (found?.metadata.uid !== pod.metadata.uid) return;
    const status = { phase: "Pending", conditions: [], containerStatuses: [{ restartCount: 0, state: { waiting } }] };
    objects.put("pods", { ...found, status });
  }

  private setReady(pod: Stored, status: string): void {
    const { objects } = this.cluster;
    const found = objects.get("pods", keyOf(pod));
    if (found?.metadata.uid !== pod.metadata.uid) return;
    const conditions = [{ type: "Ready", status }];
    const containerStatuses = [{ restartCount: 0 }];
    objects.put("pods", { ...found, status: { ...found.status, phase: "Running", conditions, containerStatuses } });
  }

  private put(name: string, namespace: string, kind: string, owner: string, node?: string): Stored {
    const uid = kind === "DaemonSet" ? this.daemons.uidOf(owner) : `owner-${owner}`;
    return this.cluster.objects.put("pods", {
      metadata: {
        name,
        namespace,
        labels: kind === "DaemonSet" ? { daemon: owner } : { app: owner },
        ownerReferences: [{ kind, name: owner, uid, controller: true }],
      },
      spec: {
        ...(kind === "ReplicaSet" ? this.askedBy(owner) : {}),
        ...(node === undefined ? {} : { nodeName: node }),
      },
      status: { phase: "Pending", conditions: [], containerStatuses: [{ restartCount: 0 }] },
    });
  }

  /** What the pods of a workload ask of a node. */
  private askedBy(name: string): object {
    const { selector, volume } = this.workloads.find((one) => one.name === name) ?? {};
    if (volume !== undefined) return { volumes: [{ name: "data", persistentVolumeClaim: { claimName: volume } }] };
    const [key, value] = selector?.split("=") ?? [];
    if (key === undefined) return {};
    if (value !== undefined) return { nodeSelector: { [key]: value } };
    const nodeSelectorTerms = [{ matchExpressions: [{ key, operator: "Exists" }] }];
    return { affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } } };
  }
}

function appOf({ metadata }: Stored): string | undefined {
  return metadata.labels?.app;
}

/** @param selector `key`, or `key=value` */
function hasSelected({ metadata }: Stored, selector: string | undefined): boolean {
  const [key = "", value] = selector?.split("=") ?? [];
  const own = metadata.labels?.[key];
  return selector === undefined || (value === undefined ? own !== undefined : own === value);
}

function isTainted({ spec }: Stored): boolean {
  const taints = (spec?.taints ?? []) as { effect: string }[];
  return taints.some(({ effect }) => effect === "NoSchedule" || effect === "NoExecute");
}

/** Empty while the pod is not scheduled. */
export function nodeOf({ spec }: Stored): string {
  return typeof spec?.nodeName === "string" ? spec.nodeName : "";
}

export function isPodReady({ status }: Stored): boolean {
  const conditions = (status?.conditions ?? []) as { type: string; status: string }[];
  return conditions.some((one) => one.type === "Ready" && one.status === "True");
}

/** Whether its node lacks what it needs. */
export function isRefused({ status }: Stored): boolean {
  const containers = (status?.containerStatuses ?? []) as { state?: { waiting?: object } }[];
  return containers.some(({ state }) => state?.waiting !== undefined);
}

function isOutOfService({ spec }: Stored): boolean {
  const taints = (spec?.taints ?? []) as { key: string }[];
  return taints.some(({ key }) => key === "node.kubernetes.io/out-of-service");
}

function isAvoided({ spec }: Stored): boolean {
  const taints = (spec?.taints ?? []) as { effect: string }[];
  return taints.some(({ effect }) => effect === "PreferNoSchedule");
}
