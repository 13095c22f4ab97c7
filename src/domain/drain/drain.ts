import { isInstanceManager } from "./instance-manager.ts";
import type { Problem } from "../model/problem.ts";
import { matches, type LabelSelector } from "../model/selector.ts";
import { titleOf } from "../model/titles.ts";
import type { NamedController } from "../model/types.ts";

/*
 * Which pods a drain evicts, in which order, and what obstructs their eviction. These are rules only; the drain itself
 * is in src/clients/kubernetes/eviction.ts.
 */

/**
 * Time without Ready after which Kubernetes deletes the pods of a node, in seconds (the default `tolerationSeconds` of
 * pods), with a margin for its controllers.
 */
export const lifeWithoutReady = 300 + 60;

/** Longest wait for a node that is not Ready to come back or to be dead, in seconds. No key sets it. */
export const longestDying = lifeWithoutReady + 30;

/** The fields of a pod that a drain reads; Kubernetes' own Pod fits. */
export interface DrainPod {
  metadata?: {
    name?: string | undefined;
    namespace?: string | undefined;
    deletionTimestamp?: string | undefined;
    labels?: Record<string, string> | undefined;
    annotations?: Record<string, string> | undefined;
    ownerReferences?: { kind: string; name: string; uid: string; controller?: boolean | undefined }[] | undefined;
  };
  spec?: {
    nodeName?: string | undefined;
    priority?: number | undefined;
    terminationGracePeriodSeconds?: number | undefined;
    volumes?: { persistentVolumeClaim?: object | undefined; ephemeral?: object | undefined }[] | undefined;
  };
  status?: {
    phase?: string | undefined;
    conditions?: { type: string; status: string }[] | undefined;
  };
}

/** The fields of a PodDisruptionBudget that a drain reads; Kubernetes' own fits. */
export interface DrainBudget {
  metadata?: {
    name?: string | undefined;
    namespace?: string | undefined;
    ownerReferences?: { kind: string; name: string }[] | undefined;
  };
  spec?: { selector?: LabelSelector | undefined; unhealthyPodEvictionPolicy?: string | undefined };
  status?: {
    disruptionsAllowed?: number | undefined;
    currentHealthy?: number | undefined;
    desiredHealthy?: number | undefined;
    expectedPods?: number | undefined;
    conditions?: { type: string; reason?: string | undefined; message?: string | undefined }[] | undefined;
  };
}

/**
 * Whether a drain waits until the pod is gone. Pods of a DaemonSet come back at once, static pods end with their
 * kubelet, and finished pods serve nothing. A pod that is being deleted is not evicted again, but waited for.
 */
export function leaves(pod: DrainPod): boolean {
  return !isDaemon(pod) && !isStatic(pod) && !hasFinished(pod);
}

function isDaemon(pod: DrainPod): boolean {
  return controllerOf(pod)?.kind === "DaemonSet";
}

function isStatic(pod: DrainPod): boolean {
  return "kubernetes.io/config.mirror" in (pod.metadata?.annotations ?? {}) || controllerOf(pod)?.kind === "Node";
}

export function hasFinished(pod: DrainPod): boolean {
  return pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
}

export function controllerOf(pod: DrainPod) {
  return pod.metadata?.ownerReferences?.find((owner) => owner.controller === true);
}

export function isControlledBy(pod: DrainPod, { namespace, kind, name }: NamedController): boolean {
  const own = controllerOf(pod);
  return pod.metadata?.namespace === namespace && own?.kind === kind && own.name === name;
}

/**
 * The pods that leave, in the order of their eviction: lowest priority first, as in a graceful node shutdown, and
 * within a priority those with volumes first, because a detach takes longest.
 */
export function evictionOrder<Pod extends DrainPod>(pods: readonly Pod[]): Pod[] {
  return pods
    .filter(leaves)
    .toSorted(
      (a, b) =>
        (a.spec?.priority ?? 0) - (b.spec?.priority ?? 0) ||
        Number(hasClaim(b)) - Number(hasClaim(a)) ||
        (titleOf(a) < titleOf(b) ? -1 : 1),
    );
}

function hasClaim(pod: DrainPod): boolean {
  const volumes = pod.spec?.volumes ?? [];
  return volumes.some(({ persistentVolumeClaim, ephemeral }) => (persistentVolumeClaim ?? ephemeral) !== undefined);
}

/**
 * Whether a node may be turned off with these pods on it: they have no volumes that would have to be detached, and
 * every budget allows the loss.
 * @param budgets every PodDisruptionBudget of the cluster
 */
