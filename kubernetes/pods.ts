import type { Pod } from "./types.ts";

export const podName = (pod: Pod): string => `${pod.metadata?.namespace ?? ""}/${pod.metadata?.name ?? ""}`;

const isMirror = (pod: Pod): boolean => pod.metadata?.annotations?.["kubernetes.io/config.mirror"] !== undefined;
const isDaemon = (pod: Pod): boolean =>
  pod.metadata?.ownerReferences?.some(({ kind, controller }) => kind === "DaemonSet" && controller) ?? false;
const isOver = (pod: Pod): boolean => pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";

/** Part of what makes a node a node: it comes and goes with it. */
export const belongsToNode = (pod: Pod): boolean => isMirror(pod) || isDaemon(pod);

export function isPodReady(pod: Pod): boolean {
  if (isOver(pod)) return true;
  return pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}

/** Restarts of all containers of a pod. */
export function restartsOf(pod: Pod): number {
  return (pod.status?.containerStatuses ?? []).reduce((sum, { restartCount }) => sum + restartCount, 0);
}
