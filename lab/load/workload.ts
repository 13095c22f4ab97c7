/** The lab's workload: the purpose of a cluster, which a rollout must not disturb. */
import type { Kube } from "../kube.ts";

export interface WorkloadOptions {
  /** @default 12 */
  replicas: number;
  /** Pods that the PodDisruptionBudget allows to be unavailable at once. @default 2 */
  maxUnavailable: number;
}

export const workloadDefaults: WorkloadOptions = { replicas: 12, maxUnavailable: 2 };

export const workloadNamespace = "load";
export const workloadName = "web";
/** Port on which the pods answer. */
export const workloadPort = 8080;

const labels = { app: workloadName };
const metadata = { name: workloadName, namespace: workloadNamespace, labels };

/** The objects, each with the path of its collection. */
export function manifests({ replicas, maxUnavailable }: WorkloadOptions): [collection: string, object: NamedObject][] {
  return [
    ["/api/v1/namespaces", { apiVersion: "v1", kind: "Namespace", metadata: { name: workloadNamespace } }],
    [
      `/api/v1/namespaces/${workloadNamespace}/services`,
      {
        apiVersion: "v1",
        kind: "Service",
        metadata,
        spec: { selector: labels, ports: [{ name: "http", port: 80, targetPort: workloadPort }] },
      },
    ],
    [
      `/apis/policy/v1/namespaces/${workloadNamespace}/poddisruptionbudgets`,
      {
        apiVersion: "policy/v1",
        kind: "PodDisruptionBudget",
        metadata,
        spec: { maxUnavailable, selector: { matchLabels: labels } },
      },
    ],
    [
      `/apis/apps/v1/namespaces/${workloadNamespace}/deployments`,
      {
        apiVersion: "apps/v1",
        kind: "Deployment",
        metadata,
        spec: { replicas, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: podSpec() } },
      },
    ],
  ];
}

interface NamedObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string };
  spec?: object;
}

function podSpec(): object {
  return {
    terminationGracePeriodSeconds: 5,
    containers: [
      {
        name: "web",
        image: "registry.k8s.io/e2e-test-images/agnhost:2.53",
        ports: [{ name: "http", containerPort: workloadPort }],
        readinessProbe: { httpGet: { path: "/", port: workloadPort } },
      },
    ],
    topologySpreadConstraints: [
      {
        maxSkew: 1,
        topologyKey: "kubernetes.io/hostname",
        whenUnsatisfiable: "ScheduleAnyway",
        // A cordoned node that is already empty must not count as the emptiest node.
        nodeTaintsPolicy: "Honor",
        labelSelector: { matchLabels: labels },
      },
    ],
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [
            { matchExpressions: [{ key: "node-role.kubernetes.io/control-plane", operator: "DoesNotExist" }] },
          ],
        },
      },
    },
  };
}

/** Creates the workload, or updates it to these options. */
export async function deploy(kube: Kube, options: WorkloadOptions): Promise<void> {
  for (const [collection, object] of manifests(options)) {
    const made = await kube.call<{ message?: string }>("POST", collection, object);
    if (made.status === 201) continue;
    if (made.status !== 409)
      throw new Error(`${object.kind} ${object.metadata.name}: ${made.body.message ?? made.status}`);
    if (object.spec === undefined) continue;
    const changed = await kube.call<{ message?: string }>("PATCH", `${collection}/${object.metadata.name}`, {
      spec: object.spec,
    });
    if (changed.status !== 200) {
      throw new Error(`${object.kind} ${object.metadata.name}: ${changed.body.message ?? changed.status}`);
    }
  }
}