export function mayGoWithNode(pods: readonly DrainPod[], budgets: readonly DrainBudget[]): boolean {
  const ready = pods.filter(isPodReady);
  const ofBudget = (budget: DrainBudget) => ready.filter((pod) => budgetsOf(pod, [budget]).length > 0);
  const allows = (budget: DrainBudget) => ofBudget(budget).length <= (budget.status?.disruptionsAllowed ?? 0);
  return !pods.some(hasClaim) && budgets.every(allows);
}

function isPodReady({ status }: DrainPod): boolean {
  return status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True") ?? false;
}

/** The budgets that cover a pod. */
export function budgetsOf<Budget extends DrainBudget>(pod: DrainPod, budgets: readonly Budget[]): Budget[] {
  const { namespace, labels = {} } = pod.metadata ?? {};
  return budgets.filter((budget) => budget.metadata?.namespace === namespace && matches(budget.spec?.selector, labels));
}

/** The reason, in words, why the eviction of a pod was refused. */
export function blockerOf(pod: DrainPod, budgets: readonly DrainBudget[]): string {
  const over = budgetsOf(pod, budgets);
  if (over.length === 0) return `${titleOf(pod)} was refused, but no PodDisruptionBudget covers it any more`;
  const held = `${titleOf(pod)} is held by ${over.map((budget) => `${titleOf(budget)} (${allowanceOf(budget)})`).join(" and ")}`;
  return over.length > 1 ? `${held}: Kubernetes evicts no pod that has more than one` : held;
}

function allowanceOf({ status }: DrainBudget): string {
  if (status === undefined) return "its room was not computed yet";
  const { currentHealthy = 0, expectedPods = 0, desiredHealthy = 0, disruptionsAllowed = 0 } = status;
  return `${currentHealthy} of ${expectedPods} pods healthy, ${desiredHealthy} needed, ${disruptionsAllowed} may go`;
}

/** A problem that a drain will meet. */
export interface Blocker extends Problem {
  /**
   * - `never`: waiting does not help.
   * - `later`: it blocks until pods are healthy or have ended.
   * - `interrupts`: nothing blocks, but what the pod serves is unavailable until it runs elsewhere, or permanently.
   */
  kind: "never" | "later" | "interrupts";
}

/**
 * What obstructs a drain, reported before the first cordon.
 * @param pods every pod of the cluster: only among all of them a single replica is recognized
 * @param budgets every PodDisruptionBudget of the cluster
 * @param nodes the nodes that will be drained; absent: all
 * @param drainSeconds how long a drain waits
 */
export function blockers(
  pods: readonly DrainPod[],
  budgets: readonly DrainBudget[],
  nodes?: ReadonlySet<string>,
  drainSeconds = Infinity,
): Blocker[] {
  const leaving = evictionOrder(
    pods.filter((pod) => (nodes === undefined || nodes.has(pod.spec?.nodeName ?? "")) && !isStorage(pod)),
  );
  return [
    ...leaving.flatMap((pod) => twoBudgets(pod, budgetsOf(pod, budgets))),
    ...budgets.flatMap((budget) => exhausted(budget, leaving)),
    ...leaving.filter((pod) => graceOf(pod) > drainSeconds).map((pod) => slow(pod, drainSeconds)),
    ...leaving.filter((pod) => controllerOf(pod) === undefined).map(bare),
    ...leaving.filter((pod) => isSingle(pod, pods)).map(single),
  ];
}

/**
 * Whether a pod is an instance manager of Longhorn. These end when their node's data has moved, which is waited for
 * before any pod is evicted.
 */
function isStorage({ metadata }: DrainPod): boolean {
  return isInstanceManager(metadata?.labels);
}

function twoBudgets(pod: DrainPod, over: readonly DrainBudget[]): Blocker[] {
  if (over.length < 2 || needsNoBudget(pod)) return [];
  return [
    {
      kind: "never",
      what: `${titleOf(pod)} cannot be evicted: ${over.length} PodDisruptionBudgets cover it, and Kubernetes allows one`,
      where: over.map(titleOf).join(" and "),
      todo: "narrow their selectors so that one budget is left for that pod",
    },
  ];
}

