import { Deadline } from "../../runtime/deadline.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { evacuate, findLonghornNode, forgetLonghornNode, requireMayRetire } from "../../clients/kubernetes/longhorn.ts";
import { nameOf } from "../../clients/kubernetes/nodes.ts";
import type { LonghornNode } from "../../domain/drain/longhorn.ts";
import type { Decommissioning } from "./departing-nodes.ts";

/**
 * The node as Longhorn knows it, when its storage allows it to go; undefined where there is no Longhorn: one request.
 * @throws UserErrors when its storage could not go, or would be lost; nothing was changed
 */
export async function requireStorageMayGo(
  name: string,
  running: boolean,
  { access: { client }, input, context }: Decommissioning,
): Promise<LonghornNode | undefined> {
  const storage = await findLonghornNode(client, name);
  if (storage === undefined) return undefined;
  const deadline = new Deadline(`room for the Longhorn replicas of ${name}`, input.site.timeouts.gate, context.stop);
  await requireMayRetire(client, storage, running, deadline);
  return storage;
}

/**
 * Moves a node's replicas away. After the cordon: Longhorn places no replica on a cordoned node, and removes an
 * instance manager's budget only on a cordoned node (instance_manager_controller.go). Before the pods are evicted: the
 * budget stays as long as a replica does, and a rebuild takes longer than a drain may (longhorn#12821).
 */
export async function moveStorage(storage: LonghornNode, options: Decommissioning): Promise<void> {
  const { access, fence, input, context } = options;
  const what = `the Longhorn replicas of ${nameOf(storage)}`;
  const deadline = new Deadline(what, input.site.timeouts.storage, context.stop);
  await evacuate(access.client, storage, { by: context.id, deadline, check: () => fence.check() });
}

/** Waits until Longhorn has forgotten the node, after its Node is gone. */
export async function forgetStorage(
  client: Kubernetes,
  storage: LonghornNode,
  options: Decommissioning,
): Promise<void> {
  const { input, context } = options;
  const name = nameOf(storage);
  const what = `Longhorn to forget ${name}`;
  const gone = await forgetLonghornNode(client, storage, new Deadline(what, input.site.timeouts.gate, context.stop));
  if (!gone) say(`Longhorn still lists ${name}, whose Node is gone; the next run asks again`);
}
