import type { Proxmox } from "../clients/proxmox/client.ts";
import { ProxmoxError } from "../clients/proxmox/errors.ts";
import { readConfig } from "../clients/proxmox/vms.ts";
import { addedDisks, configuredDisks } from "../domain/drain/added-disks.ts";
import { drivesOf } from "../domain/images/hardware.ts";
import { isAdopted } from "../domain/model/generation.ts";
import type { NodeSpec, ObservedVm, PoolRecord } from "../domain/model/types.ts";
import type { Image } from "./observed-cluster.ts";

/**
 * Tells the disks that a VM was made with from those that somebody has attached since. For a VM of which that is not
 * recorded, as before Evergreen did so, its template is asked while there is one. An adopted VM is not destroyed.
 */
export async function withAddedDisks(
  pve: Proxmox,
  vms: readonly ObservedVm[],
  records: ReadonlyMap<string, PoolRecord>,
  images: ReadonlyMap<string, Image>,
): Promise<ObservedVm[]> {
  const added = vms.map(async (vm): Promise<ObservedVm> => {
    if (vm.furtherDisks === undefined || isAdopted(vm)) return vm;
    const record = records.get(vm.pool);
    const own = record?.nodes.find(({ uuid }) => uuid === vm.uuid);
    const spec = record?.generations.find(({ id }) => id === vm.generation)?.spec;
    const known = own?.disks === undefined && spec !== undefined ? await readGivenDisks(pve, spec, images) : [];
    const others = addedDisks(vm.furtherDisks, own, known);
    return others.length > 0 ? { ...vm, addedDisks: others } : vm;
  });
  return await Promise.all(added);
}

/** The disks that a VM of this content is made with. */
async function readGivenDisks(pve: Proxmox, spec: NodeSpec, images: ReadonlyMap<string, Image>): Promise<string[]> {
  const [template] = images.get(spec.image)?.templates ?? [];
  const configured = configuredDisks(spec);
  if (template === undefined) return configured;
  try {
    const options = (await readConfig(pve, template)).texts();
    return [...configured, ...drivesOf(options).map(({ name }) => name)];
  } catch (error) {
    if (!(error instanceof ProxmoxError)) throw error;
    return configured;
  }
}
