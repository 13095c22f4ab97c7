import { messageOf, UserError } from "../../runtime/errors.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { findDaemons, withoutRoom } from "../../clients/kubernetes/daemons.ts";
import { isReady, nameOf, readySince, saysNotReady } from "../../clients/kubernetes/nodes.ts";
import {
  belongsToNode,
  daemonOf,
  isPodReady,
  isUntriedVersion,
  listEvents,
  mountsOf,
} from "../../clients/kubernetes/pods.ts";
import { isServerThere } from "../../clients/kubernetes/registration.ts";
import { paths, type Node, type Pod, type Resource } from "../../clients/kubernetes/types.ts";
import { supervisorAt } from "../../clients/kubernetes/urls.ts";
import { hostOfNode, listVms, readPower } from "../../clients/proxmox/vms.ts";
import { pressuresOfPods } from "../../domain/availability/serving.ts";
import { isBeingMade, whyUnfinished } from "../../domain/availability/fetching.ts";
import { whyUnconfigured, whyUnfetched } from "../../domain/availability/starting.ts";
import { leaves } from "../../domain/drain/drain.ts";
import { shortList } from "../../domain/drain/local-data.ts";
import { labels } from "../../domain/model/formats.ts";
import { titleOf } from "../../domain/model/titles.ts";
import { mayGoOn } from "./power-on.ts";
import type { StepContext } from "../context.ts";
import { findUnsettledRegistries, findUntriedRegistries } from "./unproved-registries.ts";
import { NeverRegistered, NodeUnhealthy } from "./verdict.ts";

/** Longest outage of the API, in seconds, that takes no time from a node: a kubelet asks again within seconds. */
export const hiccup = 5;

/** A node that is said to be late or unhealthy. */
export interface SuspectNode {
  name: string;
  /** Its place. Names of clusters and pools hold dashes, so a name does not say it. */
  pool: string;
  slot: number;
  generation: string;
  vm: { host: string; vmid: number };
  client: Kubernetes;
  /** `client.silence` at the beginning of the time that the node is judged for. */
  silenceBefore: number;
  /** All Nodes at that beginning: none that was not Ready meanwhile counts as Ready. @default what is so now counts */
  before?: readonly Node[];
  /**
   * Least time, in seconds, that its VM must have run: for a VM that this step has not started itself meanwhile.
   * @default any time
   */
  runsFor?: number;
  /** Where it registers. @default it has done so */
  registrationAddress?: string;
}

/**
 * Finds the cause of a node's failure.
 * @returns the error, or an error that is no verdict on the image when something else took the node's time
 */
export async function attributeFailure(context: StepContext, accused: SuspectNode, error: unknown): Promise<unknown> {
  if (!(error instanceof NodeUnhealthy)) return error;
  const excuse =
    (await findCause(context, accused)) ??
    (error instanceof NeverRegistered
      ? ((await findNoServer(context, accused)) ?? (await findUntriedRegistries(context, accused)))
      : undefined);
  return excuse === undefined ? error : unjudged(error, excuse);
}

/** The error for a node whose failure has an external cause: it is no verdict on the image. */
export function unjudged(error: NodeUnhealthy, excuse: string): UserError {
  const { what, where } = error.problem;
  const todo = "see to that first, then run pulumi up again: the image was not judged";
  return new UserError({ what, where: `${where}; ${excuse}`, todo }, { cause: error });
}

/**
 * What else may keep a node from being healthy: an outage of the API, the power of its VM or a silent host, that at
 * least half of the nodes of other slots are not Ready either, that no other node on its host is heard, its registries or its
 * pods. None of these says anything about its image.
 * @returns undefined: the node itself is the cause
 */
export async function findCause(context: StepContext, accused: SuspectNode): Promise<string | undefined> {
  const { client, silenceBefore } = accused;
  const silence = client.silence - silenceBefore;
  if (silence > hiccup) return `the cluster's API gave no answer for ${Math.round(silence)} s of that time`;
  return (
    (await explainNotRunning(context, accused)) ??
    (await findUnhealthyOthers(context, accused)) ??
    (await findUnsettledRegistries(context, accused)) ??
    (await findCauseInPods(accused))
  );
}

