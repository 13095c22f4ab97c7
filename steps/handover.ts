import { UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import type { Access } from "../kubernetes/access.ts";
import type { Kubernetes } from "../kubernetes/client.ts";
import type { Fence } from "../kubernetes/lease.ts";
import { restore, saysNotReady, whyNotReady } from "../kubernetes/nodes.ts";
import { readSlotRecord, writeFacts } from "../kubernetes/record.ts";
import { isRunning, type ListedVm } from "../proxmox/vms.ts";
import { hasJoined } from "../rollout/slots.ts";
import { awaitCalmForAgents } from "./control-plane.ts";
import type { SlotInput } from "./input.ts";
import { excused } from "./excuse.ts";
import { isGone, otherNodes } from "./leavers.ts";
import { contradictions, expectedNode, hindrancesOf, isMarked, known, lacking, type Known } from "./member.ts";
import { awaitPlaced, rememberDisplaced } from "./placement.ts";
import { retireNode } from "./retirement.ts";
import { all, holding, quietly, slotLease, tickets, type Run } from "./run.ts";
import { ImageFault, judgeFailed, Unwell } from "./verdict.ts";
import { look, reachable } from "./scene.ts";

/** Gives a slot to its node: every other node of the slot is retired. */
export async function handover(run: Run, input: SlotInput): Promise<{ active: string }> {
  if (input.unreachable !== undefined) {
    say(
      `slot ${input.slot} of pool ${input.pool} stays as it is: the Proxmox host ${input.unreachable} did not answer`,
    );
    return { active: input.node };
  }
  const scene = await look(run, input);
  const access = reachable(scene, input);
  const before = await known(access.client, input);
  const others = (await otherNodes(access.client, input, scene.vms, before.record)).filter((one) => !isGone(one));
  if (others.length === 0 && before.own?.phase === "handedOver") return { active: input.node };
  const silenceBefore = access.client.silence;
  try {
    await holding(run, access, slotLease(input), input.site.timeouts.lease, (fence) =>
      handOver(run, input, access, fence, scene.vms),
    );
  } catch (failure) {
    run.stop.throwIfAborted();
    const vm = scene.vms.find(({ vmid }) => vmid === input.vmid) ?? { host: "unknown", vmid: input.vmid };
    const { node: name, role } = input;
    const error = await excused(run, { name, role, vm, client: access.client, silenceBefore }, failure);
    if (error instanceof ImageFault) {
      const why = `handover of slot ${input.slot}: ${error.problem.what} (${error.problem.where})`;
      const generation = { id: input.generation, spec: input.spec };
      await quietly("the verdict", () => judgeFailed(access.client, input.pool, generation, why));
    }
    throw error;
  }
  say(`${input.node} has slot ${input.slot} of pool ${input.pool}`);
  return { active: input.node };
}

async function handOver(
  run: Run,
  input: SlotInput,
  access: Access,
  slot: Fence,
  vms: readonly ListedVm[],
): Promise<void> {
  const { client } = access;
  const serves = async () => {
    const facts = await known(client, input);
    await requireServing(run, input, facts, vms);
    if (facts.node && isMarked(facts.node)) await restore(client, input.node);
  };
  const record = await readSlotRecord(client, input.pool, input.slot);
  const leaving = (await otherNodes(client, input, vms, record)).filter((one) => !isGone(one));
  if (leaving.length === 0) {
    await serves();
    await awaitPlaced(run, client, input);
  } else {
    await holding(run, access, tickets(input), input.site.timeouts.lease, async (ticket) => {
      if (input.role === "agent") await awaitCalmForAgents(run, input, access);
      const options = { run, access, fence: all(slot, ticket), input, mayBegin: serves, proof: "members" as const };
      const nodes = new Set(leaving.flatMap(({ node, name }) => (node ? [name] : [])));
      await rememberDisplaced(client, input, nodes);
      for (const one of leaving) await retireNode(one, options);
      await awaitPlaced(run, client, input);
    });
  }
  await slot.check();
  await owns(client, input);
}

/** Writes that the slot is the node's: whoever plans next does not take it for half-made. */
async function owns(client: Kubernetes, input: SlotInput): Promise<void> {
  const { own } = await known(client, input);
  if (own === undefined) return;
  const { displaced, ...rest } = own;
  if (own.phase === "handedOver" && displaced === undefined) return;
  const since = client.now().toISOString();
  await writeFacts(client, input.pool, { nodes: [{ ...rest, phase: "handedOver", since }] });
}

/**
 * Nobody leaves before somebody serves.
 * @throws ImageFault when the node itself is another than it has to be, or says that it is not well. One that is silent, was
 *   turned off or is kept from serving by others is not judged: its next join has the time and the means to
 */
async function requireServing(run: Run, input: SlotInput, facts: Known, vms: readonly ListedVm[]): Promise<void> {
  const { itsOwn, others } = missing(input, facts);
  // A Node may look Ready for most of a minute after its VM has lost its power.
  const vm = vms.find(({ vmid }) => vmid === input.vmid);
  const runs = vm !== undefined && (await isRunning(run.pve, vm));
  if (!runs) others.push("its VM does not run");
  if (itsOwn.length + others.length === 0) return;
  const problem = {
    what: `${input.node} does not serve, so nobody leaves its slot: ${[...itsOwn, ...others].join("; ")}`,
    where: `slot ${input.slot} of pool ${input.pool}`,
    todo: "look at that node; pulumi up joins it again when its VM was turned off",
  };
  throw runs && itsOwn.length > 0 ? new Unwell(problem) : new UserError(problem);
}

/** What keeps a node from serving: what it is or says itself, and what nobody knows of it or others did to it. */
function missing(input: SlotInput, { node, own }: Known): { itsOwn: string[]; others: string[] } {
  if (node === undefined) return { itsOwn: [], others: ["it has no Node"] };
  if (own === undefined) return { itsOwn: [], others: ["nobody remembers that it joined"] };
  const expected = expectedNode(input, own.uuid);
  const hindering = hindrancesOf(node, input);
  const itsOwn = [
    ...contradictions(node, expected),
    ...(saysNotReady(node) ? [whyNotReady(node)] : []),
    ...hindering.filter(({ by }) => by === "node").map(({ reason }) => reason),
  ];
  const others = [
    ...lacking(node, expected).filter((reason) => !itsOwn.includes(reason)),
    ...(hasJoined(own) ? [] : [`it is ${own.phase}, not joined`]),
    ...hindering.filter(({ by }) => by === "others").map(({ reason }) => reason),
  ];
  return { itsOwn, others };
}