function exhausted(budget: DrainBudget, leaving: readonly DrainPod[]): Blocker[] {
  const { status } = budget;
  const held = leaving.filter((pod) => budgetsOf(pod, [budget]).length > 0 && !mayGoUnhealthy(pod, budget));
  if (held.length === 0 || (status?.disruptionsAllowed ?? 0) > 0) return [];
  const where = held.map(titleOf).join(", ");
  const failure = status?.conditions?.find(({ reason }) => reason === "SyncFailed");
  if (failure !== undefined) return [uncomputed(budget, where, failure.message)];
  const { expectedPods = 0, desiredHealthy = 0 } = status ?? {};
  const isTight = status !== undefined && expectedPods > 0 && expectedPods <= desiredHealthy;
  const [operator] = budget.metadata?.ownerReferences ?? [];
  if (isTight && operator !== undefined) return [operated(budget, where, operator)];
  return [
    {
      kind: isTight ? "never" : "later",
      what: `PodDisruptionBudget ${titleOf(budget)} ${isTight ? "never lets a pod go" : "lets no pod go now"}: ${allowanceOf(budget)}`,
      where,
      todo: isTight
        ? "add a replica, or let the budget allow one disruption"
        : "make its pods healthy; the drain waits for that until its deadline",
    },
  ];
}

/**
 * The blocker of a budget that an operator made to allow no disruption. Such an operator acts by itself: CloudNativePG moves the
 * leader to another instance once its node is cordoned, Strimzi rolls a pod whose eviction was requested
 * (cloudnative-pg#6307, kured#1269). Whether it can is not known beforehand.
 */
function operated(budget: DrainBudget, where: string, { kind, name }: { kind: string; name: string }): Blocker {
  return {
    kind: "later",
    what: `PodDisruptionBudget ${titleOf(budget)} lets no pod go before its operator acts: ${allowanceOf(budget)}`,
    where,
    todo: `nothing, if the operator of ${kind} ${name} moves these pods once their node is cordoned: the drain waits for that until its deadline. If it cannot, as with a single instance, give it another one, or take the budget away for the update`,
  };
}

/**
 * The blocker of a budget that is not computed: Kubernetes evicts no pod while it cannot tell how many there have to
 * be, for example when their controller has no scale subresource.
 */
function uncomputed(budget: DrainBudget, where: string, why = "it does not say why"): Blocker {
  return {
    kind: "never",
    what: `PodDisruptionBudget ${titleOf(budget)} lets no pod go, because Kubernetes cannot compute its room: ${why}`,
    where,
    todo: "select only pods whose controllers can be scaled, or give the budget a minAvailable that is a number",
  };
}

/** Kubernetes checks no budget for a pod that has not started yet or that is being deleted. */
function needsNoBudget({ metadata, status }: DrainPod): boolean {
  return status?.phase === "Pending" || metadata?.deletionTimestamp !== undefined;
}

function graceOf({ spec }: DrainPod): number {
  return spec?.terminationGracePeriodSeconds ?? 0;
}

function slow(pod: DrainPod, drainSeconds: number): Blocker {
  return {
    kind: "later",
    what: `${titleOf(pod)} may take ${graceOf(pod)} s to end, and a drain gives up after ${drainSeconds} s`,
    where: `node ${pod.spec?.nodeName ?? "unknown"}, its terminationGracePeriodSeconds`,
    todo: "raise drainSeconds above that; a drain that gives up judges nobody, and its node serves again",
  };
}

/**
 * Whether an unhealthy pod may leave without taking room from the budget: with the policy AlwaysAllow always, with the
 * other policy (the default) when as many other pods are healthy as required (`checkAndDecrement` of Kubernetes'
 * eviction).
 */
function mayGoUnhealthy(pod: DrainPod, { spec, status }: DrainBudget): boolean {
  if (needsNoBudget(pod)) return true;
  const { currentHealthy = 0, desiredHealthy = 0 } = status ?? {};
  const isGuarded = currentHealthy < desiredHealthy || desiredHealthy === 0;
  return !isPodReady(pod) && (spec?.unhealthyPodEvictionPolicy === "AlwaysAllow" || !isGuarded);
}

function bare(pod: DrainPod): Blocker {
  return {
    kind: "interrupts",
    what: `${titleOf(pod)} has no controller: once evicted, nobody makes it again`,
    where: `node ${pod.spec?.nodeName ?? "unknown"}`,
    todo: "run it as a Deployment, StatefulSet or Job, or accept its end",
  };
}

function isSingle(pod: DrainPod, all: readonly DrainPod[]): boolean {
  const controller = controllerOf(pod);
  if (controller === undefined || controller.kind === "Job") return false;
  return all.filter((other) => controllerOf(other)?.uid === controller.uid && !hasFinished(other)).length === 1;
}

function single(pod: DrainPod): Blocker {
  const controller = controllerOf(pod);
  return {
    kind: "interrupts",
    what: `${titleOf(pod)} is the only replica: nobody serves while it moves`,
    where: `${controller?.kind ?? ""} ${pod.metadata?.namespace ?? ""}/${controller?.name ?? ""}`,
    todo: "run two replicas with a PodDisruptionBudget, or accept the gap",
  };
}
