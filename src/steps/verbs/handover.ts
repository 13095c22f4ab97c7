import { momentNow } from "../../runtime/clock.ts";
import { say } from "../../runtime/log.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import { uncordon } from "../../clients/kubernetes/nodes.ts";
import { readSlotRecord, writeFacts } from "../../clients/kubernetes/record.ts";
import { listVms } from "../../clients/proxmox/vms.ts";
import { retryUntilRoom, withDisruptionLease, type VmList } from "../cluster/availability.ts";
import { ControlPlaneRefusal } from "../cluster/control-plane.ts";
import type { SlotInput } from "../input.ts";
import { attributeFailure } from "../node/attribution.ts";
import { isThere, findOtherNodes, refresh, type Decommissioning, type DepartingNode } from "../node/departing-nodes.ts";
import { isMarked, readNodeView } from "../node/node-view.ts";
import { awaitEarlier } from "../node/emptying.ts";
import { awaitPlaced, owed, rememberDisplaced } from "../node/placement.ts";
import { awaitStarted } from "../node/starting.ts";
import { removeGivenUp } from "../node/predecessors.ts";
import { decommissionReplaced, decommissionUnreplaced } from "../node/decommission.ts";
import { allFences, withLease, attemptQuietly, slotLease, type StepContext } from "../context.ts";
import { requireServing, awaitUntainted } from "../node/serving.ts";
import { ImageFault, judgeFailed } from "../node/verdict.ts";
import { connect, requireReachable } from "../cluster/connect.ts";

/** Gives a slot to its node and decommissions every other node of the slot. */
export async function handover(context: StepContext, input: SlotInput): Promise<{ active: string }> {
  if (input.unreachable !== undefined) {
    say(
      `slot ${input.slot} of pool ${input.pool} stays as it is: the Proxmox host ${input.unreachable} did not answer`,
    );
    return { active: input.node };
  }
  const since = momentNow();
  const connection = await connect(context, input);
  const access = requireReachable(connection, input);
  const before = await readNodeView(access.client, input);
  const others = (await findOtherNodes(access.client, input, connection.vms, before.record)).filter(isThere);
  const isOwed = owed(before.record, input).length > 0;
  if (others.length === 0 && before.own?.phase === "handedOver" && !isOwed) return { active: input.node };
  const silenceBefore = access.client.silence;
  try {
    await withLease(context, access, slotLease(input), input.site.timeouts.lease, (fence) =>
      retryUntilRoom(context, input, async (again) =>
        handOver(context, input, access, fence, again ? await listNow(context) : { vms: connection.vms, since }),
      ),
    );
  } catch (failure) {
    context.stop.throwIfAborted();
    const vm = connection.vms.find(({ vmid }) => vmid === input.vmid) ?? { host: "unknown", vmid: input.vmid };
    const { node: name, pool, slot, generation: id } = input;
    const error = await attributeFailure(
      context,
      { name, pool, slot, generation: id, vm, client: access.client, silenceBefore },
      failure,
    );
    if (error instanceof ImageFault) {
      const why = `handover of slot ${input.slot}: ${error.problem.what} (${error.problem.where})`;
      const generation = { id: input.generation, spec: input.spec };
      await attemptQuietly("the verdict", () => judgeFailed(access.client, input.pool, generation, why));
    }
    throw error;
  }
  say(`${input.node} has slot ${input.slot} of pool ${input.pool}`);
  return { active: input.node };
}

async function listNow({ pve }: StepContext): Promise<VmList> {
  return { since: momentNow(), vms: await listVms(pve) };
}

async function handOver(
  context: StepContext,
  input: SlotInput,
  access: Access,
  slot: Fence,
  listed: VmList,
): Promise<void> {
  const { client } = access;
  const { vms } = listed;
  const serves = async () => {
    const view = await awaitUntainted(context, input, client);
    await requireServing(context, input, view, vms);
    if (view.node && isMarked(view.node)) await uncordon(client, input.node);
  };
  const settled = async () => {
    await awaitPlaced(context, client, input);
    await awaitStarted(context, client, input);
  };
  const record = await readSlotRecord(client, input.pool, input.slot);
  const isOwner = record.nodes.some(({ name, phase }) => name === input.node && phase === "handedOver");
  const leaving = (await findOtherNodes(client, input, vms, record)).filter(isThere);
  if (leaving.length === 0) {
    await serves();
    await settled();
  } else {
    await withDisruptionLease(
      context,
      access,
      input,
      leaving,
      async (disruption, mayLeave) => {
        const work = { context, access, fence: allFences(slot, disruption), input };
        const nodes = new Set(leaving.flatMap(({ node, name }) => (node ? [name] : [])));
        await rememberDisplaced(client, input, nodes);
        // A server that has left etcd and still has its Node keeps every other member from leaving, and so does a dead one.
        if (input.role === "server")
          await removeGivenUp(context, input, { access, fence: slot, view: await readNodeView(client, input) }, vms);
        for (const one of leaving) {
          // Reads the node again: it takes minutes to know whether a silent node is dead, and the node may be back by
          // then.
          const mayBegin = async () => {
            await awaitEarlier(context, client, input, await refresh(client, one), "handover");
            await serves();
            await mayLeave(one);
          };
          if (input.role === "server" && isOwner) await removeSurplus(one, work, mayBegin);
          else await decommissionReplaced(one, work, mayBegin);
        }
        await settled();
      },
      listed,
    );
  }
  await slot.check();
  await recordHandedOver(client, input);
}

/**
 * Decommissions a server beside the owner of its slot. It may be the voter that an empty slot lacks: then it stays until
 * that slot has its server, and the delete of its join takes it out at the end of the update.
 */
async function removeSurplus(one: DepartingNode, work: Decommissioning, mayBegin: () => Promise<void>): Promise<void> {
  await decommissionUnreplaced(one, work, mayBegin).catch((error: unknown) => {
    if (!(error instanceof ControlPlaneRefusal)) throw error;
    say(`${error.message}\n  it is retired at the end of the update`);
  });
}

/** Records that the slot belongs to the node, so that the next plan does not take the node for incomplete. */
async function recordHandedOver(client: Kubernetes, input: SlotInput): Promise<void> {
  const { own, record } = await readNodeView(client, input);
  if (own === undefined) return;
  const { displaced, ...rest } = own;
  const others = record.nodes.filter(({ slot, name }) => slot === input.slot && name !== own.name);
  const placed = others.flatMap(({ displaced: some, ...other }) => (some === undefined ? [] : [other]));
  if (own.phase === "handedOver" && displaced === undefined && placed.length === 0) return;
  const since = client.now().toISOString();
  await writeFacts(client, input.pool, { nodes: [...placed, { ...rest, phase: "handedOver", since }] });
}
