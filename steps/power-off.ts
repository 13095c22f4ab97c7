import { messageOf } from "../common/errors.ts";
import { say } from "../common/log.ts";
import type { Fence } from "../kubernetes/lease.ts";
import { isAgentSilent, isNoSuchFile } from "../proxmox/agent.ts";
import { IdentityError, proveVm, type ExpectedVm } from "../proxmox/identity.ts";
import { setOnBoot, turnOff } from "../proxmox/power.ts";
import { isRunning, type ListedVm, type VmConfig } from "../proxmox/vms.ts";
import type { Site } from "../rollout/step-environment.ts";
import type { ClusterInput } from "./input.ts";
import { wipeJoinData } from "./join-data.ts";
import type { Run } from "./run.ts";

/** Wipes the guest and turns its VM off, after the proof that it is ours. */
export async function switchOff(
  vm: ListedVm,
  running: boolean,
  expected: ExpectedVm,
  { run, fence, input }: { run: Run; fence: Fence; input: ClusterInput },
): Promise<void> {
  await fence.check();
  // Name and tags prove nothing. Nothing of ours runs before its uuid was recorded.
  if (expected.uuid === undefined) {
    if (running) throw new IdentityError(expected, `host ${vm.host}`, ["it runs, and nobody recorded its SMBIOS uuid"]);
    return;
  }
  const config = await proveVm(run.pve, vm.host, expected);
  if (running) await wipe(run, config);
  await fence.check();
  await powerOff(run, config, running, input.site);
}

/** The digest of what was proved goes along with the write right before the power goes: no other VM is turned off. */
export async function powerOff(run: Run, config: VmConfig, running: boolean, site: Site): Promise<void> {
  if (!config.onBoot && !running) return;
  await setOnBoot(run.pve, config, false, config.digest);
  if (!running) {
    // A killed step may have asked for a start that was still under way; the write above has waited for it.
    if (!(await isRunning(run.pve, config))) return;
    await proveVm(run.pve, config.host, { ...config, tags: [] });
  }
  await turnOff(run.pve, config, site.timeouts.shutdown);
}

async function wipe(run: Run, config: VmConfig): Promise<void> {
  try {
    await wipeJoinData(run.pve, config);
  } catch (error) {
    if (!isAgentSilent(error) && !isNoSuchFile(error)) throw error;
    // Its token is used up and its Node goes: it does not come back without fresh join data either.
    say(`${config.name}: the guest could not be wiped (${messageOf(error)}); its VM is turned off all the same`);
  }
}
