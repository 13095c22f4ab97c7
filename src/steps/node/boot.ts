import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { bootOf } from "../../clients/kubernetes/nodes.ts";
import { writeFacts } from "../../clients/kubernetes/record.ts";
import type { Node } from "../../clients/kubernetes/types.ts";
import type { NodeRecord } from "../../domain/model/types.ts";
import type { NodeView } from "./node-view.ts";

/* A soak begins anew with a restart, also with one so fast that Kubernetes takes the node for Ready all the while. */

/** The boot of a node, and since when it is known. */
export function bootRecord(client: Kubernetes, node: Node, { boot }: NodeRecord): Pick<NodeRecord, "boot"> {
  const id = bootOf(node);
  return { boot: boot?.id === id ? boot : { id, since: client.now().toISOString() } };
}

/** Whether a member has restarted by itself. Of one that joined before boots were recorded it is not known. */
export function hasRestarted({ node, own }: NodeView): boolean {
  return node !== undefined && own?.boot !== undefined && own.boot.id !== bootOf(node);
}

/** Records that a member has restarted by itself, under the lease of its slot. */
export async function recordRestart(client: Kubernetes, pool: string, view: NodeView): Promise<void> {
  const { node, own } = view;
  if (node === undefined || own === undefined || !hasRestarted(view)) return;
  await writeFacts(client, pool, { nodes: [{ ...own, ...bootRecord(client, node, own) }] });
}
