import { messageOf } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import { DrainError } from "../../clients/kubernetes/eviction.ts";
import { readClusterUid } from "../../clients/kubernetes/cluster-uid.ts";
import { mayBeCalled, readMembersRetrying } from "../../clients/kubernetes/etcd-members.ts";
import { hasBeenInEtcd } from "../../clients/kubernetes/etcd.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import { isReady } from "../../clients/kubernetes/nodes.ts";
import { readWantedSlots } from "../../clients/kubernetes/cluster-record.ts";
import type { ServerNode } from "../../clients/kubernetes/servers.ts";
import { silentHostOf } from "../../clients/proxmox/errors.ts";
import { proveVm } from "../../clients/proxmox/identity.ts";
import { isRunning, listVms, type ListedVm } from "../../clients/proxmox/vms.ts";
import { hasJoined } from "../../domain/rollout/slot-state.ts";
import type { NodeRecord, PoolRecord } from "../../domain/model/types.ts";
import { NoRoom, requireOwner } from "../cluster/availability.ts";
import { probeMembers, ControlPlaneRefusal } from "../cluster/control-plane.ts";
import { DrainRefusal } from "./forecast.ts";
import type { SlotInput } from "../input.ts";
import { awaitEarlier, EarlierWait, prepareEmptying } from "./emptying.ts";
import { findOtherNodes, isBrokenOff, refresh, type Decommissioning, type DepartingNode } from "./departing-nodes.ts";
import { readOrder } from "./join-data.ts";
import type { Joining } from "./node-view.ts";
import { StandingChanged } from "./last-look.ts";
import { powerOff } from "./power-off.ts";
import { powerOn } from "./power-on.ts";
import { decommissionBrokenOff, decommissionNode } from "./decommission.ts";
import { withLease, slotLease, disruptionLeases, type StepContext } from "../context.ts";
import { connectThroughPeers, requireReachable } from "../cluster/connect.ts";

/**
 * Decommissions servers that would keep another server from joining. While a voter is dead etcd admits no member, so a
 * predecessor whose VM is off goes before its successor joins, and so does one whose member somebody has removed: beside
 * its Node no server joins either. The same holds for the members of slots that are given up. Before all others goes a
 * server of any slot whose decommissioning was interrupted after it had left etcd: its Node alone makes the control
 * plane unhealthy and keeps every member from leaving.
 * @returns the connection to the cluster: a new connection when the old one led through a server that has just left
 */
export async function removeDead(context: StepContext, input: SlotInput, joining: Joining): Promise<Access> {
  const { access, fence } = joining;
  const { record } = joining.view;
  const vms = await listVms(context.pve);
  const inSlot = await findOtherNodes(access.client, input, vms, record);
  for (const one of inSlot.filter(isBrokenOff)) await removeIfItMay(one, { context, access, input, fence });
  await removeBrokenOff(context, input, access, vms, record);
  const now = await reconnect(context, input, access);
  const all = [...inSlot, ...(await findGivenUp(now, input, vms, record))].filter((one) => !isBrokenOff(one));
  return await removeDeadAmong(context, input, { ...joining, access: now }, vms, all);
}

/**
 * Decommissions servers of slots that are given up and that would keep every other server from leaving: a handover whose
 * node has joined in an earlier run, before they fell, comes without the join that takes them out.
 */
export async function removeGivenUp(
  context: StepContext,
  input: SlotInput,
  leaving: Pick<Joining, "access" | "fence" | "view">,
  vms: readonly ListedVm[],
): Promise<void> {
  const { access, view } = leaving;
  await removeBrokenOff(context, input, access, vms, view.record);
  const all = (await findGivenUp(access, input, vms, view.record)).filter((one) => !isBrokenOff(one));
  await removeDeadAmong(context, input, leaving, vms, all);
}

/** @returns the connection to the cluster, as above */
async function removeDeadAmong(
  context: StepContext,
  input: SlotInput,
  work: Pick<Joining, "access" | "fence" | "view">,
  vms: readonly ListedVm[],
  others: readonly DepartingNode[],
): Promise<Access> {
  const { access: now, fence } = work;
  const seen = async () => await (await probeMembers(context, input, now))(context.stop);
  // Nothing is known during an election, and then nobody is out of etcd: the join waits for the others afterwards.
  const members = others.length === 0 ? [] : await seen().catch(() => []);
  context.stop.throwIfAborted();
  for (const one of others) {
    if (!(await isOff(context, one)) && !isOutOfEtcd(one, members)) continue;
    const left = await reconnect(context, input, now);
    await holdBack(context, input, { ...work, access: left }, vms);
    const { slot = input.slot } = one.own ?? {};
    const goes = async (its: Fence) => {
      sayRemoved(one);
      await decommissionNode(one, { context, access: left, fence: its, input });
    };
    if (slot === input.slot) await goes(fence);
    else await withLease(context, left, slotLease({ pool: input.pool, slot }), input.site.timeouts.lease, goes);
  }
  return await reconnect(context, input, now);
}

