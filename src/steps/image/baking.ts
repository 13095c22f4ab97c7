/** A bake that runs: what its parts share. */
import { readBakeVm } from "../../clients/proxmox/bake-vm.ts";
import type { Proxmox } from "../../clients/proxmox/client.ts";
import { listVms, vmPath } from "../../clients/proxmox/vms.ts";
import { markOf, notedBake, notesWith, type BakeOrder, type Phase } from "../../domain/images/bake.ts";
import { nextStep, type ObservedBakeVm } from "../../domain/images/bake-step.ts";
import { UserError } from "../../runtime/errors.ts";

export interface Baking {
  pve: Proxmox;
  order: BakeOrder;
  /** Bytes of the CD. */
  cd: Uint8Array;
  /** Aborts when the run was cancelled, or its engine has ended: the VM stays, and the next run goes on with it. */
  stop: AbortSignal;
}

/** The bake itself failed: nothing can be made of its VM. */
export class BakeFailed extends Error {
  override readonly name = "BakeFailed";
}

/**
 * Reads the VM again and proves that it is the one of this bake: call it right before every request that changes it.
 * @throws UserError when it is not: nothing was done to it; BakeFailed when it is gone
 */
export async function proveBakeVm(baking: Baking): Promise<ObservedBakeVm> {
  const vm = await findBakeVm(baking);
  if (vm === undefined) throw new BakeFailed("its VM was removed while it was baked, and not by this run");
  return vm;
}

/** As `proveBakeVm`. @returns undefined when it is gone */
export async function findBakeVm({ pve, order }: Baking): Promise<ObservedBakeVm | undefined> {
  const listed = (await listVms(pve)).find(({ vmid }) => vmid === order.vmid);
  if (listed === undefined) return undefined;
  const vm = await readBakeVm(pve, listed);
  const step = nextStep(order, { vm, cds: [], hasBase: true });
  if (step.do === "refuse") throw new UserError(step.problem);
  return vm;
}

/** Writes how far the bake is into the notes of its VM. The write is bound to the configuration that was proved. */
export async function markPhase(baking: Baking, phase: Phase): Promise<void> {
  const vm = await proveBakeVm(baking);
  if (notedBake(vm.notes)?.phase === phase) return;
  await changeVm(baking, vm, { description: notesOf(baking, vm, phase) });
}

/** Notes of the VM with a phase. */
export function notesOf(
  { order }: Pick<Baking, "order">,
  { notes }: Pick<ObservedBakeVm, "notes">,
  phase: Phase,
): string {
  return notesWith(notes, markOf(order, phase));
}

/** Changes the configuration of a VM that was proved right before. */
export async function changeVm(
  { pve, order }: Baking,
  { host, config }: ObservedBakeVm,
  change: Record<string, string>,
): Promise<void> {
  await pve.put(`${vmPath({ host, vmid: order.vmid })}/config`, { ...change, digest: config });
}
