import { claimsOf, type DataPod } from "../drain/local-data.ts";
import { controllerOf, hasFinished, leaves, type DrainPod } from "../drain/drain.ts";

/** What a pod tells of its placement; Kubernetes' own Pod fits. */
export interface PlacedPod extends DrainPod {
  spec?: NonNullable<DrainPod["spec"]> & NonNullable<DataPod["spec"]>;
  status?: {
    phase?: string | undefined;
    conditions?:
      { type: string; status: string; reason?: string | undefined; message?: string | undefined }[] | undefined;
  };
}

/** A controller whose pods were evicted: it has to bring them somewhere else before another node is drained. */
export interface Displaced {
  namespace: string;
  kind: string;
  name: string;
  /** Pods that it had before, on any node. */
  pods: number;
  /** Pods of it that had no place before already. */
  unplaced: number;
}

/**
 * The controllers of the pods that a drain of these nodes evicts, as they are before it.
 * @param kept claims whose data stays with a node that has left: who uses one has no place anywhere, by the operator's consent
 */
export function displacedFrom(
  pods: readonly PlacedPod[],
  nodes: ReadonlySet<string>,
  kept: ReadonlySet<string> = new Set(),
): Displaced[] {
  const found = new Map<string, Displaced>();
  for (const pod of pods.filter((one) => leaves(one) && nodes.has(one.spec?.nodeName ?? ""))) {
    const controller = controllerOf(pod);
    const namespace = pod.metadata?.namespace ?? "";
    // Nobody makes a pod without a controller again; the drain has named it.
    if (controller === undefined) continue;
    const { kind, name } = controller;
    const own = podsOf(pods, { namespace, kind, name });
    const counts = { pods: own.length, unplaced: own.filter((one) => isUnplaced(one, kept)).length };
    found.set(`${namespace}/${kind}/${name}`, { namespace, kind, name, ...counts });
  }
  return [...found.values()];
}

/**
 * What was evicted and has found no place yet.
 * @param wanted pods that a controller wants now, where that is known
 */
export function unplaced(
  pods: readonly PlacedPod[],
  displaced: readonly Displaced[],
  wanted: (controller: Displaced) => number | undefined,
  kept: ReadonlySet<string> = new Set(),
): string[] {
  return displaced.flatMap((controller) => {
    const waiting = unscheduled(pods, [controller], kept);
    if (waiting.length > 0) return waiting;
    const own = podsOf(pods, controller);
    const least = Math.min(controller.pods, wanted(controller) ?? 0);
    if (own.length >= least) return [];
    const { namespace, kind, name } = controller;
    return [`${kind} ${namespace}/${name} has ${own.length} of ${least} pods`];
  });
}

/** Those of it that wait for the scheduler, and not for a node to let their predecessors go. */
export function unscheduled(
  pods: readonly PlacedPod[],
  displaced: readonly Displaced[],
  kept: ReadonlySet<string> = new Set(),
): string[] {
  return displaced.flatMap((controller) => {
    const waiting = podsOf(pods, controller).filter((one) => isUnplaced(one, kept));
    return waiting.length > controller.unplaced ? waiting.map(whyUnplaced) : [];
  });
}

function podsOf(pods: readonly PlacedPod[], { namespace, kind, name }: Omit<Displaced, "pods" | "unplaced">) {
  return pods.filter((pod) => {
    const controller = controllerOf(pod);
    if (pod.metadata?.namespace !== namespace || controller?.kind !== kind || controller.name !== name) return false;
    return pod.metadata.deletionTimestamp === undefined && !hasFinished(pod);
  });
}

/** Waits for the scheduler. One that its owner holds back by a scheduling gate waits for somebody else. */
function isUnplaced(pod: PlacedPod, kept: ReadonlySet<string>): boolean {
  if ((pod.spec?.nodeName ?? "") !== "" || scheduled(pod)?.reason === "SchedulingGated") return false;
  return !claimsOf(pod).some((claim) => kept.has(claim));
}

function scheduled({ status }: PlacedPod) {
  return status?.conditions?.find(({ type }) => type === "PodScheduled");
}

function whyUnplaced(pod: PlacedPod): string {
  const { namespace = "", name = "" } = pod.metadata ?? {};
  return `${namespace}/${name}: ${scheduled(pod)?.message ?? "the scheduler has not said why"}`;
}
