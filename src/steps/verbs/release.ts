import { Deadline } from "../../runtime/deadline.ts";
import { requireUnprotected } from "../../clients/proxmox/destroy.ts";
import { IdentityError, proveVm } from "../../clients/proxmox/identity.ts";
import { awaitUnlocked } from "../../clients/proxmox/settle.ts";
import { tagsOf } from "../../clients/proxmox/tags.ts";
import { listVms, type ListedVm } from "../../clients/proxmox/vms.ts";
import { proveIdentity } from "./claim.ts";
import { claimedBefore } from "../node/claimed.ts";
import { requireNothingKept } from "../node/data.ts";
import type { SlotInput } from "../input.ts";
import { requireGone, retireListed } from "./retire.ts";
import type { StepContext } from "../context.ts";

/**
 * Last check before the engine destroys a VM, which it does by VMID alone: the VM with that VMID has to be the claimed
 * one, and its node has to be decommissioned. A node whose join is not in the state is decommissioned here; it may be a
 * member. The engine runs the releases of all VMs of a kind before it destroys the first, so with hundreds of VMs this
 * check is minutes old: a VM that gets a released VMID in that time is destroyed.
 * @throws IdentityError when another VM has the VMID, UserError when the VM is kept for its data; the VM was not
 *   changed
 */
export async function release(context: StepContext, input: SlotInput): Promise<{ released: string }> {
  const { node, vmid } = input;
  const vms = await listVms(context.pve);
  const vm = vms.find((one) => one.vmid === vmid);
  if (vm === undefined) {
    await requireGone(context, input);
    return { released: node };
  }
  const uuid = claimedBefore(context, input)?.uuid ?? (await proveUnclaimed(context, input, vm));
  const expected = { vmid, name: node, tags: tagsOf(input), uuid };
  const deadline = new Deadline(`the VM of ${node} to be free`, input.site.timeouts.drain, context.stop);
  let [list, host, isLocked] = [vms, vm.host, true];
  // Whatever lets the VM go is asked again after the wait for a lock: somebody may have started it by then.
  while (isLocked) {
    // When the cluster is silent, the first of these two calls fails with the better message.
    const access = await retireListed(context, input, list);
    // A nightly backup locks every VM for a while, also those that are off: the engine's delete would fail on the lock.
    const proved = await proveVm(context.pve, host, expected);
    isLocked = proved.lock !== undefined;
    const free = await awaitUnlocked(context.pve, proved, expected, deadline);
    await requireNothingKept(context, input, list, free, isLocked ? undefined : access);
    requireUnprotected(free);
    ({ host } = free);
    if (isLocked) list = await listVms(context.pve);
  }
  return { released: node };
}

/**
 * Proves a VM whose claim did nothing because its host did not answer. It is trusted as a claim trusts a clone: when it
 * has the VMID that the engine made and has never run.
 * @returns its SMBIOS uuid
 */
async function proveUnclaimed(context: StepContext, input: SlotInput, vm: ListedVm): Promise<string> {
  const { node, vmid, madeVmid } = input;
  if (madeVmid === undefined)
    throw new IdentityError({ vmid, name: node, tags: tagsOf(input), uuid: undefined }, `host ${vm.host}`, [
      "nobody recorded its SMBIOS uuid",
    ]);
  return (await proveIdentity(context, input, vm, { founder: false })).uuid;
}