async function explainNotRunning({ pve }: StepContext, { vm, runsFor = 0 }: SuspectNode): Promise<string | undefined> {
  try {
    const { running, state, upSeconds = Infinity } = await readPower(pve, vm);
    if (running && upSeconds < runsFor)
      return `VM ${vm.vmid} on ${vm.host} was started or migrated ${upSeconds} s ago, within that time`;
    if (running && mayGoOn(state)) return undefined;
    return `VM ${vm.vmid} on ${vm.host} ${running ? `stands still (${state ?? ""})` : "does not run"}`;
  } catch (error) {
    return `nobody can say whether VM ${vm.vmid} on ${vm.host} runs: ${messageOf(error)}`;
  }
}

/** Whether a node is or was in the slot of the accused. */
function isOfSlot({ metadata }: Node, { pool, slot }: Pick<SuspectNode, "pool" | "slot">): boolean {
  const { [labels.pool]: ofPool, [labels.slot]: ofSlot } = metadata?.labels ?? {};
  return ofPool === pool && ofSlot === String(slot);
}

/** Nodes that are not Ready either: at least half of those of other slots, or all on its host. */
async function findUnhealthyOthers({ pve }: StepContext, accused: SuspectNode): Promise<string | undefined> {
  const { client, name, vm, before = [], generation } = accused;
  try {
    const { items } = await client.list<Node>(paths.nodes);
    const others = items.filter((node) => nameOf(node) !== name);
    const times = new Map(before.map((node) => [nameOf(node), readySince(node)]));
    const hasHeld = (node: Node) => isReady(node) && readySince(node) === (times.get(nameOf(node)) ?? readySince(node));
    // The node that the new one replaces may be dead, and a single unhealthy node of many explains nothing.
    const beyond = others.filter((node) => !isOfSlot(node, accused));
    const unhealthy = beyond.filter((node) => !hasHeld(node));
    const isCommon = unhealthy.length > 0 && 2 * unhealthy.length >= beyond.length;
    if (isCommon) return `not Ready either: ${unhealthy.map(nameOf).join(", ")}`;
    const own = items.find((node) => nameOf(node) === name);
    const isSilent = (node: Node) => !hasHeld(node) && !saysNotReady(node);
    if (own !== undefined && !isSilent(own)) return undefined;
    // A VM that is off would be silent on any network.
    const running = (await listVms(pve)).filter(({ status }) => status !== "stopped");
    const [beside, elsewhere] = split(others, (node) => hostOfNode(running, nameOf(node)) === vm.host);
    const isSame = ({ metadata }: Node) => metadata?.labels?.[labels.generation] === generation;
    // The network of the host may be out, or nodes of the same image be silent for the same fault of it. One that was
    // heard there, and is alone, may be silent for a fault of its own.
    const servesElsewhere = elsewhere.some((node) => isSame(node) && hasHeld(node));
    const isProof = servesElsewhere && (beside.length > 0 || own === undefined);
    if (!beside.every(isSilent) || !(isProof || !beside.every(isSame))) return undefined;
    const named =
      beside.length > 0 ? beside.map(nameOf).join(", ") : "there is no other, and its image serves elsewhere";
    return `no node on the Proxmox host ${vm.host} was heard: ${named}`;
  } catch (error) {
    return `the other nodes cannot be seen: ${messageOf(error)}`;
  }
}

function split<T>(all: readonly T[], isFirst: (one: T) => boolean): [T[], T[]] {
  return [all.filter(isFirst), all.filter((one) => !isFirst(one))];
}

/**
 * Whether no server answers where the node registers: nodes that have joined know all servers, and the API has another
 * port, so that nothing else notices it.
 */
async function findNoServer(
  { stop }: StepContext,
  { registrationAddress: address }: SuspectNode,
): Promise<string | undefined> {
  if (address === undefined || (await isServerThere(address, stop))) return undefined;
  return `no server answers at the registration address, ${supervisorAt(address)}`;
}

/** What the pods of the node explain, or what it lacks for them. */
async function findCauseInPods({ client, name }: SuspectNode): Promise<string | undefined> {
  try {
    const [{ items: nodes }, { items: pods }] = await Promise.all([
      client.list<Node>(paths.nodes),
      client.list<Pod>(paths.pods),
    ]);
    const node = nodes.find((one) => nameOf(one) === name);
    const here = pods.filter(({ spec }) => spec?.nodeName === name);
    const daemons = here.filter(belongsToNode);
    return (
      whatIsNotFetched(daemons) ??
      (await findNotConfigured(client, daemons)) ??
      (await findUnfinished(client, daemons)) ??
      whatIsUntried(name, daemons, pods) ??
      (node && (whatIsNotGiven(node, nodes) ?? (await findNotMade(client, node, pods)) ?? whatUsesItUp(node, here)))
    );
  } catch (error) {
    return `its daemons cannot be seen: ${messageOf(error)}`;
  }
}

