import { Deadline } from "../../runtime/deadline.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import {
  findNode,
  isDead,
  isReady,
  secondsToDeath,
  taintOutOfService,
  whyNotReady,
} from "../../clients/kubernetes/nodes.ts";
import { paths, type Node, type Pod } from "../../clients/kubernetes/types.ts";
import { awaitDetached } from "../../clients/kubernetes/volumes.ts";
import type { ListedVm } from "../../clients/proxmox/vms.ts";
import { evictionOrder, longestDying } from "../../domain/drain/drain.ts";
import { switchOff } from "./power-off.ts";
import type { Decommissioning, DepartingNode } from "./departing-nodes.ts";
import { attemptQuietly } from "../context.ts";

/**
 * Whether a departing node whose VM runs is dead: not Ready for longer than Kubernetes leaves pods on such a node. Pods
 * on it do not end any more, so its drain would never end. A node that has just become silent may return, and gets the
 * time to; a node without a pod to evict, such as one that was never Ready, does not, as its drain ends at once.
 */
export async function isKnownDead(node: Node, { access: { client }, context }: Decommissioning): Promise<boolean> {
  const name = node.metadata?.name ?? "";
  if (isReady(node) || !(await hasPodsToEvict(client, name))) return false;
  const patience = secondsToDeath(node, client.now());
  if (patience > 0) say(`${name} is not Ready: it gets ${Math.ceil(patience)} s to come back (${whyNotReady(node)})`);
  const deadline = new Deadline(`${name} to come back or to be dead`, longestDying, context.stop);
  let last: Node | undefined = node;
  return await deadline.poll(
    () => Math.min(5_000, Math.max(250, 1000 * secondsToDeath(last ?? node, client.now()))),
    async () => {
      last = await findNode(client, name);
      if (last === undefined || isReady(last)) return false;
      return isDead(last, client.now()) ? true : undefined;
    },
    () => (last ? whyNotReady(last) : ""),
  );
}

async function hasPodsToEvict(client: Kubernetes, node: string): Promise<boolean> {
  const { items } = await client.list<Pod>(paths.pods, { fieldSelector: `spec.nodeName=${node}` });
  return evictionOrder(items).length > 0;
}

/**
 * Turns off the VM of a dead node and proves that it is off: only then is it certain that its pods do not run and that
 * other nodes may use their volumes. The out-of-service taint lets Kubernetes remove both at once; without it a volume
 * that only one node may use stays locked for six minutes.
 */
export async function turnOffDead(
  vm: ListedVm,
  { name, expected }: DepartingNode,
  options: Decommissioning,
): Promise<void> {
  const { access, input, context } = options;
  say(`${name} is dead while its VM runs: nobody there would end a pod, so it is turned off and not drained`);
  await switchOff(vm, true, expected, options);
  await releaseVolumes(
    access.client,
    name,
    new Deadline(`the volumes of ${name}`, input.site.timeouts.volumes, context.stop),
  );
}

/** Releases the node's volumes. Kubernetes releases them later in any case, so volumes that stay stop nothing. */
async function releaseVolumes(client: Kubernetes, name: string, deadline: Deadline): Promise<void> {
  await attemptQuietly(`the volumes of ${name} are released by Kubernetes later`, async () => {
    await taintOutOfService(client, name);
    await awaitDetached(client, name, deadline);
  });
}
