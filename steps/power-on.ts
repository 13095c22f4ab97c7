import { say } from "../common/log.ts";
import { setOnBoot, start } from "../proxmox/power.ts";
import { isRunning, type VmConfig } from "../proxmox/vms.ts";
import type { Run } from "./run.ts";

/** Starts the VM when it is off. The write before it carries the digest of what was proved, so that no other VM is started. */
export async function powerOn(run: Run, config: VmConfig): Promise<void> {
  if (!config.onBoot) await setOnBoot(run.pve, config, true, config.digest);
  if (await isRunning(run.pve, config)) return;
  say(`starting ${config.name} (VM ${config.vmid} on ${config.host})`);
  await start(run.pve, config);
}
