/** What a kubelet reports about its node. */
import { createHash } from "node:crypto";
import type { Machine } from "../types.ts";
import type { Taint } from "./join.ts";

/** Whether a node takes pods, and if not, the reason. */
export interface Readiness {
  ready: boolean;
  reason: string;
  message: string;
}

export const ready: Readiness = { ready: true, reason: "KubeletReady", message: "kubelet is posting ready status" };

export const noNetwork: Readiness = {
  ready: false,
  reason: "KubeletNotReady",
  message:
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin " +
    "returns error: cni plugin not initialized",
};

export const noRuntime: Readiness = {
  ready: false,
  reason: "KubeletNotReady",
  message: "PLEG is not healthy: pleg was last seen active 3m10s ago; threshold is 3m0s",
};

export interface NodeFacts {
  machine: Machine;
  /** Of both families, the first one of IPv4. */
  addresses: readonly string[];
  node: string;
  labels: Readonly<Record<string, string>>;
  taints: readonly Taint[];
  /** Arguments of its RKE2. */
  args: readonly string[];
  /** Changes with every boot. */
  bootId: string;
}

/** The Node as the kubelet registers it. */
export function nodeObject(facts: NodeFacts): object {
  const { node, labels, taints, args } = facts;
  const own = {
    "beta.kubernetes.io/arch": "amd64",
    "beta.kubernetes.io/os": "linux",
    "kubernetes.io/arch": "amd64",
    "kubernetes.io/hostname": node,
    "kubernetes.io/os": "linux",
    "node.kubernetes.io/instance-type": "rke2",
  };
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name: node,
      labels: { ...own, ...labels },
      annotations: { "rke2.io/node-args": JSON.stringify(args) },
    },
    spec: { providerID: `rke2://${node}`, ...(taints.length > 0 ? { taints } : {}) },
    status: nodeStatus(facts, noNetwork, false),
  };
}

export function nodeStatus(facts: NodeFacts, readiness: Readiness, isPatch: boolean): object {
  const { machine, addresses, node, bootId } = facts;
  const capacity = {
    cpu: String(machine.cores),
    memory: `${machine.memoryMiB * 1024}Ki`,
    "ephemeral-storage": "30Gi",
    pods: "110",
  };
  return {
    capacity,
    allocatable: capacity,
    addresses: [
      // Two have the same type, by which a patch would merge them.
      ...(isPatch ? [{ $patch: "replace" }] : []),
      ...addresses.map((address) => ({ type: "InternalIP", address })),
      { type: "Hostname", address: node },
    ],
    conditions: conditions(readiness),
    daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
    nodeInfo: {
      architecture: "amd64",
      bootID: bootId,
      containerRuntimeVersion: "containerd://2.1.5-k3s1",
      kernelVersion: machine.image.kernel,
      kubeProxyVersion: "",
      kubeletVersion: kubeletVersion(machine),
      machineID: createHash("sha256").update(machine.uuid).digest("hex").slice(0, 32),
      operatingSystem: "linux",
      osImage: machine.image.osImage,
      systemUUID: machine.uuid.toLowerCase(),
    },
  };
}

/** The version of the image, or the patch release before it when the image has the fault `wrong-kubelet`. */
function kubeletVersion({ image }: Machine): string {
  if (image.fault !== "wrong-kubelet") return image.rke2;
  return image.rke2.replace(/\.(\d+)\+/, (_, patch: string) => `.${Math.max(0, Number(patch) - 1)}+`);
}

function conditions(readiness: Readiness): object[] {
  const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const condition = (type: string, status: string, reason: string, message: string) => ({
    type,
    status,
    reason,
    message,
    lastHeartbeatTime: now,
    lastTransitionTime: now,
  });
  return [
    condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    condition("Ready", readiness.ready ? "True" : "False", readiness.reason, readiness.message),
  ];
}
