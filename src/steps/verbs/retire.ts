import { clock } from "../../runtime/clock.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { findAccess, type Access } from "../../clients/kubernetes/access.ts";
import { announceDestroy, ifServing, isGoingAway } from "../../clients/kubernetes/going-away.ts";
import { requireFree } from "../../clients/kubernetes/gone.ts";
import { findNode } from "../../clients/kubernetes/nodes.ts";
import { readGoingAway, readWantedServers, readWantedSlots } from "../../clients/kubernetes/record.ts";
import { proveVm } from "../../clients/proxmox/identity.ts";
import { isRunning, listVms, requireSight, type ListedVm } from "../../clients/proxmox/vms.ts";
import { hasJoined } from "../../domain/rollout/slots.ts";
import { asRoomComes, withTicket } from "../cluster/availability.ts";
import { claimedBefore } from "./claim.ts";
import type { SlotInput } from "../input.ts";
import { leaverOf } from "../node/leavers.ts";
import { known, type Known } from "../node/member.ts";
import { powerOff } from "../node/power-off.ts";
import { retired, retireNode, type Leaver } from "../node/retirement.ts";
import { all, holding, slotLease, type Run } from "../run.ts";
import { clusterSite } from "../cluster/scene.ts";

/**
 * What has to be true before the engine may destroy a VM: the node is out of the cluster and the VM is off. Retires it when
 * it still is a member: scale-in, a pool that is removed, a new generation that is given up. Whose VM it then is that is
 * destroyed, the release of its claim asks right before (src/steps/verbs/release.ts). What the cluster cannot be asked about is not
 * retired, server or agent, unless the cluster is being destroyed: a VM that is off may hold the only copy of etcd's data.
 * @param list the VMs, as they were listed just now. @default they are listed
 */
export async function retire(run: Run, input: SlotInput, list?: readonly ListedVm[]): Promise<{ retired: string }> {
  const vms = list ?? (await listVms(run.pve));
  const vm = vms.find(({ vmid }) => vmid === input.vmid);
  if (vm === undefined) await requireGone(run, input);
  const cluster = await ask(run, input, vms);
  if ("access" in cluster) await retireKnown(run, input, { ...cluster, vm });
  // One that is gone is nothing that the engine could destroy.
  else if (vm) await retireUnheard(run, input, { vms, vm, why: cluster.why });
  return { retired: input.node };
}

/** @throws UserError when the VM may be there all the same: the list shows what the token may see, and no more */
export async function requireGone({ pve }: Run, { site, node, vmid }: SlotInput): Promise<void> {
  await requireSight(pve, site.proxmoxPool);
  await requireFree(pve, { name: node, vmid });
}

/** The cluster and what it remembers, or why it cannot be asked. */
async function ask(
  run: Run,
  input: SlotInput,
  vms: readonly ListedVm[],
): Promise<{ access: Access; facts: Known } | { why: string }> {
  try {
    const access = await findAccess(run.pve, vms, clusterSite(input));
    if (access === undefined) return { why: "no server runs that has started RKE2" };
    if (!(await ifServing(access))) return { why: "its API does not serve (GET /readyz)" };
    const facts = await factsOf(run, input, vms, access);
    return facts ? { access, facts } : { why: "its API does not answer" };
  } catch (error) {
    return { why: messageOf(error) };
  }
}

/** So long the API may be silent before it is asked once more whether it serves, in milliseconds. */
const patienceMs = 10_000;

/**
 * A destroy takes the quorum away, and an API that said a moment ago that it is ready takes minutes to say nothing.
 * @returns undefined then
 */
async function factsOf(
  run: Run,
  input: SlotInput,
  vms: readonly ListedVm[],
  access: Access,
): Promise<Known | undefined> {
  const facts = known(access.client, input);
  const over = new AbortController();
  const late = clock.sleep(patienceMs, over.signal).then(() => true);
  const isLate = await Promise.race([facts.then(() => false), late]).finally(() => over.abort());
  late.catch(() => undefined);
  if (!isLate) return await facts;
  facts.catch(() => undefined);
  const goes = await isGoingAway({ pve: run.pve, site: clusterSite(input), vms, client: undefined });
  return goes || !(await ifServing(access)) ? undefined : await facts;
}

interface Found {
  access: Access;
  facts: Known;
  vm: ListedVm | undefined;
}

