import type { Deadline } from "../../runtime/deadline.ts";
import type { Kubernetes } from "./client.ts";
import type { Server } from "../../domain/availability/quorum.ts";
import { nameOf, voterCondition } from "./nodes.ts";
import { paths, type Node } from "./types.ts";
import { named, until } from "./watch.ts";

/*
 * Membership of etcd as RKE2 shows and changes it on its Nodes: no etcd client is needed, and none of its certificates.
 * RKE2's controllers write the annotations and the condition; `remove` is ours to write (k3s pkg/etcd/member_controller.go).
 */
const prefix = "etcd.rke2.cattle.io";
const annotation = {
  /** Asks RKE2 to take the member out; it stops that server's control plane for good. */
  remove: `${prefix}/remove`,
  /** Name of the member that was taken out. */
  removed: `${prefix}/removed-node-name`,
  /** Name of the member that runs on the node. */
  member: `${prefix}/node-name`,
} as const;

const annotationsOf = (node: Node) => node.metadata?.annotations ?? {};

/** True when the node's member was taken out, as RKE2 says when it is done. */
export function isRemoved(node: Node): boolean {
  const said = annotationsOf(node);
  return said[annotation.removed] !== undefined && said[annotation.member] === undefined;
}

/** The node's part in etcd, by what RKE2 wrote on it; undefined: it has not said yet, or says something unheard of. */
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

/**
 * Takes the member of a node out of etcd and waits until RKE2 says that it is out. Its API server is gone then.
 * @throws DeadlineError with the finalizers that hold the Node, when RKE2 does not confirm it
 */
export async function removeMember(client: Kubernetes, node: Node, deadline: Deadline): Promise<void> {
  const name = nameOf(node);
  if (isRemoved(node)) return;
  await client.patch(`${paths.nodes}/${name}`, "merge", { metadata: { annotations: { [annotation.remove]: "true" } } });
  let last: Node | undefined = node;
  await until<Node, true>(
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
