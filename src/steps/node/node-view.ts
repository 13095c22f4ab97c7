import type { Access } from "../../clients/kubernetes/access.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import {
  findNode,
  heartbeatOf,
  isFenced,
  isLeaving,
  emptierOf,
  isOurCordon,
  isReady,
  isVoter,
  labelsOf,
  nameOf,
  relabel,
  uuidOf,
  whyNotReady,
} from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord, readSlotRecord } from "../../clients/kubernetes/record.ts";
import type { VmConfig } from "../../clients/proxmox/vms.ts";
import { say } from "../../runtime/log.ts";
import { owedLabels, topologyLabels } from "../../domain/model/labels.ts";
import { schedulingObstacles, type SchedulingObstacle } from "../../domain/availability/serving.ts";
import type { Node } from "../../clients/kubernetes/types.ts";
import type { NodeRecord, NodeSpec, PoolRecord, Role } from "../../domain/model/types.ts";
import type { SlotInput } from "../input.ts";

/** What a Node has to be before it counts as a member. */
export interface Expected {
  name: string;
  /** SMBIOS uuid of its VM. */
  uuid: string;
  role: Role;
  spec: NodeSpec;
  labels: Readonly<Record<string, string>>;
  /** The node was a member before: what others have changed on it since is their business, and no reason to wait. */
  isMember?: boolean;
  /** Id of a boot that is over: a Node that still reports it looks Ready for most of a minute although it is down. */
  bootBefore?: string | undefined;
  /** Likewise the last heartbeat of a kubelet that had ended by then. */
  heartbeatBefore?: string | undefined;
}

/**
 * What the Node of a slot has to be.
 * @param vm its VM, on its Proxmox host now
 */
export function expectedNode(input: SlotInput, vm: { uuid: string; host?: string }): Expected {
  const { node: name, role, spec } = input;
  return { name, uuid: vm.uuid, role, spec, labels: nodeLabels(input, vm.host) };
}

/** Our labels, those of the place that its VM is in, and the pool's own. */
export function nodeLabels(input: SlotInput, host: string | undefined): Record<string, string> {
  return {
    ...topologyLabels(input.site.topology, host),
    ...input.spec.labels,
    ...labelsOf(input),
  };
}

/** What is permanently wrong with a node: another wait will not change it. */
export function contradictions(node: Node, expected: Expected): string[] {
  const found: string[] = [];
  const kubelet = node.status?.nodeInfo?.kubeletVersion ?? "";
  if (kubelet !== "" && kubelet !== expected.spec.rke2) {
    found.push(`the kubelet is ${kubelet}, and the image claims ${expected.spec.rke2}`);
  }
  if (isAnotherMachine(node, expected)) {
    found.push(`its SMBIOS uuid is ${uuidOf(node)}, and the VM has ${expected.uuid}`);
  }
  return found;
}

/** Whether the Node reports a machine that is not its VM. */
export function isAnotherMachine(node: Node, { uuid }: Pick<Expected, "uuid">): boolean {
  return uuidOf(node) !== "" && uuidOf(node) !== uuid;
}

/** What a node still lacks to be a member; empty when it is one. */
export function missingForMembership(node: Node, expected: Expected): string[] {
  const found = contradictions(node, expected);
  if (!isReady(node)) found.push(whyNotReady(node));
  const silence = whySilent(node, expected);
  if (silence !== undefined) found.push(silence);
  if (expected.role === "server" && !isVoter(node)) found.push("it is not a voter of etcd yet");
  if (uuidOf(node) === "") found.push("it has not reported its SMBIOS uuid");
  return found;
}

/** Why a Node says nothing about a kubelet that was to start: it is as an earlier one has left it. */
export function whySilent(
  node: Node,
  { bootBefore, heartbeatBefore }: Pick<Expected, "bootBefore" | "heartbeatBefore">,
): string | undefined {
  if (bootBefore !== undefined && node.status?.nodeInfo?.bootID === bootBefore)
    return "it has not reported since its VM was started";
  if (heartbeatBefore !== undefined && heartbeatOf(node) === heartbeatBefore)
    return "it has not reported since its RKE2 was started";
  return undefined;
}

/** What keeps pods away from a Ready node. Our own cordon does not count: the join of a node that stays removes it. */
export function obstaclesOf(node: Node, { spec }: Pick<Expected, "spec">): SchedulingObstacle[] {
  const own = isOurCordon(node) ? { ...node, spec: { ...node.spec, unschedulable: false } } : node;
  return schedulingObstacles(own, spec.taints, spec.startupTaints);
}

/**
 * Gives a proved node the labels and annotations that it lacks: those that its kubelet may not register with, and those
 * that were changed manually. RKE2 applies `node-label` only at the registration, so a restart would not bring them
 * back, and a kubelet registers with no annotations.
 */
export async function applyLabels(client: Kubernetes, node: Node, expected: Labelled): Promise<void> {
  if (!lacksLabels(node, expected)) return;
  const { owed, annotations } = owedTo(node, expected);
  const shown = Object.entries(owed).map(([key, value]) => `${key}=${value}`);
  await relabel(client, node, owed, annotations);
  if (shown.length > 0) say(`${nameOf(node)} gets its labels: ${shown.join(", ")}`);
  const keys = Object.keys(annotations);
  if (keys.length > 0) say(`${nameOf(node)} gets its annotations: ${keys.join(", ")}`);
}

type Labelled = Pick<Expected, "labels" | "spec">;

/** Whether a node lacks labels or annotations. */
export function lacksLabels(node: Node, expected: Labelled): boolean {
  const { owed, annotations } = owedTo(node, expected);
  return Object.keys(owed).length + Object.keys(annotations).length > 0;
}

function owedTo({ metadata }: Node, { labels, spec }: Labelled) {
  return {
    owed: owedLabels(metadata?.labels, labels),
    annotations: owedLabels(metadata?.annotations, spec.annotations ?? {}),
  };
}

/**
 * Whether the node has our cordon or our mark beside a cordon of somebody else, our leaving taint or our out-of-service
 * taint, which a node that stays must not have.
 */
export const isMarked = (node: Node): boolean => emptierOf(node) !== undefined || isLeaving(node) || isFenced(node);

/** What the cluster says of a node. */
export interface NodeView {
  node: Node | undefined;
  /** What is remembered of its pool, or of its slot alone. */
  record: PoolRecord;
  /** What is remembered of the node. */
  own: NodeRecord | undefined;
}

/** A join at work, under the lease of its slot. */
export interface Joining {
  access: Access;
  fence: Fence;
  /** As it was when the work began. */
  view: NodeView;
  /** As it was proved. */
  vm: VmConfig;
}

export async function readNodeView(
  client: Kubernetes,
  input: Pick<SlotInput, "pool" | "role" | "slot" | "node">,
): Promise<NodeView> {
  // A server needs the other slots too: which of their servers have left etcd (src/steps/node/predecessors.ts).
  const { pool, role, slot } = input;
  const memory = role === "server" ? readPoolRecord(client, pool) : readSlotRecord(client, pool, slot);
  const [node, record] = await Promise.all([findNode(client, input.node), memory]);
  return { node, record, own: record.nodes.find(({ name }) => name === input.node) };
}
