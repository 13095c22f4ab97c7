import type { DrainBudget } from "./drain.ts";
import { isInstanceManager } from "./instance-manager.ts";
import type { Problem } from "../model/problem.ts";
import { titleOf } from "../model/titles.ts";

/*
 * When a node that holds replicas of Longhorn's volumes may leave. Types and rules are those of longhorn-manager 1.12
 * (k8s/pkg/apis/longhorn/v1beta2, controller/volume_controller.go, controller/instance_manager_controller.go).
 */

interface Condition {
  type: string;
  status: string;
  reason?: string | undefined;
}

interface Metadata {
  name?: string;
  namespace?: string;
  annotations?: Record<string, string>;
}

/** The fields of a `nodes.longhorn.io` that are read; it has the name of its Node. */
export interface LonghornNode {
  metadata?: Metadata;
  spec?: {
    allowScheduling?: boolean | undefined;
    evictionRequested?: boolean | undefined;
    disks?: Record<string, { allowScheduling?: boolean; evictionRequested?: boolean }> | null | undefined;
  };
  status?: { conditions?: Condition[] | null | undefined };
}

/** The fields of a `replicas.longhorn.io` that are read: one copy of a volume on a disk of a node. */
export interface LonghornReplica {
  metadata?: Metadata;
  spec?: {
    nodeID?: string | undefined;
    volumeName?: string | undefined;
    /** When it last became a full copy; empty while it is new or being rebuilt. */
    healthyAt?: string | undefined;
    /** When it failed; empty while it is usable. */
    failedAt?: string | undefined;
  };
  status?: { currentState?: string | undefined };
}

/** The fields of a `volumes.longhorn.io` that are read. */
export interface LonghornVolume {
  metadata?: Metadata;
  /** `disabled`, `best-effort` or `strict-local`: then it has one replica, on the node that uses it. */
  spec?: { dataLocality?: string | undefined };
  status?: {
    /** `attached`, `detached`, or a transition between them. */
    state?: string | undefined;
    /** `healthy`, `degraded` or `faulted`; `unknown` while it is detached. */
    robustness?: string | undefined;
    /** The node on which its engine runs: that of the pod that uses it. */
    currentNodeID?: string | undefined;
  };
}

/** All Longhorn objects of a cluster at one moment. */
export interface LonghornStorage {
  nodes: readonly LonghornNode[];
  replicas: readonly LonghornReplica[];
  volumes: readonly LonghornVolume[];
  /** Every PodDisruptionBudget of the cluster. */
  budgets: readonly DrainBudget[];
}

/** The reason why the removal of a node may not begin. */
export interface StorageRefusal extends Problem {
  /**
   * `now`: an operator has to act. `yet`: it may resolve itself, for example when a new node has not reported its disks
   * to Longhorn yet.
   */
  kind: "now" | "yet";
}

const ofNode = "longhorn.io/node";
const nodeGone = "KubernetesNodeGone";

/** The replicas on a node. Failed replicas count as well: one may be all that is left of a volume. */
export function replicasOn(storage: LonghornStorage, node: string): LonghornReplica[] {
  return storage.replicas.filter(({ spec }) => spec?.nodeID === node);
}

/** Names of the volumes that have a replica on a node. */
export function volumesOn(storage: LonghornStorage, node: string): Set<string> {
  return new Set(replicasOn(storage, node).map(volumeOf));
}

/** Whether Longhorn places new replicas on a node. */
function takesReplicas(node: LonghornNode): boolean {
  return whyNoReplicas(node) === undefined;
}

function whyNoReplicas(node: LonghornNode): string | undefined {
  const { allowScheduling, evictionRequested, disks } = node.spec ?? {};
  if (allowScheduling !== true) return "scheduling is off";
  if (evictionRequested === true) return "it is being evicted";
  for (const type of ["Ready", "Schedulable"]) {
    const found = conditionOf(node, type);
    if (found?.status !== "True") return `${type} is ${found?.status ?? "not known"} ${found?.reason ?? ""}`.trim();
  }
  const open = Object.values(disks ?? {}).filter((disk) => disk.allowScheduling === true && !disk.evictionRequested);
  return open.length > 0 ? undefined : "no disk takes replicas";
}

/** Whether Longhorn has noticed that the Node is gone: before that it refuses to delete its own node object. */
export function hasLostItsNode(node: LonghornNode): boolean {
  return conditionOf(node, "Ready")?.reason === nodeGone;
}

function conditionOf(node: LonghornNode, type: string): Condition | undefined {
  return node.status?.conditions?.find((one) => one.type === type);
}

/**
 * Whether a full copy of a volume is on another node that is up. Longhorn marks replicas of a dead node as failed only
 * when the volume is attached, so the node is checked too.
 */
export function isSafeWithout(storage: LonghornStorage, volume: string, node: string): boolean {
  return storage.replicas.some((replica) => {
    const at = replica.spec?.nodeID ?? "";
    return volumeOf(replica) === volume && at !== node && isFullCopy(replica) && isUp(storage, at);
  });
}

function isFullCopy({ spec }: LonghornReplica): boolean {
  return (spec?.healthyAt ?? "") !== "" && (spec?.failedAt ?? "") === "";
}

function isUp(storage: LonghornStorage, name: string): boolean {
  const node = storage.nodes.find(({ metadata }) => metadata?.name === name);
  return node !== undefined && conditionOf(node, "Ready")?.status === "True";
}

/**
 * Whether a replica still matters. A failed replica of a volume that is complete elsewhere does not; Longhorn removes
 * it in its own time.
 */
function counts(storage: LonghornStorage, replica: LonghornReplica, node: string): boolean {
  return (replica.spec?.failedAt ?? "") === "" || !isSafeWithout(storage, volumeOf(replica), node);
}

