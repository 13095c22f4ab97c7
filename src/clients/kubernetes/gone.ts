import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import type { Proxmox } from "../proxmox/client.ts";
import { nodeTags } from "../proxmox/tags.ts";
import { askWhereItIs, findTaken, listVms, readVm } from "../proxmox/vms.ts";
import { hasNumberOf, hiddenVmProblems, stillReady } from "../../domain/rollout/hidden-vms.ts";
import type { NodeRecord } from "../../domain/model/types.ts";
import type { Kubernetes } from "./client.ts";
import { isReady } from "./nodes.ts";
import { paths, type Node } from "./types.ts";
import { named, waitUntil } from "./watch.ts";

/** A VM that is missing from the list of VMs that the token may see. */
export type Unseen = Pick<NodeRecord, "name" | "vmid">;

/** @param uuid SMBIOS uuid of the VM, if it is recorded: another node of ours may have the number by now */
type Missing = Unseen & { uuid?: string | undefined };

/** Longest time that a Node still shows Ready after its VM has lost its power, in seconds, with a margin. */
const readyAfterDeathSeconds = 90;

/** @throws UserError when a VM that the list does not show has the VMID: it is hidden from the token, not gone */
export async function requireFree(pve: Proxmox, vm: Unseen): Promise<void> {
  if ((await findTaken(pve, [vm.vmid])).length > 0) throw new UserError(hiddenVmProblems(vm));
}

/** @throws UserError when the number is taken, and not by a VM that was read and is another node's */
async function requireNoVm(pve: Proxmox, { name, vmid, uuid }: Missing): Promise<void> {
  if ((await findTaken(pve, [vmid])).length === 0) return;
  const holder = uuid === undefined ? undefined : (await listVms(pve)).find((vm) => vm.vmid === vmid);
  const tags = holder && nodeTags(holder.tags);
  if (holder && tags && uuid !== undefined) {
    const config = await askWhereItIs(pve, holder, (vm) => readVm(pve, vm));
    if (!config.template && hasNumberOf({ ...tags, ...config }, { name, vmid, uuid })) return;
  }
  throw new UserError(hiddenVmProblems({ name, vmid }));
}

/**
 * Proves that a node whose VM is missing from the list is gone, before the node is removed from the cluster: the list
 * shows only what the token may see. The VMID must be unused in the whole data centre, or that of another node's VM, and
 * the Node must not be Ready.
 * @returns the Node that remains, if any
 * @throws UserError when the VM is hidden from the token, or when another machine runs under its name
 */
export async function proveGone(
  pve: Proxmox,
  client: Kubernetes,
  vm: Missing,
  { seconds = readyAfterDeathSeconds, stop }: { seconds?: number; stop?: AbortSignal } = {},
): Promise<Node | undefined> {
  await requireNoVm(pve, vm);
  const deadline = new Deadline(`Node ${vm.name} to be found not Ready`, seconds, stop);
  const dead = waitUntil<Node, { node: Node | undefined }>(client, named(paths.nodes, vm.name), deadline, (seen) => {
    const [node] = seen.values();
    return node === undefined || !isReady(node) ? { node } : undefined;
  });
  const { node } = await dead.catch((error: unknown) => {
    throw error instanceof DeadlineError ? new UserError(stillReady(vm), { cause: error }) : error;
  });
  return node;
}
