import type { Chance } from "./chance.ts";
import type { Cluster } from "./cluster.ts";
import type { Stored } from "./objects.ts";
import { epoch } from "./time.ts";

/**
 * The control plane sets a silent node to Unknown after the first time, and deletes its pods after the second, in
 * milliseconds.
 */
const graceMs = 40_000;
const tolerationMs = 300_000;

interface Condition {
  type: string;
  status: string;
  reason: string;
  lastTransitionTime: string;
  lastHeartbeatTime: string | undefined;
}

/** Kubelets and the node lifecycle controller. */
export class Nodes {
  private readonly cluster: Cluster;
  private readonly chance: Chance;
  /** Nodes whose kubelet runs. */
  private readonly alive = new Set<string>();
  /** Nodes whose kubelet runs, while its status does not arrive. */
  private readonly unheard = new Set<string>();
  /** Nodes whose containers run and whose kubelet does not: no pod starts or ends there. */
  private readonly stalled = new Set<string>();

  constructor(cluster: Cluster, chance: Chance) {
    this.cluster = cluster;
    this.chance = chance;
  }

  /** Whether containers of a node run. */
  isAlive(name: string): boolean {
    return this.alive.has(name);
  }

  /** Whether a kubelet starts and ends the node's pods. */
  hasKubelet(name: string): boolean {
    return this.alive.has(name) && !this.stalled.has(name);
  }

  names(): string[] {
    return [...this.alive];
  }

  /** A kubelet registers its Node. @returns false when another machine has this name */
  register(name: string, labels: readonly string[], uuid: string, rke2: string, boot: number): boolean {
    const { objects } = this.cluster;
    const found = objects.get("nodes", name);
    const info = { kubeletVersion: rke2, systemUUID: uuid, bootID: `${uuid}-${boot}` };
    if (found) {
      const before = found.status?.nodeInfo as typeof info | undefined;
      if (before !== undefined && before.systemUUID !== uuid) return false;
      objects.put("nodes", { ...found, status: { ...found.status, nodeInfo: info } });
      return true;
    }
    const pairs = labels.map((label) => label.split("=") as [string, string]);
    const conditions = [this.condition("False", "KubeletNotReady")];
    objects.put("nodes", {
      metadata: { name, labels: { "kubernetes.io/hostname": name, ...Object.fromEntries(pairs) } },
      spec: {},
      status: { nodeInfo: info, conditions },
    });
    objects.put("secrets", { metadata: { name: `${name}.node-password.rke2`, namespace: "kube-system" } });
    return true;
  }

  /** Sets the address at which the node is reached. */
  reachAt(name: string, address: string): void {
    const node = this.cluster.objects.get("nodes", name);
    // Nothing of ours may take the first one for the one at which it is reached.
    const addresses = ["fe80::1", "fd00::9c1f:1", address].map((one) => ({ type: "InternalIP", address: one }));
    if (node) this.cluster.objects.put("nodes", { ...node, status: { ...node.status, addresses } });
  }

  /** Writes what RKE2 writes on the Node of a server: its role in etcd, and its annotations. */
  setVoter(
    name: string,
    status: string,
    reason: string,
    noted: (before: Record<string, string>) => Record<string, string>,
  ): void {
    const node = this.cluster.objects.get("nodes", name);
    if (node === undefined) return;
    const before = (node.status?.conditions ?? []) as Condition[];
    const was = before.find(({ type }) => type === "EtcdIsVoter");
    const annotations = noted(node.metadata.annotations ?? {});
    const isSaid = JSON.stringify(annotations) === JSON.stringify(node.metadata.annotations);
    if (was?.status === status && was.reason === reason && isSaid) return;
    const others = before.filter(({ type }) => type !== "EtcdIsVoter");
    const conditions = [...others, { ...this.condition(status, reason), type: "EtcdIsVoter" }];
    this.cluster.objects.put("nodes", {
      ...node,
      metadata: { ...node.metadata, annotations },
      status: { ...node.status, conditions },
    });
  }

  /** The kubelet runs. @param readyAfter in milliseconds; undefined: the node never becomes Ready */
  speaks(name: string, readyAfter: number | undefined): void {
    this.alive.add(name);
    this.cluster.pods.kubeletStarts(name);
    if (readyAfter === undefined) return;
    this.cluster.time.after(readyAfter, () => {
      if (this.alive.has(name) && !this.unheard.has(name)) this.setReady(name, "True", "KubeletReady");
    });
  }

