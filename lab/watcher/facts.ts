/** Kubernetes objects as the watcher's facts. */
import type { KubeObject } from "../kube.ts";
import type { BudgetFact, NodeFact, PodFact } from "./model.ts";

interface Condition {
  type: string;
  status: string;
  reason?: string;
}

export interface NodeObject extends KubeObject {
  spec?: { unschedulable?: boolean };
  status?: { conditions?: Condition[]; nodeInfo?: { kubeletVersion?: string; systemUUID?: string } };
}

export interface PodObject extends KubeObject {
  spec?: { nodeName?: string };
  status?: { phase?: string; conditions?: Condition[] };
}

export interface BudgetObject extends KubeObject {
  spec?: { selector?: { matchLabels?: Record<string, string> } };
  status?: { desiredHealthy?: number };
}

const conditionOf = (conditions: Condition[] | undefined, type: string) =>
  conditions?.find((condition) => condition.type === type && condition.status === "True");

export function nodeFact({ metadata, spec, status }: NodeObject): NodeFact {
  const labels = metadata.labels ?? {};
  return {
    name: metadata.name,
    uuid: status?.nodeInfo?.systemUUID ?? "",
    ready: conditionOf(status?.conditions, "Ready") !== undefined,
    schedulable: spec?.unschedulable !== true,
    kubelet: status?.nodeInfo?.kubeletVersion ?? "",
    server: labels["node-role.kubernetes.io/control-plane"] !== undefined,
    pool: labels["evergreen.dev/pool"] ?? "",
    slot: labels["evergreen.dev/slot"] ?? "",
  };
}

export function podFact({ metadata, spec, status }: PodObject): PodFact {
  const phase = status?.phase ?? "Pending";
  return {
    uid: metadata.uid ?? "",
    namespace: metadata.namespace ?? "",
    name: metadata.name,
    node: spec?.nodeName ?? "",
    labels: metadata.labels ?? {},
    owner: metadata.ownerReferences?.find((owner) => owner.controller)?.kind ?? "",
    ready: conditionOf(status?.conditions, "Ready") !== undefined,
    deleting: metadata.deletionTimestamp !== undefined,
    disruption: conditionOf(status?.conditions, "DisruptionTarget")?.reason ?? "",
    ended: phase === "Succeeded" || phase === "Failed",
  };
}

export function budgetFact({ metadata, spec, status }: BudgetObject): BudgetFact {
  return {
    namespace: metadata.namespace ?? "",
    name: metadata.name,
    selector: spec?.selector?.matchLabels ?? {},
    desiredHealthy: status?.desiredHealthy ?? 0,
  };
}
