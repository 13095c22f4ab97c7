import { titleOf } from "../../domain/model/titles.ts";
import type { Kubernetes } from "./client.ts";
import type { Event, Pod } from "./types.ts";

/** Uid of the static pod that a mirror pod shows. */
const mirrored = (pod: Pod): string | undefined => pod.metadata?.annotations?.["kubernetes.io/config.mirror"];
const isMirror = (pod: Pod): boolean => mirrored(pod) !== undefined;
/** Uid of the DaemonSet that a pod belongs to. */
export const daemonOf = (pod: Pod): string | undefined =>
  pod.metadata?.ownerReferences?.find(({ kind, controller }) => kind === "DaemonSet" && controller)?.uid;
const isOver = (pod: Pod): boolean => pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";

/** A static pod or a pod of a DaemonSet: it comes and goes with its node. */
export const belongsToNode = (pod: Pod): boolean => isMirror(pod) || daemonOf(pod) !== undefined;

export function isPodReady(pod: Pod): boolean {
  if (isOver(pod)) return true;
  return pod.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True") ?? false;
}

/** The node that the pod of a DaemonSet was made for, which the scheduler has not given it yet, and its reason. */
export function awaitsNode({ spec, status }: Pod): { node: string; why: string } | undefined {
  if (spec?.nodeName) return undefined;
  const required = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  const fields = required?.nodeSelectorTerms.flatMap(({ matchFields = [] }) => matchFields) ?? [];
  const node = fields.find(({ key }) => key === "metadata.name")?.values?.[0];
  const scheduled = status?.conditions?.find(({ type }) => type === "PodScheduled");
  return node === undefined ? undefined : { node, why: scheduled?.message ?? "the scheduler has not said why" };
}

/** The Secrets and ConfigMaps that a pod cannot start without, as volumes. */
export function mountsOf({ metadata, spec }: Pod): { path: string; title: string }[] {
  const sources = (spec?.volumes ?? []).flatMap(({ secret, configMap, projected }) => [
    { secret: secret && { ...secret, name: secret.secretName }, configMap },
    ...(projected?.sources ?? []),
  ]);
  const refs = sources.flatMap(({ secret, configMap }) => [
    { kind: "Secret", resource: "secrets", ...secret },
    { kind: "ConfigMap", resource: "configmaps", ...configMap },
  ]);
  return refs.flatMap(({ kind, resource, name, optional }) => {
    if (name === undefined || optional === true) return [];
    const path = `/api/v1/namespaces/${metadata?.namespace ?? ""}/${resource}/${name}`;
    return [{ path, title: `${kind} ${name}` }];
  });
}

const revisionOf = ({ metadata }: Pod): string => metadata?.labels?.["controller-revision-hash"] ?? "";

/**
 * Whether a DaemonSet is being updated, and the version that a pod has is Ready on none of the other nodes: a pod of it
 * proves nothing against the nodes that it runs on.
 * @param nodes the nodes in question
 * @param pods of the whole cluster
 */
export function isUntriedVersion(pod: Pod, nodes: ReadonlySet<string>, pods: readonly Pod[]): boolean {
  const daemon = daemonOf(pod);
  const others = pods.filter((one) => daemonOf(one) === daemon && !nodes.has(nodeOf(one)));
  const isSame = (one: Pod) => revisionOf(one) === revisionOf(pod);
  return daemon !== undefined && !others.every(isSame) && !others.some((one) => isSame(one) && isPodReady(one));
}

/** What is said of a pod, and of none that had its name before. Kubelets speak of a static pod by its own uid. */
export async function listEvents(client: Kubernetes, pod: Pod): Promise<Event[]> {
  const { namespace = "", name = "", uid } = pod.metadata ?? {};
  const fieldSelector = `involvedObject.name=${name}`;
  const { items } = await client.list<Event>(`/api/v1/namespaces/${namespace}/events`, { fieldSelector });
  return items.filter(({ involvedObject }) => [uid, mirrored(pod)].includes(involvedObject.uid));
}

/** Restarts of all containers of a pod. */
function restartsOf(pod: Pod): number {
  return (pod.status?.containerStatuses ?? []).reduce((sum, { restartCount }) => sum + restartCount, 0);
}

/**
 * Static pods and pods of DaemonSets that have restarted on some nodes between two readings, and whose restarts may be
 * the fault of these nodes: those whose counterparts restarted on other nodes too are left out. `isUntried`: of a version
 * that no other node has Ready.
 * @param unready DaemonSets that were Ready on no node before, by uid: their restarts prove nothing
 */
export function restartedOn(
  nodes: ReadonlySet<string>,
  before: readonly Pod[],
  after: readonly Pod[],
  unready: ReadonlySet<string>,
): { name: string; node: string; isUntried: boolean }[] {
  const counts = new Map(before.map((pod) => [titleOf(pod), restartsOf(pod)]));
  const restarted = after.filter((pod) => {
    const isOurs = belongsToNode(pod) && !unready.has(daemonOf(pod) ?? "");
    return isOurs && restartsOf(pod) > (counts.get(titleOf(pod)) ?? Infinity);
  });
  const elsewhere = new Set(restarted.filter((pod) => !nodes.has(nodeOf(pod))).map(kindOf));
  return restarted
    .filter((pod) => nodes.has(nodeOf(pod)) && !elsewhere.has(kindOf(pod)))
    .map((pod) => ({ name: titleOf(pod), node: nodeOf(pod), isUntried: isUntriedVersion(pod, nodes, after) }));
}

const nodeOf = (pod: Pod): string => pod.spec?.nodeName ?? "";

/** Identifies the same pod on every node: by its DaemonSet, or by the name of a static pod without the node's name. */
const kindOf = (pod: Pod): string => {
  const [title, tail] = [titleOf(pod), `-${nodeOf(pod)}`];
  return daemonOf(pod) ?? (title.endsWith(tail) ? title.slice(0, -tail.length) : title);
};
