import { claimsOf, type DataPod } from "../drain/local-data.ts";
import { asksForNodes, mayRunOn, type SelectingPod } from "../drain/by-hand.ts";
import type { AffinityNode } from "../drain/node-affinity.ts";
import { controllerOf, hasFinished, isControlledBy, leaves } from "../drain/drain.ts";
import { titleOf } from "../model/titles.ts";
import type { Displaced, NamedController } from "../model/types.ts";
import { cannotStart, hasStarted, isRefused, whyNotStarted, type NotStarted, type StartingPod } from "./starting.ts";

/** The fields of a pod that describe its placement; Kubernetes' own Pod fits. */
export interface PlacedPod extends Omit<StartingPod, "status"> {
  spec?: NonNullable<SelectingPod["spec"]> & NonNullable<DataPod["spec"]>;
  status?: Omit<NonNullable<StartingPod["status"]>, "conditions"> & {
    conditions?:
      { type: string; status: string; reason?: string | undefined; message?: string | undefined }[] | undefined;
  };
}

/**
 * The controllers of the pods that a drain of these nodes evicts, in their state before it.
 * @param kept PersistentVolumeClaims whose data stays with a node that has left: a pod that uses one cannot be
 * scheduled anywhere, which the operator has accepted
 */
export function displacedFrom(
  pods: readonly PlacedPod[],
  nodes: ReadonlySet<string>,
  kept: ReadonlySet<string> = new Set(),
): Displaced[] {
  const found = new Map<string, Displaced>();
  for (const pod of pods.filter((one) => leaves(one) && nodes.has(nodeOf(one)))) {
    const controller = controllerOf(pod);
    const namespace = pod.metadata?.namespace ?? "";
    // A pod without a controller is not created again; the drain has reported it.
    if (controller === undefined) continue;
    const { kind, name } = controller;
    const own = podsOf(pods, { namespace, kind, name });
    const unstarted = own.filter(isUnstarted).length;
    const counts = {
      pods: own.length,
      unplaced: own.filter((one) => isUnplaced(one, kept)).length,
      ...(unstarted === 0 ? {} : { unstarted }),
    };
    // Pods that are just being made are no failure.
    const failing = own.some(hasStarted) || !own.some(cannotStart) ? {} : { failing: true as const };
    found.set(`${namespace}/${kind}/${name}`, { namespace, kind, name, ...counts, ...failing });
  }
  return [...found.values()];
}

/**
 * The evicted pods that are not scheduled yet, in words.
 * @param wanted number of pods that a controller wants now, where that is known
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
    // A StatefulSet makes no pod before those with lower numbers are Ready, and one of them waits for its data.
    if (own.some((pod) => usesAny(pod, kept))) return [];
    const least = Math.min(controller.pods, wanted(controller) ?? 0);
    if (own.length >= least) return [];
    const { namespace, kind, name } = controller;
    return [`${kind} ${namespace}/${name} has ${own.length} of ${least} pods`];
  });
}

/**
 * The evicted pods that wait for the scheduler, as opposed to those that are not created until a node releases their
 * predecessors.
 */
export function unscheduled(
  pods: readonly PlacedPod[],
  displaced: readonly Displaced[],
  kept: ReadonlySet<string> = new Set(),
): string[] {
  return displaced.flatMap((controller) => {
    const own = podsOf(pods, controller);
    const waiting = own.filter((one) => isUnplaced(one, kept));
    // Others may have been added by an autoscaler, and were never evicted.
    const hasAsManyAsBefore = own.length - waiting.length >= controller.pods - controller.unplaced;
    return waiting.length > controller.unplaced && !hasAsManyAsBefore ? waiting.map(whyUnplaced) : [];
  });
}

/**
 * The evicted pods that have a node and have not started there, in words. Those of a controller that none of them could
 * start for before are none.
 * @param wanted number of pods that a controller wants now, where that is known
 */
export function unstarted(
  pods: readonly PlacedPod[],
  displaced: readonly Displaced[],
  wanted: (controller: Displaced) => number | undefined,
  kept: ReadonlySet<string> = new Set(),
): string[] {
  return displaced.flatMap((one) => shortageOf(pods, one, wanted, kept).waiting).map(whyNotStarted);
}

/**
 * The same by node: those on a node that has started others are no less down.
 * @returns with the nodes that cannot fetch or create them first
 */
export function unstartedByNode(
  pods: readonly PlacedPod[],
  displaced: readonly Displaced[],
  wanted: (controller: Displaced) => number | undefined,
  kept: ReadonlySet<string> = new Set(),
): NotStarted[] {
  const left = displaced.map((one) => shortageOf(pods, one, wanted, kept));
  const nodes = new Set(left.flatMap((one) => one.waiting).map(nodeOf));
  const each = [...nodes].map((node): NotStarted => {
    const isOn = (pod: PlacedPod) => nodeOf(pod) === node;
    const waiting = left.flatMap((one) => one.waiting).filter(isOn);
    return {
      node,
      is: waiting.some(isRefused) ? "refused" : "waiting",
      pods: waiting.map(whyNotStarted),
      started: pods.filter((pod) => isOn(pod) && leaves(pod) && hasStarted(pod)).length,
      fewer: left.filter((one) => one.waiting.some(isOn)).map((one) => one.title),
    };
  });
  return each.toSorted((a, b) => Number(b.is === "refused") - Number(a.is === "refused"));
}

