import { isAsWanted } from "../../clients/proxmox/guest-registries.ts";
import { listVms } from "../../clients/proxmox/vms.ts";
import { say } from "../../runtime/log.ts";
import { connect } from "../cluster/connect.ts";
import { allFences, disruptionLeases, slotLease, withLease, type StepContext } from "../context.ts";
import type { RegistriesInput } from "../input.ts";
import { askNow, NotNow } from "../node/not-now.ts";
import { findOutdated } from "../node/outdated-registries.ts";
import { findRoom, replaceInPlace, type Reload } from "../node/reload.ts";

/**
 * Gives the members of a pool other registries in place, one after the other: RKE2 restarts and reads them, containers
 * go on. Whether a node is Ready again is seen before the next one. A node that cannot be changed now is named and left
 * alone: the rest of the run may be what brings it back.
 * @throws UserError when a node does not come back: no other one is changed
 */
export async function registries(
  context: StepContext,
  input: RegistriesInput,
): Promise<{ changed: string[]; left: string[] }> {
  const { vms, access } = await connect(context, input);
  // Before there is a cluster, joins alone write them.
  if (access === undefined) return { changed: [], left: [] };
  const changed: string[] = [];
  const left: string[] = [];
  let unsure: string | undefined;
  for (const { own, vm, why, isReloading: mayRestart } of await findOutdated(context, input, access.client, vms)) {
    try {
      if (unsure !== undefined) throw new NotNow(`RKE2 of ${unsure} may restart at any moment`);
      if (why !== undefined || vm === undefined) throw new NotNow(why ?? "its VM is not seen");
      if (await change({ context, input, access, own, vm })) changed.push(own.name);
    } catch (error) {
      if (!(error instanceof NotNow)) throw error;
      say(`${own.name} keeps the registries that it has: ${error.message}`);
      left.push(own.name);
      if (mayRestart || error.mayRestart) unsure ??= own.name;
    }
  }
  return { changed, left };
}

/** @returns whether it was changed: another step may have done so meanwhile */
async function change(reload: Reload): Promise<boolean> {
  const { context, input, access, own } = reload;
  const { lease } = input.site.timeouts;
  return await withLease(context, access, slotLease({ pool: input.pool, slot: own.slot }), lease, async (slot) => {
    const names = disruptionLeases(input).slice(0, await findRoom(reload));
    return await withLease(context, access, names, lease, async (disruption) => {
      const vm = (await listVms(context.pve)).find(({ vmid }) => vmid === own.vmid) ?? reload.vm;
      if (await askNow(() => isAsWanted(context.pve, vm, input.registries))) return false;
      await replaceInPlace({ ...reload, vm }, allFences(slot, disruption));
      say(`${own.name} has the configured registries`);
      return true;
    });
  });
}
