import { clock } from "../../runtime/clock.ts";
import type { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { blockerOf, budgetsOf, controllerOf, evictionOrder, mayGoWithNode } from "../../domain/drain/drain.ts";
import { titleOf } from "../../domain/model/titles.ts";
import { Changes } from "./changes.ts";
import type { Kubernetes } from "./client.ts";
import { KubernetesError, KubernetesUnreachable } from "./errors.ts";
import { paths, type Pod, type PodDisruptionBudget } from "./types.ts";
import { isTransient, watch } from "./watch.ts";

/** Time after which a pod that stays is asked again, in milliseconds, as in `kubectl drain`. */
const paceMs = 5_000;

/**
 * How long an empty node is watched before it counts as empty, in milliseconds. A scheduler learns of a cordon through
 * a watch, and a bind that it had begun before may end after that (kubernetes/autoscaler#3886). Our own watch may be as
 * late, so the pods are listed once more then.
 */
const settleMs = 1_000;

/**
 * How often the pods of a controller that come back to a cordoned node are evicted; later ones stay until the node
 * goes.
 */
const mostReturns = 2;

/** How a node is drained. */
export interface DrainOptions {
  node: string;
  deadline: Deadline;
  /** Called before every eviction: throws when this process may no longer act. */
  check: () => Promise<void>;
}

/** The node could not be drained: names the pods that are left and what holds them. */
export class DrainError extends UserError {
  readonly blockers: readonly string[];

  constructor(node: string, seconds: number, blockers: readonly string[]) {
    super({
      what: `${node} could not be emptied in ${Math.round(seconds)} s`,
      where: blockers.join("; "),
      todo: "remove what holds these pods (give a budget room, mend a webhook), or raise drainSeconds, then run again; the node serves again meanwhile",
    });
    this.blockers = blockers;
  }
}

/**
 * The result of asking a pod to leave. `accepted`: it will end. `held`: by a budget. `refused`: by a policy, a webhook
 * or a namespace. `unanswered`: the API was not able to answer. `newcomer`: not asked yet, because it came after the
 * node was cordoned.
 */
interface Answer {
  kind: "accepted" | "held" | "refused" | "unanswered" | "newcomer";
  /** The API server's own words. */
  words: string;
}

/** A request that a pod leave. */
interface Plea extends Answer {
  /** When the pod was asked, by our clock. */
  at: number;
  /** The version of the pod and its budgets at that time. */
  version: string;
  /** When this kind of answer was first given, in an unbroken series, by the API server's clock. */
  since: string;
  /** Uid of the pod's controller. */
  controller: string | undefined;
  /** Number of this pod among the pods of its controller that came after the cordon; 0: it was there before. */
  returns: number;
}

/**
 * Drains a node by eviction. Each pod is asked again until it leaves or the deadline passes, whatever refused it, and
 * no refusal keeps the other pods from being asked: room in a budget, a webhook and the API itself may all come back. A
 * pod that a budget holds is asked at once when the budget changes. Pods that keep coming back and can be spared go
 * with the node.
 * @returns how many pods were asked, all of which are gone
 * @throws DrainError when the deadline passes
 */
export async function drain(client: Kubernetes, options: DrainOptions): Promise<number> {
  const { node, deadline } = options;
  const end = new AbortController();
  const changes = new Changes(AbortSignal.any([deadline.signal(), end.signal]));
  const follow = <T extends Pod | PodDisruptionBudget>(path: string, fieldSelector?: string) =>
    changes.follow(watch<T>(client, path, { fieldSelector }, changes.signal));
  try {
    const pods = follow<Pod>(paths.pods, `spec.nodeName=${node}`);
    const budgets = follow<PodDisruptionBudget>(paths.budgets);
    const pleas = new Map<string, Plea>();
    const settles = clock.elapsed() + settleMs;
    for (let pause = settleMs; await changes.next(pause);) {
      const seen = pods();
      if (seen === undefined) continue;
      const left = evictionOrder([...seen.values()]);
      if (left.length === 0) {
        pause = settles - clock.elapsed();
        if (pause > 0) continue;
        if (await isEmpty(client, node)) return askedOf(pleas);
        pause = settleMs;
        continue;
      }
      pause = await askAll(client, options, left, pleas, [...(budgets()?.values() ?? [])]);
      if (budgets() && areGivenUp(left, pleas) && mayGoWithNode(left, [...(budgets()?.values() ?? [])])) {
        say(`${left.map(titleOf).join(", ")}: each came back to ${node} in spite of its cordon, and goes with it`);
        return askedOf(pleas);
      }
    }
    deadline.throwIfStopped();
    const left = pods() && evictionOrder([...(pods()?.values() ?? [])]);
    const why = left?.map((pod) => whyLeft(pod, pleas.get(uidOf(pod)), [...(budgets()?.values() ?? [])])) ?? [];
    throw new DrainError(node, deadline.seconds, why.length > 0 ? why : ["its pods could not be listed"]);
  } finally {
    end.abort();
  }
}

/** Whether the API server lists no pod that has to leave. While it cannot answer, nothing is known to be empty. */
async function isEmpty(client: Kubernetes, node: string): Promise<boolean> {
  try {
    const { items } = await client.list<Pod>(paths.pods, { fieldSelector: `spec.nodeName=${node}` });
    return evictionOrder(items).length === 0;
  } catch (error) {
    if (isTransient(error)) return false;
    throw error;
  }
}

const askedOf = (pleas: ReadonlyMap<string, Plea>): number =>
  [...pleas.values()].filter(({ kind }) => kind !== "newcomer").length;

/**
 * Whether only pods are left whose controller has brought them back too often. A pod that tolerates everything comes
 * back, because no node has more room than the one that is being drained (cilium#28549, rke2#10438).
 */
function areGivenUp(left: readonly Pod[], pleas: ReadonlyMap<string, Plea>): boolean {
  return left.every((pod) => !isEnding(pod) && (pleas.get(uidOf(pod))?.returns ?? 0) > mostReturns);
}

/** Asks every pod that is due. @returns the time until the next pod is due, in milliseconds */
async function askAll(
  client: Kubernetes,
  { deadline, check }: DrainOptions,
  left: readonly Pod[],
  pleas: Map<string, Plea>,
  budgets: readonly PodDisruptionBudget[],
): Promise<number> {
  const staying = left.filter((pod) => !isEnding(pod));
  const isFirstLook = pleas.size === 0;
  for (const pod of staying) {
    const before = pleas.get(uidOf(pod));
    const version = versionOf(pod, budgets);
    if (deadline.passed || dueIn(before, version) > 0) continue;
    const isNewcomer = before === undefined && !isFirstLook;
    const answer = isNewcomer ? newcomer : await ask(client, pod, check);
    const since = before?.kind === answer.kind ? before.since : client.now().toISOString();
    const controller = controllerOf(pod)?.uid;
    const returns = before?.returns ?? (isNewcomer ? returnsOf(controller, pleas) + 1 : 0);
    pleas.set(uidOf(pod), { ...answer, at: clock.elapsed(), version, since, controller, returns });
    const isNews = before?.kind !== answer.kind && (answer.kind === "refused" || answer.kind === "unanswered");
    if (isNews) say(`${titleOf(pod)} stays for now, and is asked again until it goes: ${answer.words}`);
  }
  return Math.min(...staying.map((pod) => dueIn(pleas.get(uidOf(pod)), versionOf(pod, budgets))));
}

/**
 * The answer for a new pod that tolerates the cordon. It may come back again and again to the node that it was evicted
 * from: the delay gives a smarter scheduler the time to find another node.
 */
const newcomer: Answer = { kind: "newcomer", words: "" };

/** How often pods of a controller have come back; a pod without a controller is not recreated. */
function returnsOf(controller: string | undefined, pleas: ReadonlyMap<string, Plea>): number {
  if (controller === undefined) return 0;
  const own = [...pleas.values()].filter((plea) => plea.controller === controller);
  return Math.max(0, ...own.map(({ returns }) => returns));
}

/** Milliseconds until a pod is asked, or asked again. */
function dueIn(plea: Plea | undefined, version: string): number {
  if (plea === undefined) return 0;
  const mayHaveRoom = plea.kind === "held" && plea.version !== version;
  return mayHaveRoom ? 0 : Math.max(0, plea.at + paceMs - clock.elapsed());
}

/** A version that changes when a budget may have room for the pod, or when the pod no longer needs room. */
function versionOf(pod: Pod, budgets: readonly PodDisruptionBudget[]): string {
  return [pod, ...budgetsOf(pod, budgets)].map(({ metadata }) => metadata?.resourceVersion).join();
}

async function ask(client: Kubernetes, pod: Pod, check: () => Promise<void>): Promise<Answer> {
  const { name = "", namespace = "", uid } = pod.metadata ?? {};
  try {
    await check();
    await client.create(`/api/v1/namespaces/${namespace}/pods/${name}/eviction`, {
      apiVersion: "policy/v1",
      kind: "Eviction",
      metadata: { name, namespace },
      // Protects a new pod that has taken the name meanwhile.
      deleteOptions: { preconditions: { uid } },
    });
    return { kind: "accepted", words: "" };
  } catch (error) {
    if (error instanceof KubernetesUnreachable) return { kind: "unanswered", words: error.problem.what };
    if (error instanceof KubernetesError) return { kind: kindOf(error), words: error.message };
    throw error;
  }
}

function kindOf({ status, causes, message }: KubernetesError): Answer["kind"] {
  // Two budgets select the same pod: Kubernetes answers 500 until one of them is gone.
  if (causes.includes("DisruptionBudget") || /more than one PodDisruptionBudget/i.test(message)) return "held";
  return status >= 500 || status === 429 ? "unanswered" : "refused";
}

/** Why a pod is still there, for the operator: the request and its result. */
function whyLeft(pod: Pod, plea: Plea | undefined, budgets: readonly PodDisruptionBudget[]): string {
  const title = titleOf(pod);
  if (isEnding(pod)) return `${title} is ending and has not ended${whatDelays(pod)}`;
  switch (plea?.kind) {
    case undefined:
      return `${title} was not asked to leave before the time was over`;
    case "held":
      return blockerOf(pod, budgets);
    case "accepted":
      return `${title} was asked to leave at ${plea.since} and has not begun to end`;
    case "newcomer":
      return `${title} came to the node after its cordon, which it tolerates`;
    case "refused":
      return `${title} was refused since ${plea.since}: ${plea.words}`;
    case "unanswered":
      return `${title} could not be asked since ${plea.since}: ${plea.words}`;
  }
}

function whatDelays({ metadata }: Pod): string {
  const { deletionGracePeriodSeconds: grace = 0, finalizers = [] } = metadata ?? {};
  const delays = [
    ...(grace > 0 ? [`grace period ${grace} s`] : []),
    ...(finalizers.length > 0 ? [`finalizers: ${finalizers.join(", ")}`] : []),
  ];
  return delays.length === 0 ? "" : ` (${delays.join("; ")})`;
}

const isEnding = ({ metadata }: Pod): boolean => metadata?.deletionTimestamp !== undefined;
const uidOf = ({ metadata }: Pod): string => metadata?.uid ?? "";
