import { listVms } from "../clients/proxmox/vms.ts";
import { parseNodeName } from "../domain/model/generation.ts";
import type { ExclusiveUse } from "./exclusive-use.ts";
import { VM_TYPE, type KnownVm } from "./engine-state.ts";
import { undoCreate } from "./pending-creates.ts";
import type { OpenStack } from "../observe/open-stack.ts";

/**
 * Destroys clones that are in no state because their plugin was killed: they have a node name of this cluster, are off,
 * and have never joined. The state can be the wrong one, or a restored old one, so the cluster's records must show that
 * the VM was never a member: a VM that is off may hold the only copy of etcd's data.
 * @returns how many were destroyed
 */
export async function removeUntrackedClones(
  site: OpenStack,
  known: readonly Pick<KnownVm, "vmid" | "name">[],
  fence: Pick<ExclusiveUse, "check">,
  report: (what: string, how: string) => void,
): Promise<number> {
  let destroyed = 0;
  // Listed again: since the state was observed, creates were undone, and a clone that was waited for may have become
  // visible.
  const lost = (await listVms(site.pve)).filter(
    ({ vmid, name, pool, template, status }) =>
      name !== undefined &&
      parseNodeName(name, site.config.cluster) !== undefined &&
      pool === site.config.site.proxmoxPool &&
      !template &&
      status === "stopped" &&
      // Another VM of that name is in the state: this one is a copy of it, or a backup that was restored beside it.
      !known.some((vm) => vm.vmid === vmid || vm.name === name),
  );
  for (const { vmid, name = "" } of lost) {
    await fence.check();
    const create = { urn: "", type: VM_TYPE, inputs: { name, vmId: vmid } };
    const how = site.observed.kubernetes === undefined ? UNHEARD : (await undoCreate(site, create, fence)).how;
    report(`VM ${vmid} (${name}) is in no state of the engine`, how);
    if (how.startsWith("destroyed")) destroyed += 1;
  }
  return destroyed;
}

const UNHEARD =
  "left alone: there is no cluster that could say whether it was a member. If there is one, start its servers; is this the backend that the stack is in? If no server has ever joined, destroy the VM by hand";
