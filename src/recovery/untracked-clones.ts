import type { Proxmox } from "../clients/proxmox/client.ts";
import { listVms, readVm, type ListedVm } from "../clients/proxmox/vms.ts";
import { imageTags } from "../domain/model/formats.ts";
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
  const list = await listVms(site.pve);
  const lost = list.filter(
    ({ vmid, name, pool, template, status }) =>
      name !== undefined &&
      parseNodeName(name, site.config.cluster) !== undefined &&
      pool === site.config.site.proxmoxPool &&
      !template &&
      status === "stopped" &&
      !known.some((vm) => vm.vmid === vmid),
  );
  for (const vm of lost) {
    await fence.check();
    const { vmid, name = "" } = vm;
    const inState = known.find((one) => one.name === name)?.vmid;
    const create = { urn: "", type: VM_TYPE, inputs: { name, vmId: vmid } };
    let how: string;
    if (site.observed.kubernetes === undefined) how = UNHEARD;
    else if (inState !== undefined && (await mayBeCopy(site.pve, vm, inState, list))) how = copyOf(vmid, name, inState);
    else how = (await undoCreate(site, create, fence)).how;
    report(`VM ${vmid} (${name}) is in no state of the engine`, how);
    if (how.startsWith("destroyed")) destroyed += 1;
  }
  return destroyed;
}

/**
 * Whether a VM that has the name of one in the state can be a copy of that, or a backup that was restored beside it. A
 * clone whose plugin was killed has an SMBIOS uuid of its own and still the tags of its template.
 */
async function mayBeCopy(pve: Proxmox, vm: ListedVm, original: number, list: readonly ListedVm[]): Promise<boolean> {
  const listed = list.find(({ vmid }) => vmid === original);
  if (listed === undefined) return true;
  const [{ uuid, tags }, other] = await Promise.all([readVm(pve, vm), readVm(pve, listed)]);
  return uuid === "" || uuid === other.uuid || !tags.includes(imageTags.image);
}

function copyOf(vmid: number, name: string, original: number): string {
  return `left alone: the state has VM ${original} of that name, and this one may be a copy of it or a restored backup. If it is neither, it is a clone that was never started: destroy VM ${vmid} (${name}) by hand`;
}

const UNHEARD =
  "left alone: there is no cluster that could say whether it was a member. If there is one, start its servers; is this the backend that the stack is in? If no server has ever joined, destroy the VM by hand";
