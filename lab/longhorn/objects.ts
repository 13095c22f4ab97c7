/** Longhorn's objects (longhorn.io/v1beta2), as far as the lab uses them. */
import type { KubeObject } from "../kube.ts";

export interface LonghornOptions {
  /** Number of volumes, each attached where its first replica is. @default 2 */
  volumes: number;
  /** Copies of each volume, on different nodes. @default 2 */
  replicas: number;
  /** A rebuild that begins does not end until this is set to false. @default false */
  stuck: boolean;
}

export const longhornDefaults: LonghornOptions = { volumes: 2, replicas: 2, stuck: false };

export interface LonghornNode extends KubeObject {
  spec: { allowScheduling: boolean; evictionRequested: boolean; disks: Record<string, object> };
  status?: { conditions?: { type: string; status: string; reason?: string }[] };
}

export interface Replica extends KubeObject {
  spec: { nodeID: string; volumeName: string; healthyAt: string; failedAt: string };
}

export interface Volume extends KubeObject {
  spec: { numberOfReplicas: number };
  status?: { state: string; robustness: string; currentNodeID: string };
}

export const namespace = "longhorn-system";
const group = "longhorn.io";
const apiVersion = `${group}/v1beta2`;

export const collections = {
  definitions: "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
  nodes: `/apis/${apiVersion}/namespaces/${namespace}/nodes`,
  replicas: `/apis/${apiVersion}/namespaces/${namespace}/replicas`,
  volumes: `/apis/${apiVersion}/namespaces/${namespace}/volumes`,
  pods: `/api/v1/namespaces/${namespace}/pods`,
  budgets: `/apis/policy/v1/namespaces/${namespace}/poddisruptionbudgets`,
} as const;

/** The rule of Longhorn's own webhook for a node: eviction only while scheduling is disabled. */
const evictionRule = {
  rule: "!(has(self.evictionRequested) && self.evictionRequested && has(self.allowScheduling) && self.allowScheduling)",
  message: "need to disable scheduling on node for node eviction, or cancel eviction to enable scheduling on this node",
};

const anything = { type: "object", "x-kubernetes-preserve-unknown-fields": true };

/** A definition. Unlike Longhorn's it has no `status` subresource, so that one request creates object and status. */
function definition(kind: string, spec: object): object {
  const singular = kind.toLowerCase();
  const schema = { openAPIV3Schema: { type: "object", properties: { spec, status: anything } } };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${singular}s.${group}` },
    spec: {
      group,
      scope: "Namespaced",
      names: { kind, listKind: `${kind}List`, singular, plural: `${singular}s` },
      versions: [{ name: "v1beta2", served: true, storage: true, schema }],
    },
  };
}

const flag = { type: "boolean" };

export const definitions: readonly object[] = [
  definition("Node", {
    ...anything,
    properties: { allowScheduling: flag, evictionRequested: flag },
    "x-kubernetes-validations": [evictionRule],
  }),
  definition("Replica", anything),
  definition("Volume", anything),
];

const object = (kind: string, name: string, more: object) => ({ apiVersion, kind, metadata: { name }, ...more });

export const nodeConditions = (ready: boolean, schedulable: boolean, gone: boolean) => [
  { type: "Ready", status: ready && !gone ? "True" : "False", reason: gone ? "KubernetesNodeGone" : "" },
  { type: "Schedulable", status: schedulable ? "True" : "False", reason: schedulable ? "" : "KubernetesNodeCordoned" },
];

export const newNode = (name: string): object =>
  object("Node", name, {
    spec: {
      name,
      allowScheduling: true,
      evictionRequested: false,
      disks: { "default-disk": { path: "/var/lib/longhorn/", allowScheduling: true, evictionRequested: false } },
    },
    status: { conditions: nodeConditions(true, true, false) },
  });

export const newVolume = (name: string, numberOfReplicas: number): object =>
  object("Volume", name, {
    spec: { numberOfReplicas },
    status: { state: "attached", robustness: "healthy", currentNodeID: "" },
  });

/** @param healthyAt empty: it has to be rebuilt first */
export const newReplica = (name: string, volumeName: string, nodeID: string, healthyAt: string): object =>
  object("Replica", name, {
    spec: { nodeID, volumeName, healthyAt, failedAt: "" },
    status: { currentState: "running" },
  });

const managerLabels = (node: string) => ({ "longhorn.io/component": "instance-manager", "longhorn.io/node": node });
export const managerOf = (node: string) => `instance-manager-${node}`;

/** It is bound to its node by name, so a cordon does not keep it off the node: its controller does. */
export const newManager = (node: string): object => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: managerOf(node), labels: managerLabels(node) },
  spec: {
    nodeName: node,
    terminationGracePeriodSeconds: 1,
    automountServiceAccountToken: false,
    containers: [{ name: "instance-manager", image: "docker.io/longhornio/longhorn-instance-manager:v1.12.2" }],
  },
});

export const newBudget = (node: string): object => ({
  apiVersion: "policy/v1",
  kind: "PodDisruptionBudget",
  metadata: { name: managerOf(node) },
  spec: { minAvailable: 1, selector: { matchLabels: managerLabels(node) } },
});