async function retireKnown(run: Run, input: SlotInput, { access, facts, vm }: Found): Promise<void> {
  const { node, record } = facts;
  const leaver = withState(run, input, leaverOf(input, input.generation, { vm, node, record }));
  const running = vm !== undefined && !isKnownOff(vm, leaver) && (await isRunning(run.pve, vm));
  const isOut = node === undefined && !running;
  if (isOut && leaver.record?.phase === "retired") return;
  if (vm) await proveVm(run.pve, vm.host, leaver.expected);
  if ((await readGoingAway(access.client)) || (await isDestroyed(run, input, access, leaver))) {
    await justPowerOff(run, input, leaver, running);
    return;
  }
  const { lease } = input.site.timeouts;
  await holding(run, access, slotLease(input), lease, async (fence) => {
    // Who had the slot before may have started it.
    if (isOut && (await isOutStill(run, access, leaver))) {
      await retired(access.client, leaver);
      return;
    }
    // Also one that is off or without a Node by now: until its turn comes it may serve again.
    await asRoomComes(run, input, () =>
      withTicket(run, access, input, [leaver], (ticket, mayLeave) =>
        retireNode(leaver, { run, access, fence: all(fence, ticket), input, mayBegin: () => mayLeave(leaver) }),
      ),
    );
  });
}

async function isOutStill({ pve }: Run, { client }: Access, { name, vm }: Leaver): Promise<boolean> {
  return (await findNode(client, name)) === undefined && !(vm && (await isRunning(pve, vm)));
}

/**
 * Whether this is a destroy that met no guard, for the last update never succeeded: no update deletes what it wants. One that
 * is allowed says now what the guard would have said; one that is not must not take a cluster apart, one member after the other.
 * @throws UserError when the node has a slot that the last rollout wants, and no destroy is allowed
 */
async function isDestroyed(run: Run, input: SlotInput, { client }: Access, leaver: Leaver): Promise<boolean> {
  const { pool, role, slot, node } = input;
  const { record } = leaver;
  const isServer = role === "server";
  if (record === undefined || !(isServer ? hasJoined(record) : record.phase === "handedOver")) return false;
  const isWanted = isServer
    ? slot < ((await readWantedServers(client)) ?? Infinity)
    : (await readWantedSlots(client, pool))(slot);
  if (!isWanted) return false;
  if (!input.allowDestroy)
    throw new UserError({
      what: `${node} is ${isServer ? "a server" : "a node"} of a cluster that stays, and is not taken out of ${isServer ? "etcd" : "it"}`,
      where: `slot ${slot} of pool ${pool}, which the last update wants`,
      todo: "for fewer nodes lower the count of the pool and run pulumi up; to take the whole cluster away, set evergreen:allowDestroy, let pulumi up succeed, without pools if need be, then pulumi destroy",
    });
  const vms = await listVms(run.pve);
  await announceDestroy({ pve: run.pve, site: clusterSite(input), vms, client }, new Date().toISOString());
  return true;
}

/** A cluster that does not answer. It must be going away: that a VM is off says nothing about what it is needed for. */
async function retireUnheard(
  run: Run,
  input: SlotInput,
  { vms, vm, why }: { vms: readonly ListedVm[]; vm: ListedVm; why: string },
): Promise<void> {
  const witnesses = { pve: run.pve, site: clusterSite(input), vms, client: undefined };
  if (!(await isGoingAway(witnesses)))
    throw new UserError({
      what: `the cluster cannot say whether ${input.node} was retired, so its VM stays: ${why}`,
      where: `VM ${vm.vmid} on ${vm.host}, slot ${input.slot} of pool ${input.pool}`,
      todo: 'bring the API back and run again; nothing is deleted before (docs/recovery.md, "The quorum is lost"). To give the whole cluster up, pulumi destroy says so on the VMs of its servers; that needs evergreen:allowDestroy as of the last update',
    });
  const record = { pool: input.pool, generations: [], nodes: [] };
  const leaver = withState(run, input, leaverOf(input, input.generation, { vm, node: undefined, record }));
  await justPowerOff(run, input, leaver, await isRunning(run.pve, vm));
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

async function justPowerOff(run: Run, input: SlotInput, leaver: Leaver, running: boolean): Promise<void> {
  if (leaver.vm === undefined) return;
  const config = await proveVm(run.pve, leaver.vm.host, leaver.expected);
  await powerOff(run, config, running, input.site);
  say(`${input.node} is off; its cluster is going away`);
}
