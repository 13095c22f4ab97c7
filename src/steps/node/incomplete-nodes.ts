import { messageOf } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import { listNodes, observedNode } from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../clients/kubernetes/record.ts";
import { silentHostOf } from "../../clients/proxmox/errors.ts";
import { nodeNameIn, nodeTags } from "../../clients/proxmox/tags.ts";
import { isHostSilent, type ListedVm } from "../../clients/proxmox/vms.ts";
import {
  hasServed,
  isHealthy,
  slotStates,
  standsIn,
  type Member,
  type SlotState,
} from "../../domain/rollout/slot-state.ts";
import type { ObservedVm, PoolRecord } from "../../domain/model/types.ts";
import { retryUntilRoom, NoRoom, requireOwner, withDisruptionLease } from "../cluster/availability.ts";
import type { PoolInput } from "../input.ts";
import { ControlPlaneRefusal } from "../cluster/control-plane.ts";
import { awaitEarlier, EarlierWait, prepareEmptying } from "./emptying.ts";
import { departingNode, isBrokenOff, refresh, withoutCopies, type DepartingNode } from "./departing-nodes.ts";
import { decommissionBrokenOff, decommissionUnreplaced } from "./decommission.ts";
import { allFences, withLease, slotLease, disruptionLeases, type StepContext } from "../context.ts";
import { labels } from "../../domain/model/formats.ts";

/**
 * Decommissions the incomplete nodes that unfinished runs left: such a node does not serve, and takes room that new VMs
 * need. Where the owner of the slot is down, or there is none, the node may be the only one in the slot that has pods:
 * it is left to the handover of the slot. So is a server that may not leave etcd now: the join that replaces a dead
 * server has not begun yet.
 */
export async function clearSlots(
  context: StepContext,
  input: PoolInput,
  access: Access,
  vms: readonly ListedVm[],
): Promise<void> {
  const { role } = input;
  const isIncomplete = (member: Member, state: SlotState) => {
    const { owner } = state;
    if (hasServed(member, state)) return false;
    return owner === undefined ? !standsIn(role, member, state) : isHealthy(owner);
  };
  let isHeld = false;
  await runForEach(context, input, access, vms, isIncomplete, async (departing, { slot, owner }, fence) => {
    // What the next one would wait for is the same.
    if (isHeld) {
      say(`${departing.name} stays as well until then`);
      return;
    }
    const leases = disruptionLeases(input);
    const place = { ...input, slot };
    const { client } = access;
    const retired = withLease(context, access, leases, input.site.timeouts.lease, async (held) => {
      const one = await prepareEmptying(context, client, place, departing, "incomplete");
      await decommissionUnreplaced(one, { context, access, fence: allFences(fence, held), input }, async () => {
        await awaitEarlier(context, client, place, await refresh(client, one), "incomplete");
        if (role === "agent") await requireOwner(context, client, place, departing, owner);
      });
    });
    await retired.catch((error: unknown) => {
      isHeld = error instanceof EarlierWait;
      if (!isHeld && !(error instanceof NoRoom) && !(error instanceof ControlPlaneRefusal)) throw error;
      say(`${messageOf(error)}\n  it is retired when another node has its slot`);
    });
  });
}

/**
 * Decommissions what unfinished runs left in slots that no longer exist, before the engine destroys its VM. A join that
 * failed or was killed is not in the state, so no delete of it does that; a node that was handed its slot is in the
 * state. A server of such a slot that is down does not wait for its delete: the agents that come first wait for a healthy
 * control plane.
 */
