import { messageOf, UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { findAccess, serverVms, type Access } from "../../clients/kubernetes/access.ts";
import {
  announceTeardown,
  writeTeardownNotes,
  findServing,
  requireNoneAdopted,
} from "../../clients/kubernetes/teardown.ts";
import { requireFree } from "../../clients/kubernetes/gone.ts";
import { AnotherCluster, requireOwnCluster } from "../../clients/kubernetes/own-cluster.ts";
import { findNode } from "../../clients/kubernetes/nodes.ts";
import { readMaxUnavailable, readWantedSlots } from "../../clients/kubernetes/cluster-record.ts";
import { proveVm } from "../../clients/proxmox/identity.ts";
import { standingOf } from "../../clients/proxmox/settle.ts";
import { isRunning, listVms, requireSight, type ListedVm } from "../../clients/proxmox/vms.ts";
import type { NodeRecord } from "../../domain/model/types.ts";
import { hasJoined } from "../../domain/rollout/slot-state.ts";
import { retryUntilRoom, withDisruptionLease } from "../cluster/availability.ts";
import { probeMembers, settleDeadline } from "../cluster/control-plane.ts";
import { findInEtcd } from "../cluster/own-member.ts";
import { claimedBefore } from "../node/claimed.ts";
import type { SlotInput } from "../input.ts";
import { departingNode, refresh, type DepartingNode } from "../node/departing-nodes.ts";
import { readNodeView, type NodeView } from "../node/node-view.ts";
import { awaitEarlier, awaitEvictedRun, prepareEmptying } from "../node/emptying.ts";
import { powerOff } from "../node/power-off.ts";
import { recordRetired, decommissionNode } from "../node/decommission.ts";
import { allFences, withLease, slotLease, type StepContext } from "../context.ts";
import { clusterSite } from "../cluster/connect.ts";
import { awaitSoon, isGivenUp, isGoingAway } from "../cluster/going-away.ts";

/**
 * Prepares a VM for its destruction by the engine: its node must be out of the cluster and the VM off. Decommissions a
 * node that is still a member: after a scale-in, the removal of a pool, or a new generation that is given up. The
 * release of the node's claim proves the identity of the VM right before it is destroyed (src/steps/verbs/release.ts).
 * When the cluster cannot be asked, neither a server nor an agent is decommissioned, unless the cluster is being
 * destroyed: a VM that is off may hold the only copy of etcd's data.
 */
export async function retire(context: StepContext, input: SlotInput): Promise<{ retired: string }> {
  await retireListed(context, input, await listVms(context.pve));
  return { retired: input.node };
}

/**
 * The same with VMs that were listed just now.
 * @returns the connection to the cluster when the node was found retired and nothing had to be done
 */
export async function retireListed(
  context: StepContext,
  input: SlotInput,
  vms: readonly ListedVm[],
): Promise<Access | undefined> {
  const vm = vms.find(({ vmid }) => vmid === input.vmid);
  if (vm === undefined) await requireGone(context, input);
  const cluster = await ask(context, input, vms);
  if ("access" in cluster) {
    const isDone = await retireKnown(context, input, { ...cluster, vms, vm });
    return isDone ? cluster.access : undefined;
  }
  // A VM that is gone is nothing that the engine could destroy.
  if (vm) await retireUnheard(context, input, { vms, vm, why: cluster.why });
  return undefined;
}

/**
 * Requires that a VM that the list does not show is really gone.
 * @throws UserError when the VM may still exist: the list shows only what the token may see
 */
export async function requireGone({ pve }: StepContext, { site, node, vmid }: SlotInput): Promise<void> {
  await requireSight(pve, site.proxmoxPool);
  await requireFree(pve, { name: node, vmid });
}

/**
 * The connection to the cluster and what it says of the node, or why it cannot be asked.
 * @throws AnotherCluster
 */
async function ask(
  context: StepContext,
  input: SlotInput,
  vms: readonly ListedVm[],
): Promise<{ access: Access; view: NodeView } | { why: string }> {
  try {
    const access = await findAccess(context.pve, vms, clusterSite(input));
    if (access === undefined) return { why: "no server runs that has started RKE2" };
    if (!(await findServing(access))) return { why: "its API does not serve (GET /readyz)" };
    const view = await readFacts(context, input, vms, access);
    return view ? { access, view } : { why: "its API does not answer" };
  } catch (error) {
    if (error instanceof AnotherCluster) throw error;
    return { why: messageOf(error) };
  }
}

/**
 * Reads what the cluster says of the node. A destroy takes the quorum away, and then an API server that was ready a
 * moment ago takes minutes to fail a request.
 * @returns undefined in that case
 */
async function readFacts(
  context: StepContext,
  input: SlotInput,
  vms: readonly ListedVm[],
  access: Access,
): Promise<NodeView | undefined> {
  const view = requireOwnCluster(access, vms, input.cluster).then(() => readNodeView(access.client, input));
  if ((await awaitSoon(view)) !== undefined) return await view;
  const goes = await isGivenUp(context, input, vms);
  return goes || !(await findServing(access)) ? undefined : await view;
}

interface Found {
  access: Access;
  vms: readonly ListedVm[];
  view: NodeView;
  vm: ListedVm | undefined;
}

/** @returns whether it was retired before, and nothing of it is awaited */
async function retireKnown(context: StepContext, input: SlotInput, found: Found): Promise<boolean> {
  const { access, view, vm } = found;
  const departing = withState(context, input, departingNode(input, input.generation, { vm, ...view }));
  const running = vm !== undefined && !isKnownOff(vm, departing) && (await isRunning(context.pve, vm));
  const isOut = departing.node === undefined && !running;
  if (isOut && departing.own?.phase === "retired" && !(await isInEtcd(context, input, found))) {
    if (departing.own.displaced === undefined || (await isGoingAway(context, input, found))) return true;
    await withLease(context, access, slotLease(input), input.site.timeouts.lease, () =>
      awaitLeft(context, input, found),
    );
    return false;
  }
  if (vm) await proveVm(context.pve, vm.host, departing.expected);
  if ((await isGoingAway(context, input, found)) || (await isDestroyed(context, input, access, departing))) {
    const witnesses = { pve: context.pve, site: clusterSite(input), vms: found.vms, client: undefined };
    requireNoneAdopted(witnesses);
    if (input.role === "server") await writeTeardownNotes(witnesses, new Date().toISOString());
    await powerOffOnly(context, input, departing, running, () => isGoingAway(context, input, found));
    return false;
  }
  const { lease } = input.site.timeouts;
  await withLease(context, access, slotLease(input), lease, async (fence) => {
    // The step that held the slot's lease before may have started the VM. A member may hold the only copy of some data.
    const wasMember = departing.own !== undefined && hasJoined(departing.own);
    // A server may be a voter before it has a Node.
    const mayBeVoter = input.role === "server" && departing.vm !== undefined;
    if (isOut && !wasMember && !mayBeVoter && (await isOutStill(context, access, departing))) {
      await recordRetired(access.client, departing);
      return;
    }
    const place = { ...input, strategy: await readStrategy(access, input) };
    // Decommissions also a node that is off or has no Node by now: it may resume serving before its turn comes.
    await retryUntilRoom(context, input, () =>
      withDisruptionLease(context, access, place, [departing], async (disruption, mayLeave) => {
        const work = { context, access, fence: allFences(fence, disruption), input };
        const { client } = access;
        const one = await prepareEmptying(context, client, input, departing, "retirement");
        // Reads the node again: it may have been silent when it was looked at before the waits.
        await decommissionNode(one, work, async () => {
          await awaitEarlier(context, client, input, await refresh(client, one), "retirement");
          await mayLeave(departing);
        });
      }),
    );
    await awaitLeft(context, input, found);
  });
  return false;
}

/**
 * Whether etcd has a server that was retired, and whose VM is off: somebody may have started it since. Not asked once the
 * cluster is going away.
 */
async function isInEtcd(context: StepContext, input: SlotInput, found: Found): Promise<boolean> {
  if (input.role !== "server" || found.vm === undefined || (await isGoingAway(context, input, found))) return false;
  const probe = await probeMembers(context, input, found.access);
  return (await findInEtcd(probe, settleDeadline(context, input), input)) !== undefined;
}

/** Waits until what the node's retirement has evicted runs elsewhere, unless the cluster goes away as a whole. */
async function awaitLeft(context: StepContext, input: SlotInput, found: Found): Promise<void> {
  try {
    await awaitEvictedRun(context, found.access.client, input);
  } catch (error) {
    context.stop.throwIfAborted();
    // A destroy without a guard may have begun meanwhile.
    if (!(await isGoingAway(context, input, found))) throw error;
  }
}

/** The strategy of the last update: the input of this delete is as old as the last change of its node. */
async function readStrategy({ client }: Access, { pool, role, strategy }: SlotInput): Promise<SlotInput["strategy"]> {
  const maxUnavailable = role === "agent" ? await readMaxUnavailable(client, pool) : undefined;
  return maxUnavailable === undefined ? strategy : { ...strategy, maxUnavailable };
}

async function isOutStill({ pve }: StepContext, { client }: Access, { name, vm }: DepartingNode): Promise<boolean> {
  return (await findNode(client, name)) === undefined && !(vm && (await isRunning(pve, vm)));
}

/**
 * Whether this delete belongs to a destroy that ran no guard because the last update did not succeed: an update never
 * deletes a node that it wants. If the destroy is allowed, the teardown is announced here, as the guard would have
 * done. If it is not, or this is an update, this step must not take the cluster apart one member after the other.
 * @throws UserError when the last rollout wants the node in its slot, and no destroy is allowed
 */
async function isDestroyed(
  context: StepContext,
  input: SlotInput,
  { client }: Access,
  { own, record }: DepartingNode,
): Promise<boolean> {
  const { pool, role, slot, node } = input;
  const isServer = role === "server";
  if (own === undefined || !(isServer ? hasJoined(own) : own.phase === "handedOver")) return false;
  // The last rollout wants the node that got the slot last: not an incomplete server, nor one that could not be asked when
  // its slot was handed over, as when its Node was deleted and its VM was out of sight.
  const isLater = ({ since }: NodeRecord) => own.phase !== "handedOver" || Date.parse(since) > Date.parse(own.since);
  if (record.nodes.some((one) => one.slot === slot && one.phase === "handedOver" && one.name !== node && isLater(one)))
    return false;
  if (!(await readWantedSlots(client, pool, role))(slot)) return false;
  if (!input.allowDestroy || !context.mayTearDown)
    throw new UserError({
      what: `${node} is ${isServer ? "a server" : "a node"} of a cluster that stays, and is not taken out of ${isServer ? "etcd" : "it"}`,
      where: `slot ${slot} of pool ${pool}, which the last update wants`,
      todo: "for fewer nodes lower the count of the pool and run pulumi up; to take the whole cluster away, set evergreen:allowDestroy, let pulumi up succeed, without pools if need be, then pulumi destroy",
    });
  await context.update?.(client);
  const vms = await listVms(context.pve);
  await announceTeardown({ pve: context.pve, site: clusterSite(input), vms, client }, new Date().toISOString());
  return true;
}

/**
 * Turns off the VM of a cluster that does not answer. The cluster must be marked as being torn down: that a VM is off
 * does not show that it is no longer needed.
 */
async function retireUnheard(
  context: StepContext,
  input: SlotInput,
  { vms, vm, why }: { vms: readonly ListedVm[]; vm: ListedVm; why: string },
): Promise<void> {
  if (!(await isGivenUp(context, input, vms))) {
    const isServerLeft = serverVms(vms, clusterSite(input)).length > 0;
    throw new UserError({
      what: `the cluster cannot say whether ${input.node} was retired, so its VM stays: ${why}`,
      where: `VM ${vm.vmid} on ${vm.host}, slot ${input.slot} of pool ${input.pool}`,
      todo: isServerLeft
        ? 'bring the API back and run again; nothing is deleted before (docs/recovery.md, "The quorum is lost"). To give the whole cluster up, pulumi destroy says so on the VMs of its servers; that needs evergreen:allowDestroy as of the last update'
        : 'no VM of a server is seen, on which a destroy could say that the cluster is given up. If they are out of sight, put them back; if they are gone for good, delete this VM in Proxmox VE too (docs/recovery.md, "Give up a cluster that does not answer")',
    });
  }
  const record = { pool: input.pool, generations: [], nodes: [] };
  const departing = withState(context, input, departingNode(input, input.generation, { vm, node: undefined, record }));
  const running = await isRunning(context.pve, vm);
  await powerOffOnly(context, input, departing, running, () => isGivenUp(context, input, vms));
}

/** Completes the expected identity from the state: the join's own output holds the uuid too. */
function withState(context: StepContext, input: SlotInput, departing: DepartingNode): DepartingNode {
  const uuid = departing.expected.uuid ?? claimedBefore(context, input)?.uuid;
  return { ...departing, expected: { ...departing.expected, vmid: input.vmid, uuid } };
}

/**
 * Whether the VM is known to be off, as it is after a handover: for a node whose record is retired, its status in the
 * list can be trusted.
 */
function isKnownOff({ status }: ListedVm, { own }: DepartingNode): boolean {
  return status === "stopped" && own?.phase === "retired";
}

/** @param goesStill whether the cluster goes away as a whole still, asked after every wait: an update may keep it by now */
async function powerOffOnly(
  context: StepContext,
  input: SlotInput,
  departing: DepartingNode,
  running: boolean,
  goesStill: () => Promise<boolean>,
): Promise<void> {
  if (departing.vm === undefined) return;
  const config = await proveVm(context.pve, departing.vm.host, departing.expected);
  // A destroy may be broken off, and what its servers have on their disks is a cluster all the same.
  const hasMemberTag = running || config.onBoot || standingOf(config).hasMemberTag;
  const check = async () => {
    if (await goesStill()) return;
    throw new UserError({
      what: `${input.node} is not turned off: the cluster ${input.cluster} is not being destroyed any more`,
      where: `VM ${input.vmid} on ${config.host}`,
      todo: "an update has taken the marks of this destroy back meanwhile; to take the cluster away all the same, run pulumi destroy again once that update has ended",
    });
  };
  const standing = { onBoot: false, hasMemberTag };
  await powerOff(context, config, running, { site: input.site, fence: { check }, standing });
  say(`${input.node} is off; its cluster is going away`);
}
