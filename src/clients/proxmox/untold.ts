import { guest } from "../../../images/contract.ts";
import { isAdopted } from "../../domain/model/generation.ts";
import { isNoSuchFile, readFile } from "./agent.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxError } from "./errors.ts";

/**
 * Whether a server runs that was to make the cluster and has never been told to: a first creation ended between its
 * boot and its join data. It has made no cluster, and was a member of none. Only the server of slot 0 boots before
 * there is a cluster.
 * @returns false when its guest does not answer
 */
export async function isUntoldFounder(
  pve: Proxmox,
  vm: { vmid: number; host: string; name: string; slot: number; generation: string },
): Promise<boolean> {
  // Whoever made an adopted server told it in another way.
  if (vm.slot !== 0 || isAdopted(vm)) return false;
  return await readFile(pve, vm, guest.marker).then(
    () => false,
    (error: unknown) => {
      if (error instanceof ProxmoxError) return isNoSuchFile(error);
      throw error;
    },
  );
}