  /** The kubelet has ended. */
  silent(name: string): void {
    this.alive.delete(name);
    this.stalled.delete(name);
    this.unheard.delete(name);
    this.awaitGrace(name, () => !this.alive.has(name));
  }

  /** The kubelet runs, and its status does not arrive for this many milliseconds. */
  flap(name: string, ms: number): void {
    const node = this.cluster.objects.get("nodes", name);
    if (!this.alive.has(name) || this.unheard.has(name) || node === undefined || !isReady(node)) return;
    this.unheard.add(name);
    this.awaitGrace(name, () => this.unheard.has(name));
    this.cluster.time.after(ms, () => {
      this.unheard.delete(name);
      if (this.alive.has(name)) this.setReady(name, "True", "KubeletReady");
    });
  }

  /**
   * The kubelet ends, or the whole guest is suspended: its containers stay, and no status arrives.
   * @returns a function that ends this
   */
  stall(name: string): () => void {
    const node = this.cluster.objects.get("nodes", name);
    if (!this.alive.has(name) || this.unheard.has(name) || node === undefined || !isReady(node)) return () => undefined;
    this.unheard.add(name);
    this.stalled.add(name);
    this.awaitGrace(name, () => this.stalled.has(name));
    return () => {
      if (!this.stalled.delete(name)) return;
      this.unheard.delete(name);
      if (!this.alive.has(name)) return;
      this.setReady(name, "True", "KubeletReady");
      this.cluster.pods.kubeletStarts(name);
    };
  }

  private awaitGrace(name: string, isSilent: () => boolean): void {
    const { time } = this.cluster;
    time.after(graceMs + this.chance.between(0, 5000), () => {
      if (!isSilent()) return;
      this.setReady(name, "Unknown", "NodeStatusUnknown");
      time.after(tolerationMs, () => {
        if (isSilent()) this.cluster.pods.terminateOn(name);
      });
    });
  }

  private setReady(name: string, status: string, reason: string): void {
    const { objects } = this.cluster;
    const node = objects.get("nodes", name);
    if (node === undefined) return;
    const ready = ((node.status?.conditions ?? []) as Condition[]).find(({ type }) => type === "Ready");
    const heard = { lastHeartbeatTime: this.written() };
    if (ready?.status === status && status !== "True") return;
    const others = ((node.status?.conditions ?? []) as Condition[]).filter(({ type }) => type !== "Ready");
    // The controllers set Unknown and leave the kubelet's last heartbeat as it is.
    const same = ready?.status === status ? ready : this.condition(status, reason);
    const said = status === "Unknown" ? { lastHeartbeatTime: ready?.lastHeartbeatTime } : heard;
    const conditions = [{ ...same, ...said }, ...others];
    objects.put("nodes", { ...node, status: { ...node.status, conditions } });
  }

  private condition(status: string, reason: string): Condition {
    const now = this.written();
    return { type: "Ready", status, reason, lastTransitionTime: now, lastHeartbeatTime: now };
  }

  /** The current time, in the format of a kubelet. */
  private written(): string {
    const { time, aheadMs } = this.cluster;
    return new Date(time.date() + aheadMs).toISOString().replace(/\.\d+Z$/, "Z");
  }
}

export function isReady(node: Stored): boolean {
  const conditions = (node.status?.conditions ?? []) as Condition[];
  return conditions.some(({ type, status }) => type === "Ready" && status === "True");
}

/**
 * Milliseconds from the beginning of the story until Ready got its present status.
 * @param aheadMs how far ahead the clock of the cluster is, which wrote the time
 */
export function readySince(node: Stored, aheadMs: number): number {
  const conditions = (node.status?.conditions ?? []) as Condition[];
  const ready = conditions.find(({ type }) => type === "Ready");
  return Date.parse(ready?.lastTransitionTime ?? "") - aheadMs - epoch;
}

/** Whether new pods may be scheduled to it: it is not cordoned. */
export function isSchedulable({ spec }: Stored): boolean {
  return spec?.unschedulable !== true;
}
