import { mayBelongToNode, parseAddress, parseBlock } from "../../domain/model/address.ts";
import { lifeWithoutReady } from "../../domain/drain/drain.ts";
import { cordonedBy, emptiedBy, labels, leaving } from "../../domain/model/formats.ts";
import type { ObservedNode, Role } from "../../domain/model/types.ts";
import { ZONE } from "../../domain/model/labels.ts";
import { lifelongKeysIn } from "../../domain/rollout/cluster-keys.ts";
import { UserError } from "../../runtime/errors.ts";
import type { Kubernetes } from "./client.ts";
import type { Deadline } from "../../runtime/deadline.ts";
import { paths, type Node, type Resource } from "./types.ts";
import { named, waitUntil } from "./watch.ts";

const pathOf = (name: string) => `${paths.nodes}/${name}`;

export function findNode(client: Kubernetes, name: string): Promise<Node | undefined> {
  return client.find<Node>(pathOf(name));
}

/** Our labels on a node. */
export function labelsOf(of: {
  cluster: string;
  pool: string;
  slot: number;
  generation: string;
}): Record<string, string> {
  return {
    [labels.cluster]: of.cluster,
    [labels.pool]: of.pool,
    [labels.slot]: String(of.slot),
    [labels.generation]: of.generation,
  };
}

/** Adds labels and annotations to a node, only if it is still the node that was read. */
export async function relabel(
  client: Kubernetes,
  node: Node,
  more: Record<string, string>,
  annotations: Record<string, string> = {},
): Promise<void> {
  const uid = node.metadata?.uid;
  const noted = Object.keys(annotations).length > 0 ? { annotations } : {};
  await client.patch(pathOf(nameOf(node)), "merge", {
    metadata: { ...(uid === undefined ? {} : { uid }), labels: more, ...noted },
  });
}

/** Label selector for our nodes, narrowed by some of our labels. */
export function selector(wanted: Partial<Record<"cluster" | "pool" | "slot" | "generation", string | number>>): string {
  return Object.entries(wanted)
    .map(([key, value]) => `${labels[key as keyof typeof labels]}=${value}`)
    .join(",");
}

export async function listNodes(client: Kubernetes, wanted: Parameters<typeof selector>[0]): Promise<Node[]> {
  return (await client.list<Node>(paths.nodes, { labelSelector: selector(wanted) })).items;
}

export const nameOf = ({ metadata }: Resource): string => metadata?.name ?? "";
export const uuidOf = (node: Node): string => (node.status?.nodeInfo?.systemUUID ?? "").toLowerCase();
export const bootOf = (node: Node): string => node.status?.nodeInfo?.bootID ?? "";
export const isCordoned = (node: Node): boolean => node.spec?.unschedulable === true;
export const isOurCordon = (node: Node): boolean => node.metadata?.annotations?.[cordonedBy] !== undefined;
/** The id of the run that began to empty the node, be it cordoned by that run or by somebody else. */
export const emptierOf = ({ metadata: { annotations = {} } = {} }: Node): string | undefined =>
  annotations[cordonedBy] ?? annotations[emptiedBy];

function condition(node: Node, type: string) {
  return node.status?.conditions?.find((one) => one.type === type);
}

export function isReady(node: Node): boolean {
  return condition(node, "Ready")?.status === "True";
}

/** The kubelet itself reports not Ready. When it is silent, the control plane sets Ready to Unknown, for any cause. */
export function saysNotReady(node: Node): boolean {
  return condition(node, "Ready")?.status === "False";
}

/** RKE2's condition `EtcdIsVoter` about a server's role in etcd; undefined until RKE2 has reported it. */
export function voterCondition(node: Node): { status: string; reason?: string } | undefined {
  return condition(node, "EtcdIsVoter");
}

/** A learner does not count in etcd's quorum. */
export function isVoter(node: Node): boolean {
  return voterCondition(node)?.status === "True";
}

export const isServer = (node: Node): boolean => node.metadata?.labels?.[labels.server] !== undefined;

/**
 * The address at which other machines reach the node: of several the first one of IPv4, which all nodes have that are not
 * of IPv6 alone.
 */
