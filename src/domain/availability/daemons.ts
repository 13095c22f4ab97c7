import { fitsNode, type AffinityNode, type NodeSelector } from "../drain/node-affinity.ts";
import { tolerates, type Taint, type Toleration } from "../drain/taints.ts";

/** The fields of a DaemonSet that decide where its pods run; Kubernetes' own DaemonSet fits. */
export interface DaemonPlacement {
  nodeName?: string | undefined;
  nodeSelector?: Record<string, string> | undefined;
  affinity?: {
    nodeAffinity?: { requiredDuringSchedulingIgnoredDuringExecution?: NodeSelector | undefined } | undefined;
  };
  tolerations?: Toleration[] | undefined;
  hostNetwork?: boolean | undefined;
}

/** Taints that the DaemonSet controller makes all of its pods tolerate. */
const always = ["not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"];

/**
 * Whether the DaemonSet controller creates a pod for the node, by its own rules (`NodeShouldRunDaemonPod` of
 * pkg/controller/daemon): node name, node selector, required affinity, and taints that keep pods away.
 */
export function runsOn(
  { nodeName, nodeSelector = {}, affinity, tolerations = [], hostNetwork }: DaemonPlacement,
  node: AffinityNode & { taints: readonly Taint[] },
): boolean {
  if (nodeName !== undefined && nodeName !== "" && nodeName !== node.name) return false;
  if (Object.entries(nodeSelector).some(([key, value]) => node.labels[key] !== value)) return false;
  const required = affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  if (required !== undefined && !fitsNode(required, node, false)) return false;
  const own = [...always, ...(hostNetwork === true ? ["network-unavailable"] : [])].map((name) => ({
    key: `node.kubernetes.io/${name}`,
    operator: "Exists",
  }));
  const keeping = node.taints.filter(({ effect }) => effect !== "PreferNoSchedule");
  return keeping.every((taint) => [...own, ...tolerations].some((toleration) => tolerates(toleration, taint)));
}
