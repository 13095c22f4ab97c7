import { listVms, type ListedVm } from "../clients/proxmox/vms.ts";
import { imageTags } from "../domain/model/formats.ts";
import { untrackedAmong } from "./missing-vms.ts";
import type { ExclusiveUse } from "./exclusive-use.ts";
import { VM_TYPE, type KnownVm } from "./engine-state.ts";
import { undoCreate } from "./pending-creates.ts";
import type { OpenStack } from "../observe/open-stack.ts";

/**
 * Destroys clones that are in no state because their plugin was killed: they have a node name of this cluster, are off,
 * have never joined, and still have the tags of their template or are recorded as made. The state can be the wrong one,
 * or a restored old one, so the cluster's records must show that the VM was never a member: a VM that is off may hold the
 * only copy of etcd's data. Another VM that was configured is left alone, because a copy of a node looks the same.
 * @returns how many were destroyed
 */
export async function removeUntrackedClones(
  site: OpenStack,
  known: readonly Pick<KnownVm, "vmid">[],
  fence: Pick<ExclusiveUse, "check">,
  report: (what: string, how: string) => void,
): Promise<number> {
  let destroyed = 0;
  // Listed again: since the state was observed, creates were undone, and a clone that was waited for may have become
  // visible.
  for (const vm of untrackedAmong(await listVms(site.pve), known, site.config)) {
    await fence.check();
    const { vmid, name = "" } = vm;
    let how: string;
    if (site.observed.kubernetes === undefined) how = UNHEARD;
    else if (!vm.tags.includes(imageTags.image) && !isRecorded(site, vm))
      how = `${CONFIGURED}, destroy VM ${vmid} (${name}) by hand`;
    else how = (await undoCreate(site, { urn: "", type: VM_TYPE, inputs: { name, vmId: vmid } }, fence)).how;
    report(`VM ${vmid} (${name}) is in no state of the engine`, how);
    if (how.startsWith("destroyed")) destroyed += 1;
  }
  return destroyed;
}

/** Whether a claim has recorded this VM; its SMBIOS uuid is compared before anything is done to it. */
function isRecorded({ observed }: OpenStack, { vmid, name }: ListedVm): boolean {
  const nodes = [...observed.records.values()].flatMap((record) => record.nodes);
  return nodes.some((node) => node.vmid === vmid && node.name === name);
}

const CONFIGURED =
  "left alone: it was configured, and may be a copy of a node or a restored backup. If it is, take our tags off it or rename it. If a run that was killed has made it";

const UNHEARD =
  "left alone: there is no cluster that could say whether it was a member. If there is one, start its servers; is this the backend that the stack is in? If no server has ever joined, destroy the VM by hand";
