import { labels } from "../../domain/model/formats.ts";
import { clock } from "../../runtime/clock.ts";
import type { Server } from "../../domain/availability/quorum.ts";
import type { Access } from "./access.ts";
import { Kubernetes } from "./client.ts";
import type { EtcdMember } from "./etcd-members.ts";
import { etcdPartOf } from "./etcd.ts";
import { addressOf, findNode, isReady, nameOf } from "./nodes.ts";
import { paths, type Node } from "./types.ts";
import { apiAt } from "./urls.ts";

/**
 * Time in which a server must report itself ready to count as serving, in milliseconds. An election takes one second.
 */
const patienceMs = 5_000;

/** A server as its Node shows it, and whether its own API server serves. */
export interface ServerNode extends Server {
  /** The node's slot; undefined: the node is not ours. */
  slot: string | undefined;
  kubelet: string;
  /** Name of its member in etcd, where the members were read. Undefined: it has none, or one that has never started. */
  memberName?: string | undefined;
}

/**
 * Every server, by its Node and by etcd's member list: a server that is only in one of them belongs to an incomplete
 * change.
 */
export async function readServersAndMembers(
  access: Access,
  members: readonly EtcdMember[],
  signal: AbortSignal,
): Promise<ServerNode[]> {
  const labelled = await readServers(access, signal);
  const known = new Set(labelled.map(({ name }) => name));
  const others = members.filter(({ node }) => !known.has(node));
  const rest = await Promise.all(others.map((member) => readUnlabelled(access, member, signal)));
  return [...labelled, ...rest].map((server) => {
    const found = members.find(({ node }) => node === server.name);
    return { ...server, member: partOf(found), ...(found?.name !== undefined && { memberName: found.name }) };
  });
}

/** A member whose Node has not the label of a server: somebody has removed it, or there is no Node. */
async function readUnlabelled(access: Access, member: EtcdMember, signal: AbortSignal): Promise<ServerNode> {
  const node = await findNode(access.client, member.node);
  return node ? await readServer(access, node, signal) : withoutNode(member);
}

function partOf(member: EtcdMember | undefined): Server["member"] {
  if (member === undefined) return "none";
  return member.learner ? "learner" : "voter";
}

function withoutNode(member: EtcdMember): ServerNode {
  const health = member.started ? "unknown" : "unhealthy";
  return { name: member.node, node: false, member: partOf(member), health, slot: undefined, kubelet: "" };
}

/**
 * Every server that has a Node. Each is asked directly: a Node looks healthy for most of a minute after its machine has
 * died, and the registration address leads to any of them.
 */
export async function readServers(access: Access, signal: AbortSignal): Promise<ServerNode[]> {
  const { items } = await access.client.list<Node>(paths.nodes, { labelSelector: labels.server });
  return await Promise.all(items.map((node) => readServer(access, node, signal)));
}

async function readServer(access: Access, node: Node, signal: AbortSignal): Promise<ServerNode> {
  const member = etcdPartOf(node);
  return {
    name: nameOf(node),
    node: true,
    member: member ?? "none",
    health: member === undefined ? "unknown" : await readHealth(access, node, signal),
    slot: node.metadata?.labels?.[labels.slot],
    kubelet: node.status?.nodeInfo?.kubeletVersion ?? "",
  };
}

async function readHealth(access: Access, node: Node, signal: AbortSignal): Promise<Server["health"]> {
  const address = addressOf(node);
  if (address === undefined) return "unknown";
  if (!isReady(node)) return "unhealthy";
  const own = access.at(address);
  try {
    const serves = await own.isReady(AbortSignal.any([signal, clock.timeout(patienceMs)]));
    return serves ? "healthy" : "unhealthy";
  } finally {
    await own.close();
  }
}

/** How far the clock of each API server is ahead of ours, in seconds. One that does not answer is left out. */
export async function readClocks(client: Kubernetes): Promise<{ name: string; ahead: number }[]> {
  const { items } = await client.list<Node>(paths.nodes, { labelSelector: labels.server });
  const clocks = items.map(async (node) => {
    const address = addressOf(node);
    if (address === undefined) return [];
    const own = new Kubernetes({ ...client.config, server: apiAt(address) });
    try {
      await own.isReady(clock.timeout(patienceMs));
      return own.ahead === undefined ? [] : [{ name: nameOf(node), ahead: Math.round(own.ahead / 1000) }];
    } finally {
      await own.close();
    }
  });
  return (await Promise.all(clocks)).flat();
}
