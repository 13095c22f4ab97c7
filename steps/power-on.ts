import { say } from "../common/log.ts";
import { setOnBoot, start } from "../proxmox/power.ts";
import { isRunning, type ListedVm, type VmConfig } from "../proxmox/vms.ts";
import type { Run } from "./run.ts";

/**
 * Starts the VM when it is off. The write right before it carries the digest of what was proved, so that no other VM is
 * started: any read between both may take a minute, and its number may be another's then (adversary, seed 20165).
 * @param listed what the list says of it; seconds old, but a start of one that runs by now is fine
 */
export async function powerOn(run: Run, config: VmConfig, listed: ListedVm["status"]): Promise<void> {
  const running = listed !== "stopped" && (await isRunning(run.pve, config));
  if (running && config.onBoot) return;
  await setOnBoot(run.pve, config, true, config.digest);
  if (running) return;
  say(`starting ${config.name} (VM ${config.vmid} on ${config.host})`);
  await start(run.pve, config);
}