export async function decommissionIncomplete(
  context: StepContext,
  input: PoolInput,
  access: Access,
  vms: readonly ListedVm[],
): Promise<void> {
  const planned = new Set(input.plan.slots.map(({ slot }) => slot));
  const isLeft = (member: Member, { slot }: SlotState) =>
    !planned.has(slot) && (member.record?.phase !== "handedOver" || (input.role === "server" && !isHealthy(member)));
  await runForEach(context, input, access, vms, isLeft, async (departing, { slot }, fence) => {
    const place = { ...input, slot };
    await retryUntilRoom(context, input, () =>
      withDisruptionLease(context, access, place, [departing], async (disruption, mayLeave) => {
        const work = { context, access, fence: allFences(fence, disruption), input };
        const { client } = access;
        if (input.role === "server" && isBrokenOff(departing)) {
          await decommissionBrokenOff(departing, work);
          return;
        }
        const one = await prepareEmptying(context, client, place, departing, "incomplete");
        await decommissionUnreplaced(one, work, async () => {
          await awaitEarlier(context, client, place, await refresh(client, one), "incomplete");
          await mayLeave(departing);
        });
      }),
    );
  });
}

/**
 * Runs `retired` for every node concerned. The list may be seconds old, so its power status decides nothing here: an
 * incomplete VM may just have been started.
 * @param retired decommissions one of the nodes concerned, while the lease of its slot is held
 */
async function runForEach(
  context: StepContext,
  input: PoolInput,
  access: Access,
  list: readonly ListedVm[],
  concerns: (member: Member, state: SlotState) => boolean,
  retired: (departing: DepartingNode, state: SlotState, fence: Fence) => Promise<void>,
): Promise<void> {
  const { client } = access;
  const { cluster, pool } = input;
  const record = await readPoolRecord(client, pool);
  const kept = new Set(input.plan.slots.map(({ name }) => name));
  const nodes = (await listNodes(client, { cluster, pool })).filter(
    (node) => labels.slot in (node.metadata?.labels ?? {}),
  );
  const vms = withoutCopies(list, record).flatMap((vm) => liveByTags(vm, input));
  const states = slotStates({ vms, nodes: nodes.map(observedNode), takenVmids: list.map(({ vmid }) => vmid) }, record);
  const all = [...states.values()].flatMap((state) => state.members.map((member) => ({ member, state })));
  for (const { member, state } of all.toSorted((a, b) => turnOf(a.member, record) - turnOf(b.member, record))) {
    if (kept.has(member.name) || !concerns(member, state)) continue;
    // A VM without a recorded uuid was never started by us: the engine destroys the clone as it is.
    if (member.node === undefined && (member.record === undefined || member.record.phase === "retired")) continue;
    const departing = departingNode({ ...input, slot: state.slot }, member.generation, {
      vm: list.find(({ vmid }) => vmid === member.vm?.vmid),
      node: nodes.find((node) => node.metadata?.name === member.name),
      record,
    });
    say(
      `${member.name} ${member.record?.phase === "handedOver" ? "is down" : "is incomplete"} and serves nobody: it is retired`,
    );
    await withLease(context, access, slotLease({ pool, slot: state.slot }), input.site.timeouts.lease, (fence) =>
      retired(departing, state, fence),
    ).catch(async (error: unknown) => {
      const silent = silentHostOf(error);
      // A write is tried once: its failure alone does not make a host silent.
      if (silent === undefined || departing.vm === undefined || !(await isHostSilent(context.pve, departing.vm)))
        throw error;
      say(`${member.name} is left as it is: its Proxmox host ${silent} does not answer`);
    });
  }
}

/**
 * Which members come first: while a server has left etcd and still has its Node, no other one may leave, and while a voter
 * is down only that one.
 */
function turnOf(member: Member, { nodes }: PoolRecord): number {
  if (nodes.some(({ uuid, phase }) => phase === "retired" && uuid === member.node?.uuid)) return 0;
  return isHealthy(member) ? 2 : 1;
}

/**
 * A VM as the list alone shows it: names are enough to find out which node serves a slot, and each VM is proved before
 * it is changed.
 */
function liveByTags(vm: ListedVm, { cluster, pool, site }: PoolInput): ObservedVm[] {
  const tags = nodeTags(vm.tags);
  if (vm.template || vm.pool !== site.proxmoxPool || tags?.cluster !== cluster || tags.pool !== pool) return [];
  const { slot, generation } = tags;
  const { vmid, host } = vm;
  const name = vm.name ?? nodeNameIn(tags);
  return [{ vmid, host, name, running: vm.status === "running", uuid: "", pool, slot, generation }];
}
