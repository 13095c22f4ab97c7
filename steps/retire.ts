import { UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import { findAccess, type Access } from "../kubernetes/access.ts";
import { requireFree } from "../kubernetes/gone.ts";
import { readWantedServers } from "../kubernetes/record.ts";
import { proveVm } from "../proxmox/identity.ts";
import { isRunning, listVms, requireSight, type ListedVm } from "../proxmox/vms.ts";
import { hasJoined } from "../rollout/slots.ts";
import { isGoingAway } from "./going-away.ts";
import { claimedBefore } from "./claim.ts";
import type { SlotInput } from "./input.ts";
import { leaverOf } from "./leavers.ts";
import { known, type Known } from "./member.ts";
import { powerOff } from "./power-off.ts";
import { retired, retireNode, type Leaver } from "./retirement.ts";
import { holding, slotLease, tickets, type Run } from "./run.ts";
import { clusterSite, reachable } from "./scene.ts";

/**
 * What has to be true before the engine may destroy a VM: the node is out of the cluster and the VM is off. Retires it when
 * it still is a member: scale-in, a pool that is removed, a new generation that is given up. Whose VM it then is that is
 * destroyed, the release of its claim asks right before (steps/release.ts).
 */
export async function retire(run: Run, input: SlotInput): Promise<{ retired: string }> {
  const vms = await listVms(run.pve);
  const vm = vms.find(({ vmid }) => vmid === input.vmid);
  if (vm === undefined) await requireGone(run, input);
  // Without its quorum the API takes minutes to say nothing: what stands on the server's own disk comes first.
  if (input.role === "server" && vm && (await isGoingAway(run, input, [vm], undefined))) {
    await retireUnknown(run, input, vms, vm);
    return { retired: input.node };
  }
  const site = clusterSite(input);
  const access = await findAccess(run.pve, vms, site).catch(async (error: unknown) => {
    // A cluster that loses its servers stops answering; what was said on their disks still holds.
    if (await isGoingAway(run, input, vms, undefined)) return undefined;
    throw error;
  });
  const facts = access && (await factsOf(access, input));
  if (facts !== undefined && access !== undefined) await retireKnown(run, input, { access, facts, vms, vm });
  else await retireUnknown(run, input, vms, vm);
  return { retired: input.node };
}

/** @throws UserError when the VM may be there all the same: the list shows what the token may see, and no more */
export async function requireGone({ pve }: Run, { site, node, vmid }: SlotInput): Promise<void> {
  await requireSight(pve, site.proxmoxPool);
  await requireFree(pve, { name: node, vmid });
}

/** What the cluster remembers, or undefined when it does not answer any more. */
async function factsOf(access: Access, input: SlotInput): Promise<Known | undefined> {
  return await known(access.client, input).catch((error: unknown) => {
    if (input.role === "server") return undefined;
    throw error;
  });
}

interface Found {
  access: Access;
  facts: Known;
  vms: readonly ListedVm[];
  vm: ListedVm | undefined;
}

async function retireKnown(run: Run, input: SlotInput, { access, facts, vms, vm }: Found): Promise<void> {
  const leaver = withState(
    run,
    input,
    leaverOf(input, input.generation, { vm, node: facts.node, record: facts.record }),
  );
  const running = vm !== undefined && !isKnownOff(vm, leaver) && (await isRunning(run.pve, vm));
  if (facts.node === undefined && !running) {
    await confirmOff(run, access, leaver);
    return;
  }
  if (await isGoingAway(run, input, vms, access)) {
    await justPowerOff(run, input, leaver, running);
    return;
  }
  if (input.role === "server") await refuseWanted(access, input, leaver);
  const { lease } = input.site.timeouts;
  await holding(run, access, slotLease(input), lease, async (fence) => {
    const options = { run, access, fence, input };
    // A node that serves nobody needs no ticket.
    if (facts.node === undefined || !running) {
      await retireNode(leaver, options);
      return;
    }
    await holding(run, access, tickets(input), lease, () => retireNode(leaver, options));
  });
}

/**
 * A destroy that nothing has allowed comes here when there is no guard yet: the first update never succeeded. It must not
 * take a control plane apart, one member after the other.
 * @throws UserError when the server has a slot that the last rollout wants
 */
async function refuseWanted({ client }: Access, { slot }: SlotInput, { name, record, node }: Leaver): Promise<void> {
  const servesItsSlot = record !== undefined && hasJoined(record);
  if (node === undefined || !servesItsSlot || slot >= ((await readWantedServers(client)) ?? Infinity)) return;
  throw new UserError({
    what: `${name} is a server of a cluster that stays, and is not taken out of etcd`,
    where: `Node ${name}, slot ${slot}`,
    todo: "for fewer servers lower controlPlane.servers and run pulumi up; to take the whole cluster away, let pulumi up succeed with evergreen:allowDestroy, without pools if need be, then pulumi destroy",
  });
}

/** A cluster that does not answer. It must be going away, or the VM must be off: nothing is stopped on a guess. */
async function retireUnknown(
  run: Run,
  input: SlotInput,
  vms: readonly ListedVm[],
  vm: ListedVm | undefined,
): Promise<void> {
  const leaver = withState(
    run,
    input,
    leaverOf(input, input.generation, {
      vm,
      node: undefined,
      record: { pool: input.pool, generations: [], nodes: [] },
    }),
  );
  if (vm === undefined) return;
  const running = await isRunning(run.pve, vm);
  if (!running) return;
  if (!(await isGoingAway(run, input, vms, undefined))) reachable({ vms: [...vms], access: undefined }, input);
  await justPowerOff(run, input, leaver, running);
}

/** The state remembers the uuid too, from the join's own output. */
function withState(run: Run, input: SlotInput, leaver: Leaver): Leaver {
  const uuid = leaver.expected.uuid ?? claimedBefore(run, input)?.uuid;
  return { ...leaver, expected: { ...leaver.expected, vmid: input.vmid, uuid } };
}

/** As it is after a handover: what the list says of a VM that was retired is old enough. */
function isKnownOff({ status }: ListedVm, { record }: Leaver): boolean {
  return status === "stopped" && record?.phase === "retired";
}

/** What was retired was proved to be ours then. */
async function confirmOff(run: Run, access: Access, leaver: Leaver): Promise<void> {
  if (leaver.record?.phase === "retired") return;
  if (leaver.vm) await proveVm(run.pve, leaver.vm.host, leaver.expected);
  await retired(access.client, leaver);
}

async function justPowerOff(run: Run, input: SlotInput, leaver: Leaver, running: boolean): Promise<void> {
  if (leaver.vm === undefined) return;
  const config = await proveVm(run.pve, leaver.vm.host, leaver.expected);
  await powerOff(run, config, running, input.site);
  say(`${input.node} is off; its cluster is going away`);
}
