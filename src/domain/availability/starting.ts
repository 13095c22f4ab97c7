import { controllerOf, hasFinished, leaves, type DrainPod } from "../drain/drain.ts";
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

/** A container waits for one of these reasons when the node cannot fetch or create it. */
const refusals = new Set([
  "ErrImagePull",
  "ImagePullBackOff",
  "ErrImageNeverPull",
  "RegistryUnavailable",
  "ImageInspectError",
  "CreateContainerError",
  "RunContainerError",
]);

/**
 * What a node does with the pods that it was given, its own daemons aside.
 *
 * - `started`: a container of one of them has started, or there is none to start.
 * - `unknown`: none has started, and none is known to fail.
 * - `refused`: none has started, and these cannot be fetched or created, in words.
 */
export type Starting = { is: "started" | "unknown" } | { is: "refused"; pods: string[] };

/**
 * @param failing controllers of which no pod had started anywhere before the drain: what keeps their pods from starting
 * is their own
 */
export function startingOn(pods: readonly StartingPod[], failing: readonly Controller[] = []): Starting {
  const given = pods.filter(
    (pod) => leaves(pod) && pod.metadata?.deletionTimestamp === undefined && !isOf(pod, failing),
  );
  if (given.length === 0 || given.some(hasStarted) || pods.some(hasServedItsTime)) return { is: "started" };
  const refused = given.flatMap((pod) => whyRefused(pod));
  return refused.length === 0 ? { is: "unknown" } : { is: "refused", pods: refused };
}

/** A Job's pod that has finished has started, too. */
const hasServedItsTime = (pod: StartingPod): boolean => hasFinished(pod) && hasStarted(pod);

const containersOf = ({ status }: StartingPod): ContainerStatus[] => [
  ...(status?.initContainerStatuses ?? []),
  ...(status?.containerStatuses ?? []),
];

/** A controller by its names, as a record has it. */
interface Controller {
  namespace: string;
  kind: string;
  name: string;
}

function isOf(pod: StartingPod, controllers: readonly Controller[]): boolean {
  const own = controllerOf(pod);
  return controllers.some(
    ({ namespace, kind, name }) => pod.metadata?.namespace === namespace && own?.kind === kind && own.name === name,
  );
}

export function hasStarted(pod: StartingPod): boolean {
  if (pod.status?.phase === "Running") return true;
  const ran = ({ restartCount = 0, state }: ContainerStatus) =>
    restartCount > 0 || state?.running !== undefined || state?.terminated !== undefined;
  return containersOf(pod).some(ran);
}

function whyRefused(pod: StartingPod): string[] {
  const refused = containersOf(pod).find(({ state }) => refusals.has(state?.waiting?.reason ?? ""));
  const { reason = "", message } = refused?.state?.waiting ?? {};
  return refused === undefined ? [] : [`${titleOf(pod)}: ${[reason, message].filter(Boolean).join(", ")}`];
}