/** Pods of a controller that have a node and have not started there, while fewer than before have. */
interface Shortage {
  waiting: readonly PlacedPod[];
  /** The controller, and how many of its pods have started, of how many. */
  title: string;
}

function shortageOf(
  pods: readonly PlacedPod[],
  controller: Displaced,
  wanted: (controller: Displaced) => number | undefined,
  kept: ReadonlySet<string>,
): Shortage {
  const own = podsOf(pods, controller);
  const before = controller.pods - controller.unplaced - (controller.unstarted ?? 0);
  const least = controller.failing === true ? 0 : Math.min(before, wanted(controller) ?? before);
  const started = own.filter(hasStarted).length;
  const { namespace, kind, name } = controller;
  const title = `${kind} ${namespace}/${name}: ${started} of ${least} run`;
  return { title, waiting: started >= least ? [] : own.filter((pod) => isUnstarted(pod) && !usesAny(pod, kept)) };
}

const nodeOf = ({ spec }: PlacedPod): string => spec?.nodeName ?? "";

/**
 * The evicted pods that went to nodes which leave as well, and that no node which stays has the labels for, in words: they
 * would go from one to the next until none is left.
 * @param wanted number of pods that a controller wants now, where that is known
 */
export function transient(
  pods: readonly PlacedPod[],
  displaced: readonly Displaced[],
  wanted: (controller: Displaced) => number | undefined,
  { stay, leave }: Members,
): string[] {
  const isAway = (pod: PlacedPod) => leave.has(nodeOf(pod));
  return displaced.flatMap((controller) => {
    const own = podsOf(pods, controller);
    const homeless = own.filter((pod) => isAway(pod) && !stay.some((node) => mayRunOn(pod, node)));
    const before = controller.pods - controller.unplaced;
    const enough = own.length - homeless.length >= Math.min(before, wanted(controller) ?? before);
    return enough ? [] : homeless.map(whyTransient);
  });
}

/**
 * Whether evicted pods that ask for nodes are on some of these: of others nobody has to know the labels of nodes.
 * @param names of nodes that leave
 */
export function mayBeTransient(
  pods: readonly PlacedPod[],
  displaced: readonly Displaced[],
  names: ReadonlySet<string>,
): boolean {
  return displaced.some((one) => podsOf(pods, one).some((pod) => names.has(nodeOf(pod)) && asksForNodes(pod)));
}

/** The nodes that there are. */
export interface Members {
  stay: readonly AffinityNode[];
  /** Names of those that leave. */
  leave: ReadonlySet<string>;
}

const whyTransient = (pod: PlacedPod): string =>
  `${titleOf(pod)}: ${nodeOf(pod)}, where it is, leaves as well, and no node that stays or comes has the labels that it asks for`;

/**
 * Of the same controller in several lists the strictest that is said of it: it may have been looked at while some of its
 * pods were evicted already.
 */
export function strictest(all: readonly Displaced[]): Displaced[] {
  const found = new Map<string, Displaced>();
  for (const one of all) {
    const key = `${one.namespace}/${one.kind}/${one.name}`;
    const before = found.get(key);
    found.set(key, before === undefined ? one : stricter(before, one));
  }
  return [...found.values()];
}

function stricter(one: Displaced, other: Displaced): Displaced {
  const { namespace, kind, name } = one;
  const least = Math.min(one.unstarted ?? 0, other.unstarted ?? 0);
  return {
    namespace,
    kind,
    name,
    pods: Math.max(one.pods, other.pods),
    unplaced: Math.min(one.unplaced, other.unplaced),
    ...(least > 0 ? { unstarted: least } : {}),
    ...(one.failing && other.failing ? { failing: true as const } : {}),
  };
}

function podsOf(pods: readonly PlacedPod[], controller: NamedController): PlacedPod[] {
  return pods.filter(
    (pod) => isControlledBy(pod, controller) && pod.metadata?.deletionTimestamp === undefined && !hasFinished(pod),
  );
}

const isUnstarted = (pod: PlacedPod): boolean => nodeOf(pod) !== "" && !hasStarted(pod);

/** Whether a pod waits for the scheduler. A pod that its owner holds back by a scheduling gate does not. */
function isUnplaced(pod: PlacedPod, kept: ReadonlySet<string>): boolean {
  if (nodeOf(pod) !== "" || scheduled(pod)?.reason === "SchedulingGated") return false;
  return !usesAny(pod, kept);
}

const usesAny = (pod: PlacedPod, claims: ReadonlySet<string>): boolean =>
  claimsOf(pod).some((claim) => claims.has(claim));

function scheduled({ status }: PlacedPod) {
  return status?.conditions?.find(({ type }) => type === "PodScheduled");
}

function whyUnplaced(pod: PlacedPod): string {
  const { namespace = "", name = "" } = pod.metadata ?? {};
  return `${namespace}/${name}: ${scheduled(pod)?.message ?? "the scheduler has not said why"}`;
}
