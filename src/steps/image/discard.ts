/** Takes away what a bake has made, when nothing can be made of it. */
import { removeFile } from "../../clients/proxmox/files.ts";
import { ProxmoxError } from "../../clients/proxmox/errors.ts";
import { stopVm } from "../../clients/proxmox/power.ts";
import { awaitTask, TaskError } from "../../clients/proxmox/task.ts";
import { findTaken, vmPath } from "../../clients/proxmox/vms.ts";
import { cdOf, imageOf, type BakeOrder } from "../../domain/images/bake.ts";
import { mayDiscard, type ObservedBakeVm } from "../../domain/images/bake-step.ts";
import { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { findBakeVm, type Baking } from "./baking.ts";
import { observeBake } from "./observe.ts";

/** Seconds until Proxmox has ended what it does with a whole disk. */
const LOCK_SECONDS = 3600;
const DESTROY_SECONDS = 600;
/** What was taken away, and what was locked meanwhile, is looked at again. */
const ROUNDS = 4;

/** Waits until Proxmox has finished what it does to the VM: makes it, backs it up, or destroys it. */
export async function awaitUnlocked({ pve, order, stop }: Baking): Promise<void> {
  let lock = "";
  const deadline = new Deadline(
    `Proxmox to unlock VM ${order.vmid} of the bake of ${imageOf(order)}`,
    LOCK_SECONDS,
    stop,
  );
  await deadline.poll(
    2000,
    async () => {
      const { vm } = await observeBake(pve, order);
      if (typeof vm === "object") lock = vm.lock ?? "";
      return vm === "in-the-making" || (typeof vm === "object" && vm.lock !== undefined) ? undefined : true;
    },
    () => (lock === "" ? "" : `it is locked (${lock})`),
  );
}

/** How often a VM is stopped and destroyed: the start of a run that was killed may only now have its effect. */
const MOST_TRIES = 3;

/** Destroys the VM of a bake. @throws UserError when it is none, or a template that nodes may have */
export async function destroyBakeVm(baking: Baking): Promise<void> {
  const { pve, order, stop } = baking;
  const { vmid } = order;
  for (let tries = 1; ; tries += 1) {
    const vm = await findBakeVm(baking);
    if (vm === undefined) return;
    if (!mayDiscard(order, vm)) throw notDiscarded(order, vm);
    if (vm.isRunning) await stopVm(pve, { ...vm, vmid }, { stop });
    // Minutes may have passed.
    const now = await findBakeVm(baking);
    if (now?.uuid !== vm.uuid || !mayDiscard(order, now)) return;
    try {
      await sendDestroy(baking, now);
      return;
    } catch (error) {
      const isRefused = error instanceof TaskError || error instanceof ProxmoxError;
      // An earlier destroy whose answer was lost may have been quicker.
      if (isRefused && (await findTaken(pve, [vmid])).length === 0) return;
      if (!isRefused || tries === MOST_TRIES) throw error;
    }
  }
}

async function sendDestroy({ pve, order: { vmid }, stop }: Baking, { host, name }: ObservedBakeVm): Promise<void> {
  const upid = await pve.delete(vmPath({ vmid, host }), { purge: true, "destroy-unreferenced-disks": true });
  await awaitTask(pve, upid, new Deadline(`the destruction of ${name}`, DESTROY_SECONDS, stop));
}

function notDiscarded(order: BakeOrder, { name, host }: ObservedBakeVm): UserError {
  return new UserError({
    what: `VM ${order.vmid} (${name}) is not destroyed: it is no unfinished bake of ${imageOf(order)} now`,
    where: `VM ${order.vmid} on ${host}`,
    todo: "nothing was done to it. Look at it in Proxmox, then run again",
  });
}

/**
 * Takes everything away that an unfinished bake has made: its VM, then its CD. What is not of it stays.
 * @throws UserError when something of it is left
 */
export async function clearBake(baking: Baking): Promise<true> {
  const { pve, order, stop } = baking;
  const at = { host: order.place.host, storage: order.place.imageStorage };
  for (let round = 1; round <= ROUNDS; round += 1) {
    const { vm, cds } = await observeBake(pve, order);
    if (vm === "in-the-making" || (typeof vm === "object" && vm.lock !== undefined)) await awaitUnlocked(baking);
    else if (typeof vm === "object" && mayDiscard(order, vm)) await destroyBakeVm(baking);
    else {
      // Of a VM that is there and not of this bake, the CD may be in use.
      const own = vm === undefined ? cds : cds.filter((volume) => volume === cdOf(order));
      for (const volume of own) await removeFile(pve, at, volume, stop);
      return true;
    }
  }
  throw new UserError({
    what: `the VM of the bake of ${imageOf(order)} is there again and again`,
    where: `VM ${order.vmid}`,
    todo: "look at its tasks in Proxmox: somebody else makes it, or locks it",
  });
}