/** The given connection while its server runs, else a new connection: that server may be off since. */
async function reconnect(context: StepContext, input: SlotInput, access: Access): Promise<Access> {
  return (await isRunning(context.pve, access.server))
    ? access
    : requireReachable(await connectThroughPeers(context, input), input);
}

/**
 * Turns off servers that would join at the wrong time. While a voter is dead etcd admits no member, and RKE2 keeps
 * trying: servers that got their join data in an earlier run would join the moment the dead voter is gone, at the same
 * time as the server of this step. Each stays off until its own turn; in this slot, which has another node, it stays
 * off permanently.
 */
async function holdBack(
  context: StepContext,
  input: SlotInput,
  { access, fence: own, view: { record } }: Pick<Joining, "access" | "fence" | "view">,
  vms: readonly ListedVm[],
): Promise<void> {
  const probe = await probeMembers(context, input, access, readMembersRetrying);
  const isIn = async (node: NodeRecord) =>
    (await probe(context.stop)).some(({ name }) => mayBeCalled(node, node.name).includes(name));
  const clusterUid = await readClusterUid(access.client);
  for (const one of record.nodes) {
    const { name, slot, vmid, phase } = one;
    // The list has no name for a VM on a silent host: the request to that host then fails, and no server is removed.
    const vm = vms.find((listed) => listed.vmid === vmid && (listed.name ?? name) === name);
    const mayHaveBeenTold = name !== input.node && (phase === "made" || phase === "failed");
    if (!mayHaveBeenTold || vm === undefined || (await isIn(one))) continue;
    const keepOut = async (fence: Fence) => await turnOffIfTold(context, input, { one, vm, fence, clusterUid }, isIn);
    if (slot === input.slot) await keepOut(own);
    else await withLease(context, access, slotLease({ pool: input.pool, slot }), input.site.timeouts.lease, keepOut);
  }
}

interface Told {
  one: NodeRecord;
  vm: ListedVm;
  /** Fence of the node's slot. */
  fence: Fence;
  clusterUid: string;
}

async function turnOffIfTold(
  context: StepContext,
  input: SlotInput,
  { one, vm, fence, clusterUid }: Told,
  isIn: (one: NodeRecord) => Promise<boolean>,
): Promise<void> {
  const { name, vmid, uuid, slot } = one;
  if (!(await isRunning(context.pve, vm))) return;
  const config = await proveVm(context.pve, vm.host, { vmid, name, uuid, tags: [] });
  const order = await readOrder(context, input.site, config);
  if (order === "none") return;
  // The waits for a booting guest and for locks of Proxmox take time: the server may be a member by now.
  const check = async () => {
    await fence.check();
    if (await isIn(one)) throw new StandingChanged(`${name} is in etcd by now`);
  };
  const why =
    order === "told" ? "was told to join by an earlier run" : "may have been told to join: its guest agent is silent";
  try {
    await check();
    say(`${name} ${why}. It is turned off${slot === input.slot ? "" : " until its turn comes"}`);
    await powerOff(context, config, true, { site: input.site, fence: { check } });
    if (!(await isIn(one))) return;
    // It has joined while it shut down, and gets its vote whether or not it is off.
    await powerOn(context, await proveVm(context.pve, config.host, { vmid, name, uuid, tags: [] }), clusterUid);
    say(`${name} has got into etcd while it shut down, and is started again`);
  } catch (error) {
    if (!(error instanceof StandingChanged)) throw error;
    say(`${error.message}, and stays on`);
  }
}

/**
 * Decommissions servers of other slots whose decommissioning was interrupted.
 * @param record of the whole pool
 */
async function removeBrokenOff(
  context: StepContext,
  input: SlotInput,
  access: Access,
  vms: readonly ListedVm[],
  record: PoolRecord,
): Promise<void> {
  for (const one of await findBrokenOff(access, input, vms, record)) {
    const slot = one.own?.slot ?? input.slot;
    await withLease(context, access, slotLease({ pool: input.pool, slot }), input.site.timeouts.lease, (fence) =>
      removeIfItMay(one, { context, access, input, fence }),
    );
  }
}

function sayRemoved({ name }: DepartingNode): void {
  say(`${name} serves no more: it is taken out before another server comes or goes`);
}

/**
 * Decommissions a server if etcd allows it: while a voter is dead, only that voter may leave. A server that is still a
 * voter blocks no other server, and is decommissioned with its own slot.
 */
async function removeIfItMay(one: DepartingNode, work: Decommissioning): Promise<void> {
  sayRemoved(one);
  await decommissionBrokenOff(one, work).catch((error: unknown) => {
    if (!(error instanceof ControlPlaneRefusal)) throw error;
    say(`${error.message}\n  ${one.name} is taken out when its slot is handed over`);
  });
}

/** Whether the node has a Node and has been in etcd, which does not have it: somebody has removed its member. */
const isOutOfEtcd = ({ name, node }: DepartingNode, servers: readonly ServerNode[]): boolean =>
  hasBeenInEtcd(node) && servers.some((server) => server.name === name && server.member === "none");

