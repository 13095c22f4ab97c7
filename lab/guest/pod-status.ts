/** A pod's status as a kubelet reports it. */
import type { KubeObject } from "../kube.ts";

export interface Pod extends KubeObject {
  metadata: KubeObject["metadata"] & { uid: string; namespace: string; deletionGracePeriodSeconds?: number };
  spec: {
    restartPolicy?: string;
    hostNetwork?: boolean;
    containers: { name: string; image: string; ports?: { containerPort: number }[] }[];
  };
  status?: {
    phase?: string;
    podIP?: string;
    startTime?: string;
    conditions?: { type: string; status: string }[];
    containerStatuses?: { name: string; restartCount: number }[];
  };
}

/** Where and since when a pod runs. */
export interface Place {
  hostIP: string;
  podIP: string;
  since: Date;
}

export const ended = ({ status }: Pod): boolean => status?.phase === "Succeeded" || status?.phase === "Failed";

export const isReady = ({ status }: Pod): boolean =>
  status?.conditions?.some(({ type, status: value }) => type === "Ready" && value === "True") ?? false;

const time = (date: Date) => date.toISOString().replace(/\.\d+Z$/, "Z");

export function runningStatus(pod: Pod, { hostIP, podIP, since }: Place): object {
  return {
    phase: "Running",
    hostIP,
    // Both lists merge by address: a pod whose node came back as another machine would have two entries.
    hostIPs: [{ $patch: "replace" }, { ip: hostIP }],
    podIP,
    podIPs: [{ $patch: "replace" }, { ip: podIP }],
    startTime: pod.status?.startTime ?? time(since),
    conditions: conditions("True", "True"),
    containerStatuses: containers(pod, true, { running: { startedAt: time(since) } }),
  };
}

/** None of the pod's containers runs at the moment. */
export function waitingStatus(pod: Pod, reason = "ContainerCreating", message = ""): object {
  return {
    conditions: conditions("True", "False"),
    containerStatuses: containers(pod, false, { waiting: { reason, ...(message === "" ? {} : { message }) } }),
  };
}

export function succeededStatus(pod: Pod, since: Date): object {
  const terminated = { exitCode: 0, reason: "Completed", startedAt: time(since), finishedAt: time(new Date()) };
  return {
    phase: "Succeeded",
    conditions: conditions("True", "False", "PodCompleted"),
    containerStatuses: containers(pod, false, { terminated }),
  };
}

function conditions(initialized: string, ready: string, reason?: string): object[] {
  const now = time(new Date());
  const condition = (type: string, status: string) => ({
    type,
    status,
    lastTransitionTime: now,
    ...(status === "False" ? { reason: reason ?? "ContainersNotReady" } : { reason: null }),
  });
  return [
    condition("PodReadyToStartContainers", initialized),
    condition("Initialized", initialized),
    condition("ContainersReady", ready),
    condition("Ready", ready),
  ];
}

function containers(pod: Pod, ready: boolean, state: object): object[] {
  const before = new Map(pod.status?.containerStatuses?.map(({ name, restartCount }) => [name, restartCount]));
  return pod.spec.containers.map(({ name, image }) => {
    const count = before.get(name);
    return {
      name,
      image,
      imageID: `${image}@sha256:${"0".repeat(64)}`,
      containerID: `containerd://${pod.metadata.uid.replaceAll("-", "")}`,
      ready,
      started: ready,
      restartCount: count === undefined ? 0 : count + 1,
      state: { running: null, waiting: null, terminated: null, ...state },
    };
  });
}
