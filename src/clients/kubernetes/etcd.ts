import type { Deadline } from "../../runtime/deadline.ts";
import type { Kubernetes } from "./client.ts";
import type { Server } from "../../domain/availability/quorum.ts";
import { nameOf, voterCondition } from "./nodes.ts";
import { paths, type Node } from "./types.ts";
import { named, waitUntil } from "./watch.ts";

/*
 * Membership of etcd as RKE2 shows and changes it on its Nodes: neither an etcd client nor etcd's certificates are
 * needed. RKE2's controllers write the annotations and the condition; only `remove` is written by us (k3s
 * pkg/etcd/member_controller.go).
 */
const prefix = "etcd.rke2.cattle.io";
const annotation = {
  /** Asks RKE2 to remove the member; this stops that server's control plane permanently. */
  remove: `${prefix}/remove`,
  /** Name of the member that was removed. */
  removed: `${prefix}/removed-node-name`,
  /** Name of the member that runs on the node. */
  member: `${prefix}/node-name`,
} as const;

const annotationsOf = (node: Node) => node.metadata?.annotations ?? {};

/** True when RKE2 reports that the node's member was removed. */
export function isRemoved(node: Node): boolean {
  const said = annotationsOf(node);
  return said[annotation.removed] !== undefined && said[annotation.member] === undefined;
}

/**
 * The node's role in etcd, from RKE2's condition and annotations; undefined when RKE2 has not reported it yet, or
 * reports an unknown reason.
 */
export function etcdPartOf(node: Node): Server["member"] | undefined {
  if (isRemoved(node)) return "none";
  const { status, reason } = voterCondition(node) ?? {};
  if (status === "True") return "voter";
  const parts: Record<string, Server["member"]> = {
    MemberIsLearner: "learner",
    NotAMember: "none",
    Unhealthy: "voter",
  };
  return parts[reason ?? ""];
}

/** Whether the node has been a member of etcd at some time: RKE2 has reported its role. */
export const hasBeenInEtcd = (node: Node | undefined): boolean => node !== undefined && etcdPartOf(node) !== undefined;

/**
 * Removes the member of a node from etcd and waits until RKE2 confirms it. The node's API server has stopped then.
 * @param again called before the removal is asked for again: throws when the member may not leave any more
 * @throws DeadlineError with the name of the member, when RKE2 does not confirm it
 */
export async function removeMember(
  client: Kubernetes,
  node: Node,
  deadline: Deadline,
  again: () => Promise<void>,
): Promise<void> {
  const name = nameOf(node);
  if (isRemoved(node)) return;
  const patch = { metadata: { annotations: { [annotation.remove]: "true" } } };
  await client.patch(`${paths.nodes}/${name}`, "merge", patch, again);
  let last: Node | undefined = node;
  await waitUntil<Node, true>(
    client,
    named(paths.nodes, name),
    deadline,
    (seen) => {
      last = [...seen.values()][0];
      return last === undefined || isRemoved(last) ? true : undefined;
    },
    () => `Node ${name} still names its member ${annotationsOf(last ?? node)[annotation.member] ?? "(unknown)"}`,
  );
}
