import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import type { Proxmox } from "../proxmox/client.ts";
import { takenAmong } from "../proxmox/vms.ts";
import { hiddenVmProblems, stillReady } from "../../domain/rollout/hidden-vms.ts";
import type { NodeRecord } from "../../domain/model/types.ts";
import type { Kubernetes } from "./client.ts";
import { isReady } from "./nodes.ts";
import { paths, type Node } from "./types.ts";
import { named, until } from "./watch.ts";

/** A VM that is not in the list of what the token may see. */
export type Unseen = Pick<NodeRecord, "name" | "vmid">;

/** How long a Node looks Ready at most after its VM has lost its power, in seconds; and some more. */
const readyAfterDeathSeconds = 90;

/** @throws UserError when somebody has the number of a VM that the list does not show: it is out of sight, and not gone */
export async function requireFree(pve: Proxmox, vm: Unseen): Promise<void> {
  if ((await takenAmong(pve, [vm.vmid])).length > 0) throw new UserError(hiddenVmProblems(vm));
}

/**
 * Proves that a node is gone whose VM is not in the list, before it is taken out of the cluster: a list shows what the token
 * may see and no more. The number has to be free for everybody, and the Node not Ready.
 * @returns the Node that is left of it
 * @throws UserError when the VM is out of sight, or something runs under its name
 */
export async function proveGone(
  pve: Proxmox,
  client: Kubernetes,
  vm: Unseen,
  { seconds = readyAfterDeathSeconds, stop }: { seconds?: number; stop?: AbortSignal } = {},
): Promise<Node | undefined> {
  await requireFree(pve, vm);
  const deadline = new Deadline(`Node ${vm.name} to be found not Ready`, seconds, stop);
  const dead = until<Node, { node: Node | undefined }>(client, named(paths.nodes, vm.name), deadline, (seen) => {
    const [node] = seen.values();
    return node === undefined || !isReady(node) ? { node } : undefined;
  });
  const { node } = await dead.catch((error: unknown) => {
    throw error instanceof DeadlineError ? new UserError(stillReady(vm), { cause: error }) : error;
  });
  return node;
}
