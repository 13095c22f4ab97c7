import { hasFinished, isControlledBy, leaves, type DrainPod } from "../drain/drain.ts";
import type { NamedController } from "../model/types.ts";
import { titleOf } from "../model/titles.ts";

interface ContainerStatus {
  restartCount?: number | undefined;
  state?:
    | {
        running?: object | undefined;
        terminated?: object | undefined;
        waiting?: { reason?: string | undefined; message?: string | undefined } | undefined;
      }
    | undefined;
}

/** The fields of a pod that tell whether it has started; Kubernetes' own Pod fits. */
export interface StartingPod extends Omit<DrainPod, "status"> {
  status?: NonNullable<DrainPod["status"]> & {
    containerStatuses?: ContainerStatus[] | undefined;
    initContainerStatuses?: ContainerStatus[] | undefined;
  };
}

/** A container waits for one of these reasons when its image cannot be fetched. */
const unfetched = new Set(["ErrImagePull", "ImagePullBackOff", "RegistryUnavailable"]);

/** A container waits for one of these reasons when the node cannot fetch or create it. */
const refusals = new Set([
  ...unfetched,
  "ErrImageNeverPull",
  "ImageInspectError",
  "CreateContainerError",
  "RunContainerError",
]);

/**
 * What a node does with the pods that it was given, its own daemons aside.
 *
 * - `started`: a container of one of them has started, or there is none to start.
 * - `waiting`: none has started, and none is known to fail; these, which ran elsewhere before, in words.
 * - `refused`: none has started, and these, which ran elsewhere before, cannot be fetched or created, in words.
 */
export type Starting = { is: "started" } | { is: "waiting" | "refused"; pods: string[] };

/**
 * @param evicted controllers whose pods ran elsewhere before and were evicted for this node. Pods of any other one may
 * never have started anywhere, so they prove nothing against the node
 */
export function startingOn(pods: readonly StartingPod[], evicted: readonly NamedController[]): Starting {
  const given = pods.filter((pod) => leaves(pod) && pod.metadata?.deletionTimestamp === undefined);
  const awaited = given.filter((pod) => evicted.some((one) => isControlledBy(pod, one)));
  if (awaited.length === 0 || given.some(hasStarted) || pods.some(hasServedItsTime)) return { is: "started" };
  const refused = awaited.flatMap((pod) => whyRefused(pod));
  return refused.length > 0 ? { is: "refused", pods: refused } : { is: "waiting", pods: awaited.map(whyWaiting) };
}

/**
 * Likewise for several nodes, of which each has to start one of the pods that it was given: those that have not, with
 * the worst first.
 * @param pods of the whole cluster
 */
export function startingOnEach(
  pods: readonly StartingPod[],
  nodes: readonly string[],
  evicted: readonly NamedController[],
): NotStarted[] {
  const byNode = new Map<string, StartingPod[]>(nodes.map((node) => [node, []]));
  for (const pod of pods) byNode.get(pod.spec?.nodeName ?? "")?.push(pod);
  const each = [...byNode].flatMap(([node, given]) => {
    const starting = startingOn(given, evicted);
    if (starting.is === "started") return [];
    return [{ node, is: starting.is, started: 0, pods: starting.pods.map((pod) => `${pod} (on ${node})`) }];
  });
  return each.toSorted((a, b) => Number(b.is === "refused") - Number(a.is === "refused"));
}

/**
 * How long a handover waits for all nodes to start pods, in seconds: a node has a gate from the moment it was given
 * some, and once more with each that it starts, and may be given them while another one still has its own.
 */
export const startSeconds = ({ gate }: { gate: number }): number => 2 * gate;

/** A node that has not started pods that it was given. */
export interface NotStarted {
  node: string;
  is: "waiting" | "refused";
  /** These, and what they wait for, in words. */
  pods: string[];
  /** How many others it has started. */
  started: number;
  /**
   * Controllers of these pods, of which fewer run than before, in words. Undefined: the node is a new one that has
   * started none at all, whatever else runs of their controllers.
   */
  fewer?: readonly string[];
}

/** A Job's pod that has finished has started, too. */
const hasServedItsTime = (pod: StartingPod): boolean => hasFinished(pod) && hasStarted(pod);

export const containersOf = ({ status }: StartingPod): ContainerStatus[] => [
  ...(status?.initContainerStatuses ?? []),
  ...(status?.containerStatuses ?? []),
];

export function hasStarted(pod: StartingPod): boolean {
  if (pod.status?.phase === "Running") return true;
  const ran = ({ restartCount = 0, state }: ContainerStatus) =>
    restartCount > 0 || state?.running !== undefined || state?.terminated !== undefined;
  return containersOf(pod).some(ran);
}

/** Whether something keeps a pod from starting, other than the time that it takes. */
export function cannotStart(pod: StartingPod): boolean {
  const isHeld = ({ state }: ContainerStatus) =>
    !["", "ContainerCreating", "PodInitializing"].includes(reasonOf(state));
  return !hasStarted(pod) && containersOf(pod).some(isHeld);
}

export const reasonOf = (state: ContainerStatus["state"]): string => state?.waiting?.reason ?? "";

function whyWaiting(pod: StartingPod): string {
  const [state] = containersOf(pod).flatMap(({ state: one }) => reasonOf(one) || []);
  return `${titleOf(pod)}: ${state ?? "its containers have no state yet"}`;
}

/** A pod that has not started where it is, and what its containers wait for, in words. */
export const whyNotStarted = (pod: StartingPod): string =>
  `${whyRefused(pod)[0] ?? whyWaiting(pod)} (on ${pod.spec?.nodeName ?? ""})`;

/** Whether the node cannot fetch or create a pod. */
export const isRefused = (pod: StartingPod): boolean => whyRefused(pod).length > 0;

const whyRefused = (pod: StartingPod): string[] => whyWaits(pod, refusals);

/** Why the image of a pod's container cannot be fetched, in words; empty: it can, or that is not known. */
export const whyUnfetched = (pod: StartingPod): string[] => whyWaits(pod, unfetched);

/** What the kubelet says when a Secret or a ConfigMap of a container, or a key of it, does not exist. */
const unconfigured = /(secret|configmap)s? .*not found|couldn't find key|references non-existent/i;

/** Which Secret or ConfigMap a pod's container lacks, in words; empty: none, or that is not known. */
export const whyUnconfigured = (pod: StartingPod): string[] =>
  whyWaits(pod, new Set(["CreateContainerConfigError"])).filter((why) => unconfigured.test(why));

function whyWaits(pod: StartingPod, reasons: ReadonlySet<string>): string[] {
  const waits = containersOf(pod).find(({ state }) => reasons.has(reasonOf(state)));
  const { reason = "", message } = waits?.state?.waiting ?? {};
  return waits === undefined ? [] : [`${titleOf(pod)}: ${[reason, message].filter(Boolean).join(", ")}`];
}