/** Whether the node has a Node and a VM that does not run. */
async function isOff(context: StepContext, { node, vm }: DepartingNode): Promise<boolean> {
  return node !== undefined && vm !== undefined && !(await isRunning(context.pve, vm));
}

/** Servers of other slots whose record is retired and that still have a Node. */
async function findBrokenOff(
  access: Access,
  input: SlotInput,
  vms: readonly ListedVm[],
  record: PoolRecord,
): Promise<DepartingNode[]> {
  return (await findInOtherSlots(access, input, vms, record, ({ phase }) => phase === "retired")).filter(isBrokenOff);
}

/**
 * Members in slots that the update does not want. It deletes them in the end, which never comes while one of them is
 * dead.
 */
async function findGivenUp(
  access: Access,
  input: SlotInput,
  vms: readonly ListedVm[],
  record: PoolRecord,
): Promise<DepartingNode[]> {
  const isWanted = await readWantedSlots(access.client, input.pool, "server");
  return await findInOtherSlots(access, input, vms, record, (one) => hasJoined(one) && !isWanted(one.slot));
}

async function findInOtherSlots(
  { client }: Access,
  input: SlotInput,
  vms: readonly ListedVm[],
  record: PoolRecord,
  concerns: (one: NodeRecord) => boolean,
): Promise<DepartingNode[]> {
  const nodes = record.nodes.filter((one) => one.slot !== input.slot && concerns(one));
  const slots = [...new Set(nodes.map(({ slot }) => slot))];
  const inSlots = await Promise.all(
    slots.map((slot) => findOtherNodes(client, { ...input, slot, node: "", generation: "" }, vms, record)),
  );
  return inSlots.flat();
}

/**
 * Decommissions the incomplete nodes of a slot before another node of it is started: they may have stayed because a
 * voter of another slot was dead or their Proxmox host was silent, and two of them beside a running owner would be more
 * than the surge. An agent that has joined a slot whose owner does not serve is left to the handover: it may be the
 * node that serves there. So is a server that may not leave etcd: it may be the voter of its slot, whose owner has been
 * taken out. One that is not Ready goes also beside an owner that is off: etcd admits nobody while it is a member.
 */
export async function clearIncomplete(
  context: StepContext,
  input: SlotInput,
  { access, fence, view: { record } }: Joining,
): Promise<void> {
  const isServer = input.role === "server";
  const isIncomplete = ({ name, slot, phase }: NodeRecord) =>
    slot === input.slot && name !== input.node && phase !== "handedOver" && (isServer || phase !== "retired");
  if (!record.nodes.some(isIncomplete)) return;
  const others = await findOtherNodes(access.client, input, await listVms(context.pve), record);
  const on = await Promise.all(others.map((one) => isOn(context, one)));
  const running = new Set(others.filter((_, index) => on[index]));
  const owner = others.find((one) => one.own?.phase === "handedOver");
  const ownerRuns = owner !== undefined && running.has(owner);
  const ownerServes = ownerRuns && owner.node !== undefined && isReady(owner.node);
  const goes = (one: DepartingNode) =>
    isServer
      ? one.node && (ownerRuns || !isReady(one.node))
      : running.has(one) && (ownerServes || one.node === undefined);
  const incomplete = others.filter((one) => one.own && isIncomplete(one.own) && goes(one));
  if (incomplete.length === 0) return;
  const { client } = access;
  await withLease(context, access, disruptionLeases(input), input.site.timeouts.lease, async () => {
    for (const one of incomplete) {
      const clear = async () => {
        const found = await prepareEmptying(context, client, input, one, "incomplete");
        await decommissionNode(found, { context, access, fence, input }, async () => {
          await awaitEarlier(context, client, input, await refresh(client, found), "incomplete");
          // The wait for the disruption lease may have been long.
          if (!isServer) await requireOwner(context, client, input, one, owner);
        });
      };
      await clear().catch((error: unknown) => {
        if (!(isServer ? mayWait(error) : mayStay(error))) throw error;
        say(`${messageOf(error)}\n  it is retired when the slot is handed over`);
      });
    }
  });
}

/** Whether a server stays until the handover. */
const mayWait = (error: unknown): boolean => error instanceof ControlPlaneRefusal || error instanceof EarlierWait;

/** Whether an agent does: it cannot be drained now, or nobody else has the slot. */
const mayStay = (error: unknown): boolean =>
  error instanceof EarlierWait ||
  error instanceof NoRoom ||
  error instanceof DrainError ||
  error instanceof DrainRefusal;

/**
 * Whether the node's VM runs, as its host says: the list is old, and while the statistics daemon of a host hangs, none
 * of its VMs has a status. A VM on a silent host counts as off: it cannot be turned off now.
 */
async function isOn(context: StepContext, { vm }: DepartingNode): Promise<boolean> {
  if (vm === undefined) return false;
  return await isRunning(context.pve, vm).catch((error: unknown) => {
    if (silentHostOf(error) === undefined) throw error;
    return false;
  });
}
