/** Privileges to read volumes. */
import { ApiError, died } from "./answer.ts";
import type { DataCentre } from "./data-centre.ts";
import type { Token } from "./model.ts";
import { mayAny, needAll, needAny } from "./permissions.ts";
import { storageOf } from "./storages.ts";
import { parseVolumeId, storageIdOf } from "./volume-names.ts";

/**
 * Requires the privileges to read a volume: for a VM's disk, which may be private, on the storage and on the VM.
 * @param vmid the VM that is to use the volume: its own disks need no privilege
 * @throws ApiError 403
 */
export function needVolume(dc: DataCentre, token: Token, volid: string, vmid?: number): void {
  const storage = `/storage/${storageIdOf(volid)}`;
  const { content, vmid: owner } = parseVolumeId(storageOf(dc, storageIdOf(volid)), volid);
  if (mayAny(dc, token, storage, ["Datastore.Allocate"])) return;
  if (content === "iso" || content === "vztmpl" || content === "import") {
    needAny(dc, token, storage, ["Datastore.AllocateSpace", "Datastore.Audit"]);
  } else if (owner === undefined) {
    throw died(`missing privileges to access ${volid}`);
  } else if (owner !== vmid) {
    needAll(dc, token, storage, ["Datastore.Audit"]);
    needAll(dc, token, `/vms/${owner}`, ["VM.Config.Disk"]);
  }
}

/** Whether a list shows a volume to a token. */
export function maySeeVolume(dc: DataCentre, token: Token, volid: string): boolean {
  try {
    needVolume(dc, token, volid);
    return true;
  } catch (error) {
    if (error instanceof ApiError) return false;
    throw error;
  }
}
