import { say } from "../common/log.ts";
import { setOnBoot, start } from "../proxmox/power.ts";
import { isRunning, type ListedVm, type VmConfig } from "../proxmox/vms.ts";
import type { Run } from "./run.ts";

/**
 * Starts the VM when it is off. The write before it carries the digest of what was proved, so that no other VM is started.
 * @param listed what the list says of it; seconds old, but a start of one that runs by now is fine
 */
export async function powerOn(run: Run, config: VmConfig, listed: ListedVm["status"]): Promise<void> {
  if (!config.onBoot) await setOnBoot(run.pve, config, true, config.digest);
  if (listed !== "stopped" && (await isRunning(run.pve, config))) return;
  say(`starting ${config.name} (VM ${config.vmid} on ${config.host})`);
  await start(run.pve, config);
}
