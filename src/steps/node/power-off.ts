import type { Moment } from "../../runtime/clock.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { messageOf } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import { isAgentSilent, isFrozen, isNoSuchFile, withAgent } from "../../clients/proxmox/agent.ts";
import { IdentityError, proveVm, type ExpectedVm } from "../../clients/proxmox/identity.ts";
import { turnOff } from "../../clients/proxmox/power.ts";
import { standingOf, writeStanding, type Standing } from "../../clients/proxmox/settle.ts";
import { readPower, type ListedVm, type Power, type VmConfig } from "../../clients/proxmox/vms.ts";
import type { Site } from "../../domain/model/step-environment.ts";
import { isFresh } from "../cluster/availability.ts";
import type { ClusterInput } from "../input.ts";
import { wipeJoinData } from "./join-data.ts";
import type { StepContext } from "../context.ts";
import { givenUpByHa } from "./given-up-by-ha.ts";

const NOBODY_RECORDED = "it runs, and nobody recorded its SMBIOS uuid";
// Before there is a cluster, nothing but the engine's state remembers a uuid.
const IF_LEFT =
  "if it is a server of ours, made by a first creation that ended before there was a cluster, shut it down in Proxmox, then run pulumi up again";

interface SwitchOff {
  context: StepContext;
  fence: Fence;
  input: ClusterInput;
  wipes?: boolean;
}

/**
 * Wipes the guest and turns its VM off, after proving that the VM is ours.
 * @param options.fence checked after every wait: that of its lease, and what has decided that the node is turned off
 * @param options.wipes false for a server that etcd may get while it shuts down: it could not come back. @default true
 */
export async function switchOff(
  vm: ListedVm,
  running: boolean,
  expected: ExpectedVm,
  { context, fence, input, wipes = true }: SwitchOff,
): Promise<void> {
  // Name and tags prove nothing. But for the first server, no VM of ours runs before its uuid was recorded.
  if (expected.uuid === undefined) {
    if (running) throw new IdentityError(expected, `host ${vm.host}`, [NOBODY_RECORDED], IF_LEFT);
    return;
  }
  const config = await withAgent(expected.name, context.stop, async () => {
    await fence.check();
    const proved = await proveVm(context.pve, vm.host, expected);
    if (running && wipes) await wipe(context, proved);
    return proved;
  }).catch(async (error: unknown) => {
    if (!(error instanceof DeadlineError)) throw error;
    // Treated like a guest whose agent is silent: the frozen guest may be why the node is dead.
    say(`${error.message}\n  it is not wiped, and turned off all the same`);
    return await proveVm(context.pve, vm.host, expected);
  });
  await powerOff(context, config, running, { site: input.site, fence });
}

/** The power state of a VM, and when its reading began. */
export interface SeenPower {
  power: Power;
  since: Moment;
}

/**
 * Requires, before a node is disturbed, that its VM is ours and that Proxmox accepts changes of it. This finds a lock
 * (a backup, a migration), the error state of HA, or a Proxmox cluster without quorum before the node is drained and has
 * left etcd. The write changes nothing.
 * @param seen power state that was read before; a fresh one is not read again
 * @returns the VM as it was proved, where it is now
 * @throws VmBusy
 */
export async function requireChangeable(
  context: StepContext,
  vm: ListedVm,
  expected: ExpectedVm,
  site: Site,
  seen?: SeenPower,
): Promise<VmConfig> {
  if (expected.uuid === undefined) throw new IdentityError(expected, `host ${vm.host}`, [NOBODY_RECORDED]);
  const config = await proveVm(context.pve, vm.host, expected);
  const deadline = new Deadline(`the VM of ${expected.name} to be free`, site.timeouts.gate, context.stop);
  const free = await writeStanding(context.pve, config, expected, standingOf(config), deadline);
  const power = seen && isFresh(seen.since) ? seen.power : await readPower(context.pve, free);
  if (power.isGivenUpByHa) throw givenUpByHa(free);
  return free;
}

interface PowerOff {
  site: Site;
  fence: Pick<Fence, "check">;
  standing?: Standing;
}

/** The standing of a VM whose node has left the cluster. */
const left: Standing = { onBoot: false, hasMemberTag: false };

/**
 * Turns the VM off. The write right before that carries the digest of what was proved, so that no other VM is turned
 * off. A lock that was set meanwhile is waited for, as long as a drain may take.
 * @param options.fence checked after each of the waits: whatever decides that the machine may be turned off
 * @param options.standing what the VM shows from then on. @default that of a VM whose node has left
 */
export async function powerOff(
  context: StepContext,
  proved: VmConfig,
  running: boolean,
  { site, fence, standing = left }: PowerOff,
): Promise<void> {
  const { onBoot, hasMemberTag } = standingOf(proved);
  if (!running && onBoot === standing.onBoot && hasMemberTag === standing.hasMemberTag) return;
  const expected = { ...proved, tags: [] };
  const deadline = new Deadline(`the VM of ${proved.name} to be free`, site.timeouts.drain, context.stop);
  const mayGo = () => fence.check();
  const writeOff = (config: VmConfig) => writeStanding(context.pve, config, expected, standing, deadline, mayGo);
  let config = proved;
  if (!running) {
    // A killed step may have requested a start that is still under way; the write waits for it.
    const { host } = await writeOff(proved);
    if (!(await readPower(context.pve, { ...proved, host })).running) return;
    config = await proveVm(context.pve, host, expected);
  }
  // Read before the write: a read may take a minute, and another VM may have the VMID by then.
  if ((await readPower(context.pve, config)).isGivenUpByHa) throw givenUpByHa(config);
  await turnOff(context.pve, await writeOff(config), site.timeouts.shutdown, context.stop, mayGo);
}

async function wipe(context: StepContext, config: VmConfig): Promise<void> {
  try {
    await wipeJoinData(context.pve, config);
  } catch (error) {
    // A frozen guest can be wiped once it has thawed.
    if (isFrozen(error) || (!isAgentSilent(error) && !isNoSuchFile(error))) throw error;
    // Its token is used up and its Node is deleted: it does not return without fresh join data either.
    say(`${config.name}: the guest could not be wiped (${messageOf(error)}); its VM is turned off all the same`);
  }
}