export function addressOf(node: Node): string | undefined {
  const internal = (node.status?.addresses ?? []).flatMap(({ type, address }) => {
    const block = type === "InternalIP" ? parseBlock(address) : undefined;
    return block !== undefined && mayBelongToNode(block) ? [{ family: block.family, address }] : [];
  });
  return (internal.find(({ family }) => family === 4) ?? internal[0])?.address;
}

/** The kubelet's reason for not being ready, or the control plane's reason when the kubelet is silent. */
export function whyNotReady(node: Node): string {
  const ready = condition(node, "Ready");
  if (ready === undefined) return "the kubelet has not reported yet";
  return `Ready is ${ready.status}: ${ready.reason ?? ""} ${ready.message ?? ""}`.trim();
}

/** When its kubelet last reported whether it is Ready, by the kubelet's clock; empty: it never did. */
export function heartbeatOf(node: Node): string {
  return condition(node, "Ready")?.lastHeartbeatTime ?? "";
}

/** When Ready last changed: two reads with the same value prove that there was no outage between them. */
export function readySince(node: Node): string {
  return condition(node, "Ready")?.lastTransitionTime ?? "";
}

/** Seconds until a node that is not Ready counts as dead; negative: it already does. */
export function secondsToDeath(node: Node, now: Date): number {
  const since = Date.parse(readySince(node));
  // The kubelet has never reported: the start of the outage is unknown.
  return Number.isNaN(since) ? lifeWithoutReady : lifeWithoutReady - (now.getTime() - since) / 1000;
}

/** Not Ready for so long that Kubernetes has evicted its pods. */
export function isDead(node: Node, now: Date): boolean {
  return !isReady(node) && secondsToDeath(node, now) < 0;
}

/** Kubernetes matches the key alone; the value marks the taint as ours. */
const outOfService = { key: "node.kubernetes.io/out-of-service", value: "evergreen", effect: "NoExecute" } as const;

/** Tells Kubernetes that a node is permanently off: its pods and volume attachments are removed at once. */
export async function taintOutOfService(client: Kubernetes, name: string): Promise<void> {
  const node = await findNode(client, name);
  if (node === undefined || node.spec?.taints?.some(({ key }) => key === outOfService.key)) return;
  await client.patch(pathOf(name), "strategic", { spec: { taints: [outOfService] } });
}

/** Whether we have declared the node permanently off. */
export const isFenced = (node: Node): boolean =>
  (node.spec?.taints ?? []).some(({ key, value }) => key === outOfService.key && value === outOfService.value);

/** Withdraws the declaration that a node is permanently off: it is started again. */
export async function untaintOutOfService(client: Kubernetes, node: Node): Promise<void> {
  if (!isFenced(node)) return;
  await client.patch(pathOf(nameOf(node)), "strategic", { spec: { taints: [{ $patch: "delete", ...outOfService }] } });
}

/** Every IP address that a node reports, of both families. */
export const ipAddressesOf = (node: Node): string[] =>
  (node.status?.addresses ?? []).flatMap(({ address }) => (parseAddress(address) === undefined ? [] : [address]));

/** The node in the form that decisions use. @throws UserError when our labels are not as we wrote them */
export function observedNode(node: Node): ObservedNode {
  const our = node.metadata?.labels ?? {};
  const slot = Number(our[labels.slot]);
  const pool = our[labels.pool];
  const generation = our[labels.generation];
  if (pool === undefined || generation === undefined || !Number.isInteger(slot)) {
    throw new UserError({
      what: `the Node ${nameOf(node)} has our cluster's label but not all of our labels`,
      where: `${labels.pool}, ${labels.slot}, ${labels.generation}`,
      todo: "give the labels back that were changed by hand",
    });
  }
  const role: Role = isServer(node) ? "server" : "agent";
  const addresses = ipAddressesOf(node);
  const since = readySince(node);
  const boot = bootOf(node);
  const zone = node.metadata?.labels?.[ZONE];
  const lifelongKeys = role === "server" ? lifelongKeysOf(node) : undefined;
  return {
    name: nameOf(node),
    uuid: uuidOf(node),
    ready: isReady(node),
    ...(since === "" ? {} : { readySince: since }),
    ...(boot === "" ? {} : { boot }),
    schedulable: !isCordoned(node),
    kubelet: node.status?.nodeInfo?.kubeletVersion ?? "",
    ...(addresses.length === 0 ? {} : { addresses }),
    role,
    pool,
    slot,
    generation,
    ...(zone === undefined ? {} : { zone }),
    ...(lifelongKeys === undefined ? {} : { lifelongKeys }),
  };
}

