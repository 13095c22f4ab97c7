import { guest } from "../../../images/contract.ts";
import { isNoSuchFile, readFile, writeFile } from "../../clients/proxmox/agent.ts";
import type { Proxmox } from "../../clients/proxmox/client.ts";
import type { VmConfig } from "../../clients/proxmox/vms.ts";
import { registryFiles, type Registries } from "../../domain/model/registries.ts";
import { UserError } from "../../runtime/errors.ts";

/**
 * Writes registries.yaml into a guest, and before it what it names. RKE2 reads it when it starts.
 * @throws UserError when the image lacks a file that it names
 */
export async function writeRegistries(pve: Proxmox, vm: VmConfig, registries: Registries): Promise<void> {
  const { pems, yaml, expected } = registryFiles(registries, guest.registryPems);
  for (const path of expected) await requireFile(pve, vm, path);
  for (const { path, content } of pems) await writeFile(pve, vm, path, content);
  await writeFile(pve, vm, guest.registries, yaml);
}

async function requireFile(pve: Proxmox, vm: VmConfig, path: string): Promise<void> {
  await readFile(pve, vm, path).catch((error: unknown) => {
    if (!isNoSuchFile(error)) throw error;
    throw new UserError({
      what: `the guest of ${vm.name} has no ${path}, and evergreen:registries names it`,
      where: path,
      todo: "put the file into the image, or give its content to Evergreen: ca, cert and key take PEM. The image was not judged",
    });
  });
}
