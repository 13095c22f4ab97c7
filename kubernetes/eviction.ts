import type { Deadline } from "../common/deadline.ts";
import { DeadlineError } from "../common/deadline.ts";
import { UserError } from "../common/errors.ts";
import type { Kubernetes } from "./client.ts";
import { KubernetesError, KubernetesUnreachable } from "./errors.ts";
import { Changes } from "./changes.ts";
import { paths, type Pod, type PodDisruptionBudget } from "./types.ts";
import { watch, type Seen } from "./watch.ts";

/** How a node is emptied. */
export interface DrainOptions {
  node: string;
  deadline: Deadline;
  /** Asked before every eviction: throws when we must not act any more. */
  check: () => Promise<void>;
  /** Whether a pod has to leave; what stays (daemons, static pods) is no reason to wait. */
  leaves: (pod: Pod) => boolean;
  /** The pods that leave, in the order in which they are asked to. */
  order: (pods: Pod[]) => Pod[];
  /** Names what holds a pod back, for the operator. */
  blocker: (pod: Pod, budgets: PodDisruptionBudget[]) => string;
}

/** The node could not be emptied: says by name what is left and what holds it. */
export class DrainError extends UserError {
  readonly blockers: readonly string[];

  constructor(node: string, seconds: number, blockers: readonly string[]) {
    super({
      what: `${node} could not be emptied in ${Math.round(seconds)} s`,
      where: blockers.join("; ") || "its pods were asked to leave and have not ended",
      todo: "give the budget room (more replicas, a healthy pod), or raise the drain timeout; the node serves again meanwhile",
    });
    this.blockers = blockers;
  }
}

const key = (pod: Pod): string => `${pod.metadata?.namespace ?? ""}/${pod.metadata?.name ?? ""}`;

/**
 * Empties a node by eviction. A refusal by a budget is answered by watching budgets and pods and asking again when
 * something changed.
 * @returns how many pods were evicted
 * @throws DrainError when the deadline passes
 */
export async function drain(client: Kubernetes, options: DrainOptions): Promise<number> {
  const { deadline } = options;
  const end = new AbortController();
  const changes = new Changes(AbortSignal.any([deadline.signal(), end.signal]));
  const state: State = { asked: new Set(), refused: new Map(), budgets: new Map(), evicted: 0 };
  try {
    const onNode = { fieldSelector: `spec.nodeName=${options.node}` };
    const pods = changes.follow(watch<Pod>(client, paths.pods, onNode, changes.signal));
    let budgets: Current<PodDisruptionBudget> | undefined;
    for (;;) {
      if (!(await changes.next())) throw stopped(options, pods(), state);
      const left = [...(pods()?.values() ?? [])].filter(options.leaves);
      if (pods() !== undefined && left.length === 0) return state.evicted;
      state.budgets = budgets?.() ?? state.budgets;
      await evictAll(client, options, left, state);
      if (state.refused.size > 0 && budgets === undefined) {
        budgets = changes.follow(watch<PodDisruptionBudget>(client, paths.budgets, {}, changes.signal));
      }
    }
  } finally {
    end.abort();
  }
}

type Current<T> = () => Seen<T> | undefined;

interface State {
  /** Pods that were told to leave, by uid. */
  asked: Set<string>;
  /** Pods that a budget holds, by `namespace/name`. */
  refused: Map<string, Pod>;
  budgets: Seen<PodDisruptionBudget>;
  evicted: number;
}

/** Asks every pod that is left to leave, once; those that were refused again, because something has changed. */
async function evictAll(client: Kubernetes, options: DrainOptions, left: Pod[], state: State): Promise<void> {
  const names = new Set(left.map(key));
  for (const name of state.refused.keys()) if (!names.has(name)) state.refused.delete(name);
  for (const pod of options.order(left)) {
    const uid = pod.metadata?.uid ?? "";
    if (state.asked.has(uid) || pod.metadata?.deletionTimestamp !== undefined) continue;
    await options.check();
    const answer = await evict(client, pod);
    if (answer === "refused") state.refused.set(key(pod), pod);
    if (answer !== "leaves") continue;
    state.refused.delete(key(pod));
    state.asked.add(uid);
    state.evicted += 1;
  }
}

/** @returns `gone` too when another pod has its name by now; `again` when the API server was not able to answer */
async function evict(client: Kubernetes, pod: Pod): Promise<"leaves" | "gone" | "refused" | "again"> {
  const { name = "", namespace = "", uid } = pod.metadata ?? {};
  try {
    await client.create(`/api/v1/namespaces/${namespace}/pods/${name}/eviction`, {
      apiVersion: "policy/v1",
      kind: "Eviction",
      metadata: { name, namespace },
      // Not the pod that took the name since.
      deleteOptions: { preconditions: { uid } },
    });
    return "leaves";
  } catch (error) {
    if (error instanceof KubernetesUnreachable) return "again";
    if (!(error instanceof KubernetesError)) throw error;
    if (error.status === 404 || error.status === 409) return "gone";
    if (error.status === 429) return "refused";
    // Two budgets over one pod: Kubernetes answers 500 for ever.
    if (error.status === 500 && /more than one PodDisruptionBudget/i.test(error.message))
      throw twoBudgets(key(pod), error);
    if (error.status >= 500) return "again";
    throw error;
  }
}

function twoBudgets(pod: string, cause: KubernetesError): UserError {
  return new UserError(
    {
      what: `${pod} cannot be evicted: more than one PodDisruptionBudget covers it`,
      where: cause.message,
      todo: "leave one budget for that pod, then run again",
    },
    { cause },
  );
}

function stopped(options: DrainOptions, pods: Seen<Pod> | undefined, state: State): DrainError | DeadlineError {
  options.deadline.throwIfStopped();
  const budgets = [...state.budgets.values()];
  const held = [...state.refused.values()].map((pod) => options.blocker(pod, budgets));
  const ending = [...(pods?.values() ?? [])].filter((pod) => options.leaves(pod) && !state.refused.has(key(pod)));
  return new DrainError(options.node, options.deadline.seconds, [
    ...held,
    ...ending.map((pod) => `${key(pod)} was asked to leave and has not ended${finalizers(pod)}`),
  ]);
}

function finalizers(pod: Pod): string {
  const names = pod.metadata?.finalizers ?? [];
  return names.length === 0 ? "" : ` (finalizers: ${names.join(", ")})`;
}
