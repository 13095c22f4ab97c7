import { titleOf } from "../../domain/model/titles.ts";
import type { Pod } from "./types.ts";

const isMirror = (pod: Pod): boolean => pod.metadata?.annotations?.["kubernetes.io/config.mirror"] !== undefined;
/** Uid of the DaemonSet that a pod is of. */
export const daemonOf = (pod: Pod): string | undefined =>
  pod.metadata?.ownerReferences?.find(({ kind, controller }) => kind === "DaemonSet" && controller)?.uid;
const isOver = (pod: Pod): boolean => pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";

/** Part of what makes a node a node: it comes and goes with it. */
export const belongsToNode = (pod: Pod): boolean => isMirror(pod) || daemonOf(pod) !== undefined;

export function isPodReady(pod: Pod): boolean {
  if (isOver(pod)) return true;
  return pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}

/** Restarts of all containers of a pod. */
function restartsOf(pod: Pod): number {
  return (pod.status?.containerStatuses ?? []).reduce((sum, { restartCount }) => sum + restartCount, 0);
}

/**
 * Own pods of some nodes that have restarted between two looks, and that may be a fault of these nodes: none of what restarted
 * on other nodes too.
 * @param ill DaemonSets that were Ready nowhere before, by uid: their restarts show nothing
 */
export function restartedOn(
  nodes: ReadonlySet<string>,
  before: readonly Pod[],
  after: readonly Pod[],
  ill: ReadonlySet<string>,
): { name: string; node: string }[] {
  const counts = new Map(before.map((pod) => [titleOf(pod), restartsOf(pod)]));
  const restarted = after.filter((pod) => {
    const isOurs = belongsToNode(pod) && !ill.has(daemonOf(pod) ?? "");
    return isOurs && restartsOf(pod) > (counts.get(titleOf(pod)) ?? Infinity);
  });
  const elsewhere = new Set(restarted.filter((pod) => !nodes.has(nodeOf(pod))).map(kindOf));
  return restarted
    .filter((pod) => nodes.has(nodeOf(pod)) && !elsewhere.has(kindOf(pod)))
    .map((pod) => ({ name: titleOf(pod), node: nodeOf(pod) }));
}

const nodeOf = (pod: Pod): string => pod.spec?.nodeName ?? "";

/** The same on every node: a DaemonSet, or a static pod, which is named after its node. */
const kindOf = (pod: Pod): string => daemonOf(pod) ?? titleOf(pod).replace(`-${nodeOf(pod)}`, "");
