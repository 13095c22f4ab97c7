import type { Pod, PodDisruptionBudget } from "./types.ts";

export const podName = (pod: Pod): string => `${pod.metadata?.namespace ?? ""}/${pod.metadata?.name ?? ""}`;

const isMirror = (pod: Pod): boolean => pod.metadata?.annotations?.["kubernetes.io/config.mirror"] !== undefined;
const isDaemon = (pod: Pod): boolean =>
  pod.metadata?.ownerReferences?.some(({ kind, controller }) => kind === "DaemonSet" && controller) ?? false;
const isOver = (pod: Pod): boolean => pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";

/** Part of what makes a node a node: it comes and goes with it. */
export const belongsToNode = (pod: Pod): boolean => isMirror(pod) || isDaemon(pod);

/** Whether a drain has to wait for it. */
export const hasToLeave = (pod: Pod): boolean => !belongsToNode(pod) && !isOver(pod);

export function isPodReady(pod: Pod): boolean {
  if (isOver(pod)) return true;
  return pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}

/** Restarts of all containers of a pod. */
export function restartsOf(pod: Pod): number {
  return (pod.status?.containerStatuses ?? []).reduce((sum, { restartCount }) => sum + restartCount, 0);
}

/** Whether a budget speaks of a pod. An empty selector speaks of every pod of its namespace. */
export function covers(budget: PodDisruptionBudget, pod: Pod): boolean {
  if (budget.metadata?.namespace !== pod.metadata?.namespace) return false;
  const { matchLabels = {}, matchExpressions = [] } = budget.spec?.selector ?? {};
  const labels = pod.metadata?.labels ?? {};
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every(({ key, operator, values = [] }) => {
      const value = labels[key];
      if (operator === "Exists") return value !== undefined;
      if (operator === "DoesNotExist") return value === undefined;
      if (operator === "In") return value !== undefined && values.includes(value);
      return value === undefined || !values.includes(value);
    })
  );
}

/** What holds a pod back, by name and numbers. */
export function blocker(pod: Pod, budgets: readonly PodDisruptionBudget[]): string {
  const names = budgets.filter((budget) => covers(budget, pod)).map(describe);
  return `${podName(pod)} is held by ${names.join(" and ") || "a budget that is not to be seen"}`;
}

function describe({ metadata, spec, status }: PodDisruptionBudget): string {
  const rule =
    spec?.minAvailable === undefined
      ? `maxUnavailable ${spec?.maxUnavailable ?? "?"}`
      : `minAvailable ${spec.minAvailable}`;
  const now = status ? `${status.currentHealthy} of ${status.expectedPods} healthy` : "no status yet";
  return `the PodDisruptionBudget ${metadata?.namespace ?? ""}/${metadata?.name ?? ""} (${rule}, ${now})`;
}

/** Pods whose budget has no room at this moment: named before anything is disturbed. */
export function heldNow(pods: readonly Pod[], budgets: readonly PodDisruptionBudget[]): string[] {
  return pods.flatMap((pod) => {
    const full = budgets.filter((budget) => covers(budget, pod) && (budget.status?.disruptionsAllowed ?? 0) < 1);
    return full.length === 0 ? [] : [blocker(pod, full)];
  });
}