/**
 * Daemons whose container images cannot be fetched: the registry may be away, or refuse more pulls for a while. On older
 * nodes the images are there already, so the daemons are Ready there.
 */
function whatIsNotFetched(daemons: readonly Pod[]): string | undefined {
  const why = daemons.flatMap((pod) => whyUnfetched(pod));
  return why.length === 0 ? undefined : `its daemons cannot be fetched: ${why.join("; ")}`;
}

/** Secrets and ConfigMaps that its daemons need and that somebody has deleted: pods that run already keep theirs. */
async function findNotConfigured(client: Kubernetes, daemons: readonly Pod[]): Promise<string | undefined> {
  const waiting = daemons.filter((pod) => !isPodReady(pod));
  const said = waiting.flatMap((pod) => whyUnconfigured(pod));
  const mounted = waiting.flatMap((pod) => mountsOf(pod).map((mount) => ({ ...mount, of: titleOf(pod) })));
  const gone = await Promise.all(
    mounted.map(async ({ path, title, of }) =>
      (await client.find<Resource>(path)) === undefined ? [`${of}: ${title} not found`] : [],
    ),
  );
  const why = [...said, ...gone.flat()];
  return why.length === 0 ? undefined : `its daemons lack their configuration: ${shortList([...new Set(why)])}`;
}

/**
 * Daemons whose images are still being fetched, or of which nobody knows what they wait for: a registry may be slow, or
 * allow few pulls. On older nodes the images are there already.
 */
async function findUnfinished(client: Kubernetes, daemons: readonly Pod[]): Promise<string | undefined> {
  const waiting = daemons.filter((pod) => !isPodReady(pod) && isBeingMade(pod));
  const why = await Promise.all(waiting.map(async (pod) => whyUnfinished(pod, await listEvents(client, pod)) ?? []));
  const all = why.flat();
  return all.length === 0 ? undefined : `its daemons are still being made: ${all.join("; ")}`;
}

/** The addresses of a node's pods: the controller manager gives none once those of the cluster are used up. */
function whatIsNotGiven(node: Node, nodes: readonly Node[]): string | undefined {
  const hasNone = ({ spec }: Node) => spec?.podCIDR === undefined;
  const isAlone = hasNone(node) && nodes.length > 1 && nodes.every((one) => one === node || !hasNone(one));
  return isAlone ? "Kubernetes has given it no podCIDR, as it has all others: is the cluster-cidr used up?" : undefined;
}

/** DaemonSets that make no pod for the node, such as its network: a webhook may refuse it, or controllers stand still. */
async function findNotMade(client: Kubernetes, node: Node, pods: readonly Pod[]): Promise<string | undefined> {
  const { expected } = await findDaemons(client, node, {});
  for (const pod of pods.filter(({ spec }) => spec?.nodeName === nameOf(node))) expected.delete(daemonOf(pod) ?? "");
  const rooms = withoutRoom(pods);
  const whys = [...expected].flatMap(([uid, name]) => {
    const why = rooms.get(uid)?.get(nameOf(node));
    return why === undefined ? [] : [`DaemonSet ${name} finds no room on it: ${why}`];
  });
  if (whys.length > 0) return whys.join("; ");
  return expected.size === 0 ? undefined : `no pod was made for it of DaemonSet ${shortList([...expected.values()])}`;
}

/** Daemons that are being updated, to a version that is Ready nowhere else: old nodes still have the one before. */
function whatIsUntried(name: string, daemons: readonly Pod[], pods: readonly Pod[]): string | undefined {
  const untried = daemons.filter((pod) => !isPodReady(pod) && isUntriedVersion(pod, new Set([name]), pods));
  const titles = shortList(untried.map(titleOf));
  return titles === "" ? undefined : `${titles}: of a new version of the DaemonSet, which is Ready on no other node`;
}

/** Pods that have left the node short of memory, disk or process numbers. */
function whatUsesItUp(node: Node, here: readonly Pod[]): string | undefined {
  const pressures = pressuresOfPods(node).join(" and ");
  const guests = here.filter(leaves).map(titleOf);
  return pressures === "" || guests.length === 0 ? undefined : `${pressures} beside the pods ${shortList(guests)}`;
}