/** The keys that hold for the life of the cluster, as the RKE2 of a server was started. Undefined: not known. */
export function lifelongKeysOf({ metadata }: Node): ObservedNode["lifelongKeys"] {
  return lifelongKeysIn(metadata?.annotations?.["rke2.io/node-args"], metadata?.annotations?.["rke2.io/node-env"]);
}

/**
 * Cordons a node in our name. An existing cordon that is not ours is left as it is; a mark tells the next run that there is
 * something to undo.
 * @param again called before it is tried again: throws when the node may not be disturbed any more
 */
export async function cordon(client: Kubernetes, node: Node, by: string, again?: () => Promise<void>): Promise<void> {
  const isOthers = isCordoned(node) && !isOurCordon(node);
  const mark = { metadata: { annotations: { [isOthers ? emptiedBy : cordonedBy]: by } } };
  const patch = isOthers ? mark : { ...mark, spec: { unschedulable: true } };
  await client.patch(pathOf(nameOf(node)), "merge", patch, again);
}

/** Undoes our cordon, our mark and our taint on a node that stays. */
export async function uncordon(client: Kubernetes, name: string): Promise<void> {
  const node = await findNode(client, name);
  if (node === undefined) return;
  const ours = isOurCordon(node);
  const isMarked = emptierOf(node) !== undefined;
  if (!isMarked && !isLeaving(node)) return;
  // A strategic merge patch matches taints by key, so that other taints are not touched.
  await client.patch(pathOf(name), "strategic", {
    ...(isMarked ? { metadata: { annotations: { [cordonedBy]: null, [emptiedBy]: null } } } : {}),
    spec: {
      ...(ours ? { unschedulable: null } : {}),
      ...(isLeaving(node) ? { taints: [{ $patch: "delete", ...leaving }] } : {}),
    },
  });
}

/** Marks a node as leaving: a preference, not a ban. */
export async function taintSoftly(client: Kubernetes, name: string): Promise<void> {
  // A strategic merge patch merges taints by key.
  await client.patch(pathOf(name), "strategic", { spec: { taints: [leaving] } });
}

export const isLeaving = (node: Node): boolean => (node.spec?.taints ?? []).some(({ key }) => key === leaving.key);

/**
 * Waits until a deleted Node is gone: controllers hold it with finalizers until they have cleaned up. @throws
 * DeadlineError
 */
export async function awaitGone(client: Kubernetes, name: string, deadline: Deadline): Promise<void> {
  let held: string[] = [];
  await waitUntil<Node, true>(
    client,
    named(paths.nodes, name),
    deadline,
    (seen) => {
      held = [...seen.values()].flatMap((node) => node.metadata?.finalizers ?? []);
      return seen.size === 0 ? true : undefined;
    },
    () => `Node ${name} is held by ${held.join(", ") || "nobody"}`,
  );
}

/** Deletes a Node, only if it still is the Node that was read, and the node password that RKE2 stores for it. */
export async function deleteNode(client: Kubernetes, name: string, uid: string | undefined): Promise<void> {
  // The Node is deleted last: a run that was interrupted in between finds it, and repeats both.
  await forgetPassword(client, name);
  await client.delete(pathOf(name), uid === undefined ? {} : { uid });
}

/**
 * Frees the name of a node that no longer exists for another machine: RKE2 stores the node's password, and refuses a
 * machine that has another one.
 */
export async function forgetPassword(client: Kubernetes, name: string): Promise<void> {
  await client.delete(`${paths.systemSecrets}/${name}.node-password.rke2`);
}
