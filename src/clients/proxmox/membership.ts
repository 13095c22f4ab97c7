import { isAdopted } from "../../domain/model/generation.ts";
import type { Proxmox } from "./client.ts";
import { readGoingAwayNote } from "./notes.ts";
import { standingOf } from "./settle.ts";
import type { VmConfig } from "./vms.ts";

/*
 * What shows, when no API server answers, that a VM belongs to a cluster that exists. Each start of a node turns its
 * start at boot on and gives it the tag of a member, and its decommissioning takes both back. People switch the start at
 * boot off, as for a planned shutdown, and so does a destroy that may be broken off: the tag stays then.
 */

/**
 * Whether a VM is a member as far as its configuration says, on or off. One that was adopted has our tags for as long as
 * it is a member: nobody has started it for us.
 */
export function isMarkedMember(config: VmConfig, { generation }: { generation: string }): boolean {
  const { onBoot, hasMemberTag } = standingOf(config);
  return onBoot || hasMemberTag || isAdopted({ name: config.name, generation });
}

/** Whether a destroy of its cluster has begun, and has not ended: the notes of the VM of a server say so. */
export async function isGoingAway(pve: Proxmox, vm: { host: string; vmid: number }): Promise<boolean> {
  return (await readGoingAwayNote(pve, vm)) !== undefined;
}
