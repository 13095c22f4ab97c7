import { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { start } from "../../clients/proxmox/power.ts";
import { writeOnBoot } from "../../clients/proxmox/settle.ts";
import { readPower, type ListedVm, type VmConfig } from "../../clients/proxmox/vms.ts";
import type { StepContext } from "../context.ts";

/** QEMU's words for a guest that stands still until somebody lets it go on. */
const still = new Set(["paused", "io-error", "suspended", "internal-error", "guest-panicked", "watchdog"]);

/** Longest wait for a lock of Proxmox on a VM that is to be started, in seconds. */
const lockSeconds = 300;

/** Whether the guest of a VM that runs goes on by itself. @param state QEMU's word, when Proxmox has one */
export const mayGoOn = (state = "running"): boolean => !still.has(state);

/**
 * Starts the VM when it is off. The write right before it carries the digest of what was proved, so that no other VM is
 * started: any read between both may take a minute, and its number may be another's then (adversary, seed 20165).
 * @param listed what the list says of it; seconds old, but a start of one that runs by now is fine
 */
export async function powerOn(context: StepContext, proved: VmConfig, listed: ListedVm["status"]): Promise<void> {
  const { running, state = "" } = listed === "stopped" ? { running: false } : await readPower(context.pve, proved);
  if (running && !mayGoOn(state)) throw standsStill(proved, state);
  if (running && proved.onBoot) return;
  const deadline = new Deadline(`the VM of ${proved.name} to be free`, lockSeconds, context.stop);
  const config = await writeOnBoot(context.pve, proved, { ...proved, tags: [] }, true, deadline);
  if (running) return;
  say(`starting ${config.name} (VM ${config.vmid} on ${config.host})`);
  await start(context.pve, config, context.stop);
}

/** Not ours to resume: somebody paused it, or its storage is full. Nothing can be said of its image meanwhile. */
function standsStill({ name, vmid, host }: VmConfig, state: string): UserError {
  return new UserError({
    what: `${name} stands still: Proxmox calls its state ${state}`,
    where: `VM ${vmid} on ${host}`,
    todo: "look at it in Proxmox (a full storage gives io-error), resume it there (qm resume), then run again; nothing was judged",
  });
}
