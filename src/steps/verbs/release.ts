import { Deadline } from "../../runtime/deadline.ts";
import { requireUnprotected } from "../../clients/proxmox/destroy.ts";
import { IdentityError, proveVm } from "../../clients/proxmox/identity.ts";
import { awaitUnlocked } from "../../clients/proxmox/settle.ts";
import { tagsOf } from "../../clients/proxmox/tags.ts";
import { listVms, type ListedVm } from "../../clients/proxmox/vms.ts";
import { claimedBefore, identity } from "./claim.ts";
import { requireNothingKept } from "../node/data.ts";
import type { SlotInput } from "../input.ts";
import { requireGone, retire } from "./retire.ts";
import type { StepContext } from "../context.ts";

/**
 * The last look right before the engine destroys a VM, which it does by number alone: the VM of that number has to be the
 * one that was claimed, and it has to be retired. One whose join stands in no state is retired here, and may be a member. The
 * engine releases all VMs of a kind before it destroys the first, so with hundreds of them a look is minutes old: who puts
 * another VM under a number in that time has it destroyed.
 * @throws IdentityError when somebody else has the number, UserError when the VM is kept for its data; nothing was done to it
 */
export async function release(context: StepContext, input: SlotInput): Promise<{ released: string }> {
  const { node, vmid } = input;
  const vms = await listVms(context.pve);
  const vm = vms.find((one) => one.vmid === vmid);
  if (vm === undefined) {
    await requireGone(context, input);
    return { released: node };
  }
  const uuid = claimedBefore(context, input)?.uuid ?? (await ofUnclaimed(context, input, vm));
  const expected = { vmid, name: node, tags: tagsOf(input), uuid };
  // A silent cluster answers the first of the two, and that one knows what it means.
  await retire(context, input, vms);
  await requireNothingKept(context, input, vms);
  // A backup at night locks every VM for a while, also those that are off: the engine's delete would fail on it.
  const deadline = new Deadline(`the VM of ${node} to be free`, input.site.timeouts.drain, context.stop);
  requireUnprotected(
    await awaitUnlocked(context.pve, await proveVm(context.pve, vm.host, expected), expected, deadline),
  );
  return { released: node };
}

/**
 * One whose claim asked nothing, for its host did not answer then, is trusted as a claim trusts a clone: when it has the number
 * that the engine made, and has never run.
 * @returns its SMBIOS uuid
 */
async function ofUnclaimed(context: StepContext, input: SlotInput, vm: ListedVm): Promise<string> {
  const { node, vmid, madeVmid } = input;
  if (madeVmid === undefined)
    throw new IdentityError({ vmid, name: node, tags: tagsOf(input), uuid: undefined }, `host ${vm.host}`, [
      "nobody recorded its SMBIOS uuid",
    ]);
  return (await identity(context, input, vm, { founder: false })).uuid;
}