/**
 * The reasons why the removal of a node may not begin, checked before any change. A faulted volume may need its replica
 * here for a salvage. A replica that no other node takes never leaves, nor does one that is bound to its node
 * (longhorn#8753).
 * @param running whether the node's VM runs and has a Node: other replicas cannot be copied any more
 */
export function refusals(storage: LonghornStorage, node: string, running: boolean): StorageRefusal[] {
  const here = replicasOn(storage, node);
  const faulted = storage.volumes.filter((volume) => volume.status?.robustness === "faulted").map(nameOf);
  const left = here.filter((replica) => counts(storage, replica, node));
  return [
    ...[...volumesOn(storage, node)].filter((name) => faulted.includes(name)).map((name) => faultedHere(name, node)),
    ...(running ? nowhereToGo(storage, node, left) : lostWith(storage, node, left)),
    ...(running ? boundTo(storage, node, left) : []),
  ];
}

function boundTo({ volumes }: LonghornStorage, node: string, left: readonly LonghornReplica[]): StorageRefusal[] {
  const here = new Set(left.map(volumeOf));
  const bound = volumes.filter(({ spec }) => spec?.dataLocality === "strict-local").map(nameOf);
  return bound
    .filter((volume) => here.has(volume))
    .map((volume) => ({
      kind: "now",
      what: `${node} holds the replica of the Longhorn volume ${volume}, which is strict-local: it moves nowhere`,
      where: `volumes.longhorn.io ${volume}, its dataLocality`,
      todo: "stop what uses the volume and set its data locality to best-effort, so that its replica can move; or delete it when nobody needs its data. Then run again",
    }));
}

function faultedHere(volume: string, node: string): StorageRefusal {
  return {
    kind: "now",
    what: `${node} holds a replica of the Longhorn volume ${volume}, which is faulted`,
    where: `volumes.longhorn.io ${volume}`,
    todo: "salvage the volume, restore it from a backup, or delete it; then run again",
  };
}

function nowhereToGo(storage: LonghornStorage, node: string, left: readonly LonghornReplica[]): StorageRefusal[] {
  const others = storage.nodes.filter((one) => nameOf(one) !== node);
  if (left.length === 0 || others.some(takesReplicas)) return [];
  const last = [...new Set(left.map(volumeOf))].filter((volume) => !isSafeWithout(storage, volume, node));
  return [
    {
      kind: "yet",
      what: `no other node takes the ${left.length} Longhorn replicas of ${node}${last.length > 0 ? `, the last ones of ${last.join(", ")}` : ""}`,
      where:
        others.map((one) => `${nameOf(one)}: ${whyNoReplicas(one) ?? ""}`).join("; ") || "Longhorn has no other node",
      todo: "let Longhorn schedule replicas on another node, or add one; then run again",
    },
  ];
}

function lostWith(storage: LonghornStorage, node: string, left: readonly LonghornReplica[]): StorageRefusal[] {
  const last = [...new Set(left.map(volumeOf))].filter((volume) => !isSafeWithout(storage, volume, node));
  return last.map((volume) => ({
    kind: "now",
    what: `${node} is off or has no Node, and holds the last healthy replica of the Longhorn volume ${volume}`,
    where: `volumes.longhorn.io ${volume}`,
    todo: "start its VM, or restart it when somebody has deleted its Node, so that the replica can be rebuilt elsewhere; or delete the volume when nobody needs its data",
  }));
}

/**
 * What still keeps a node from being drained, in words; empty when its storage has moved. A budget counts only when no
 * engine runs on the node: otherwise it is deleted with the last engine, thus with the pods that use volumes, which the
 * drain waits for.
 * @param had volumes that had a replica here when the wait began: they have to be complete again
 */
export function remaining(storage: LonghornStorage, node: string, had: ReadonlySet<string>): string[] {
  const left = replicasOn(storage, node).filter((replica) => counts(storage, replica, node));
  const waiting = [
    ...left.map((replica) => {
      const state = replica.status?.currentState ?? "unknown";
      return `replica ${nameOf(replica)} of volume ${volumeOf(replica)} is still on ${node} (${state})`;
    }),
    ...[...had].flatMap((volume) => whyNotWhole(storage, volume, node)),
  ];
  if (waiting.length > 0 || storage.volumes.some(({ status }) => status?.currentNodeID === node)) return waiting;
  return budgetsOn(storage, node).map(
    (name) => `budget ${name} stays though no replica and no engine is on ${node} (longhorn#12821)`,
  );
}

function whyNotWhole(storage: LonghornStorage, name: string, node: string): string[] {
  const volume = storage.volumes.find((one) => nameOf(one) === name);
  // It was deleted by its owner meanwhile.
  if (volume === undefined) return [];
  const { state = "unknown", robustness = "unknown" } = volume.status ?? {};
  if (!isSafeWithout(storage, name, node)) return [`volume ${name} has no healthy replica on another node`];
  // A detached volume has no robustness: the state of its replicas counts instead.
  return state === "detached" || robustness === "healthy" ? [] : [`volume ${name} is ${robustness}`];
}

/** The budgets of a node's instance managers, as `namespace/name`. */
function budgetsOn(storage: LonghornStorage, node: string): string[] {
  return storage.budgets
    .filter(({ spec }) => {
      const labels = spec?.selector?.matchLabels;
      return isInstanceManager(labels) && labels?.[ofNode] === node;
    })
    .map(titleOf);
}

const volumeOf = (replica: LonghornReplica): string => replica.spec?.volumeName ?? "";
const nameOf = ({ metadata }: { metadata?: Metadata }): string => metadata?.name ?? "";
