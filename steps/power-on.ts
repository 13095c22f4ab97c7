import { UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import { setOnBoot, start } from "../proxmox/power.ts";
import { readPower, type ListedVm, type VmConfig } from "../proxmox/vms.ts";
import type { Run } from "./run.ts";

/** QEMU's words for a guest that stands still until somebody lets it go on. */
const still = new Set(["paused", "io-error", "suspended", "internal-error", "guest-panicked", "watchdog"]);

/** Whether the guest of a VM that runs goes on by itself. @param state QEMU's word, when Proxmox has one */
export const mayGoOn = (state = "running"): boolean => !still.has(state);

/**
 * Starts the VM when it is off. The write right before it carries the digest of what was proved, so that no other VM is
 * started: any read between both may take a minute, and its number may be another's then (adversary, seed 20165).
 * @param listed what the list says of it; seconds old, but a start of one that runs by now is fine
 */
export async function powerOn(run: Run, config: VmConfig, listed: ListedVm["status"]): Promise<void> {
  const { running, state = "" } = listed === "stopped" ? { running: false } : await readPower(run.pve, config);
  if (running && !mayGoOn(state)) throw standsStill(config, state);
  if (running && config.onBoot) return;
  await setOnBoot(run.pve, config, true, config.digest);
  if (running) return;
  say(`starting ${config.name} (VM ${config.vmid} on ${config.host})`);
  await start(run.pve, config);
}

/** Not ours to resume: somebody paused it, or its storage is full. Nothing can be said of its image meanwhile. */
function standsStill({ name, vmid, host }: VmConfig, state: string): UserError {
  return new UserError({
    what: `${name} stands still: Proxmox calls its state ${state}`,
    where: `VM ${vmid} on ${host}`,
    todo: "look at it in Proxmox (a full storage gives io-error), resume it there (qm resume), then run again; nothing was judged",
  });
}
