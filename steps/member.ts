import type { Kubernetes } from "../kubernetes/client.ts";
import {
  findNode,
  isLeaving,
  isOurCordon,
  isReady,
  isVoter,
  labelsOf,
  uuidOf,
  whyNotReady,
} from "../kubernetes/nodes.ts";
import { readPoolRecord } from "../kubernetes/record.ts";
import type { Node } from "../kubernetes/types.ts";
import type { NodeRecord, NodeSpec, PoolRecord, Role } from "../rollout/types.ts";
import type { SlotInput } from "./input.ts";

/** What a Node has to be before it counts as a member. */
export interface Expected {
  name: string;
  /** SMBIOS uuid of its VM. */
  uuid: string;
  role: Role;
  spec: NodeSpec;
  labels: Readonly<Record<string, string>>;
  /** A boot that is over: a Node that still tells of it looks Ready for most of a minute without being there. */
  bootBefore?: string | undefined;
}

/** What the Node of a slot has to be. @param uuid SMBIOS uuid of its VM */
export function expectedNode(input: SlotInput, uuid: string): Expected {
  return { name: input.node, uuid, role: input.role, spec: input.spec, labels: nodeLabels(input) };
}

/** Our labels and the pool's own. */
export function nodeLabels(input: SlotInput): Record<string, string> {
  return {
    ...input.spec.labels,
    ...labelsOf(input),
  };
}

/** What is wrong with a node for ever: another wait will not change it. */
export function contradictions(node: Node, expected: Expected): string[] {
  const found: string[] = [];
  const kubelet = node.status?.nodeInfo?.kubeletVersion ?? "";
  if (kubelet !== "" && kubelet !== expected.spec.rke2) {
    found.push(`the kubelet is ${kubelet}, and the image claims ${expected.spec.rke2}`);
  }
  if (uuidOf(node) !== "" && uuidOf(node) !== expected.uuid) {
    found.push(`its SMBIOS uuid is ${uuidOf(node)}, and the VM has ${expected.uuid}`);
  }
  return found;
}

/** What a node still lacks to be a member; empty when it is one. */
export function lacking(node: Node, expected: Expected): string[] {
  const found = contradictions(node, expected);
  if (!isReady(node)) found.push(whyNotReady(node));
  if (expected.bootBefore !== undefined && node.status?.nodeInfo?.bootID === expected.bootBefore)
    found.push("it has not reported since its VM was started");
  if (expected.role === "server" && !isVoter(node)) found.push("it is not a voter of etcd yet");
  if (uuidOf(node) === "") found.push("it has not reported its SMBIOS uuid");
  for (const [key, value] of Object.entries(expected.labels)) {
    const is = node.metadata?.labels?.[key];
    if (is !== value) found.push(`the label ${key} is ${is ?? "missing"}, expected ${value}`);
  }
  return found;
}

/** Marks of ours that a node which stays must not have. */
export const isMarked = (node: Node): boolean => isOurCordon(node) || isLeaving(node);

/** What the cluster says of a slot's node. */
export interface Known {
  node: Node | undefined;
  record: PoolRecord;
  own: NodeRecord | undefined;
}

export async function known(client: Kubernetes, input: SlotInput): Promise<Known> {
  const [node, record] = await Promise.all([findNode(client, input.node), readPoolRecord(client, input.pool)]);
  return { node, record, own: record.nodes.find(({ name }) => name === input.node) };
}
