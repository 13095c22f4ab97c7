import { titleOf } from "../model/titles.ts";
import { containersOf, hasStarted, reasonOf, type StartingPod } from "./starting.ts";

/** What a kubelet has said of a pod; Kubernetes' own Event fits. */
export interface PodEvent {
  type?: string | undefined;
  reason?: string | undefined;
  message?: string | undefined;
  firstTimestamp?: string | undefined;
  lastTimestamp?: string | undefined;
  eventTime?: string | undefined;
  series?: { lastObservedTime?: string | undefined } | undefined;
  involvedObject: { uid?: string | undefined; fieldPath?: string | undefined };
}

/** A container waits for one of these while its volumes, its network or its image are being got. */
const creating = new Set(["ContainerCreating", "PodInitializing"]);

const pullEnds = new Set(["Pulled", "Failed", "BackOff", "Created", "Started"]);

/** Whether a container of a pod waits to be made, and none is known to fail: that may need nothing but time. */
export function isBeingMade(pod: StartingPod): boolean {
  const reasons = containersOf(pod).flatMap(({ state }) => reasonOf(state) || []);
  return reasons.length > 0 && reasons.every((reason) => creating.has(reason));
}

/**
 * Why a pod whose containers are being made proves nothing against its node, in words. A slow registry and a volume that
 * cannot be mounted look the same in the pod: only events tell them apart. A kubelet says that it pulls an image once the
 * volumes and the network are there, and also while another pull is before it; it warns of all that it cannot get.
 * @param events of the pod, in any order
 * @returns undefined: the kubelet has warned of something else than a pull
 */
export function whyUnfinished(pod: StartingPod, events: readonly PodEvent[]): string | undefined {
  if (!isBeingMade(pod)) return undefined;
  const [pull] = openPulls(events);
  if (pull !== undefined) return `${titleOf(pod)}: ${pull.message ?? "Pulling"} since ${timeOf(pull)}`;
  const isProof = events.some(({ type }) => type === "Warning") && !hasSandbox(pod);
  if (hasStarted(pod) || isProof) return undefined;
  return `${titleOf(pod)}: ${reasonOf(containersOf(pod)[0]?.state)}, and no event says why`;
}

/** The pulls that have begun and not ended, by container; times of events are whole seconds. */
function openPulls(events: readonly PodEvent[]): PodEvent[] {
  const byContainer = Map.groupBy(events, ({ involvedObject }) => involvedObject.fieldPath ?? "");
  return [...byContainer.values()].flatMap((all) => {
    const last = latest(all.filter(({ reason }) => reason === "Pulling"));
    const end = latest(all.filter(({ reason = "" }) => pullEnds.has(reason)));
    return last !== undefined && (end === undefined || timeOf(end) < timeOf(last)) ? [last] : [];
  });
}

const latest = (events: readonly PodEvent[]): PodEvent | undefined =>
  events.toSorted((a, b) => timeOf(a).localeCompare(timeOf(b))).at(-1);

/** ISO 8601, to the second. */
function timeOf({ series, lastTimestamp, eventTime, firstTimestamp }: PodEvent): string {
  const time = series?.lastObservedTime ?? lastTimestamp ?? eventTime ?? firstTimestamp ?? "";
  return time.replace(/\.\d+Z$/, "Z");
}

/** Whether the volumes and the network of a pod are there (Kubernetes 1.29 and later say so). */
const hasSandbox = ({ status }: StartingPod): boolean =>
  status?.conditions?.some(({ type, status: is }) => type === "PodReadyToStartContainers" && is === "True") ?? false;
