import { UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import type { Access } from "../kubernetes/access.ts";
import type { Kubernetes } from "../kubernetes/client.ts";
import type { Fence } from "../kubernetes/lease.ts";
import { restore } from "../kubernetes/nodes.ts";
import { readPoolRecord, writeFacts } from "../kubernetes/record.ts";
import { isRunning, type ListedVm } from "../proxmox/vms.ts";
import type { Hindrance } from "../rollout/serving.ts";
import { hasJoined } from "../rollout/slots.ts";
import { awaitCalm, byNodes, calmBy } from "./control-plane.ts";
import type { SlotInput } from "./input.ts";
import { isGone, otherNodes } from "./leavers.ts";
import { expectedNode, hindrancesOf, isMarked, known, lacking, type Known } from "./member.ts";
import { awaitPlaced, rememberDisplaced } from "./placement.ts";
import { retireNode, sayBlockers } from "./retirement.ts";
import { all, holding, quietly, slotLease, tickets, type Run } from "./run.ts";
import { ImageFault, isVerdict, judgeFailed } from "./verdict.ts";
import { look, reachable } from "./scene.ts";

/** Gives a slot to its node: every other node of the slot is retired. */
export async function handover(run: Run, input: SlotInput): Promise<{ active: string }> {
  const scene = await look(run, input);
  const access = reachable(scene, input);
  const before = await known(access.client, input);
  const others = (await otherNodes(access.client, input, scene.vms, before.record)).filter((one) => !isGone(one));
  if (others.length === 0 && before.own?.phase === "handedOver") return { active: input.node };
  try {
    await holding(run, access, slotLease(input), input.site.timeouts.lease, (fence) =>
      handOver(run, input, access, fence, scene.vms),
    );
  } catch (error) {
    run.stop.throwIfAborted();
    if (isVerdict(error)) {
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
  const record = await readPoolRecord(client, input.pool);
  const leaving = (await otherNodes(client, input, vms, record)).filter((one) => !isGone(one));
  if (leaving.length === 0) {
    await serves();
    await awaitPlaced(run, client, input);
  } else {
    await holding(run, access, tickets(input), input.site.timeouts.lease, async (ticket) => {
      if (input.role === "agent") await awaitCalm(byNodes(access), calmBy(run, input));
      const options = { run, access, fence: all(slot, ticket), input, mayBegin: serves, proof: "members" as const };
      const nodes = new Set(leaving.flatMap(({ node, name }) => (node ? [name] : [])));
      await sayBlockers(client, nodes);
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

/** Nobody leaves before somebody serves. @throws ImageFault that says what is missing */
async function requireServing(
  run: Run,
  input: SlotInput,
  { node, own }: Known,
  vms: readonly ListedVm[],
): Promise<void> {
  const missing: string[] = [];
  const hindering: Hindrance[] = [];
  if (node === undefined) missing.push("it has no Node");
  else if (own === undefined) missing.push("nobody remembers that it joined");
  else {
    missing.push(...lacking(node, expectedNode(input, own.uuid)));
    if (!hasJoined(own)) missing.push(`it is ${own.phase}, not joined`);
    hindering.push(...hindrancesOf(node, input));
  }
  // A Node may look Ready for most of a minute after its VM has lost its power.
  const vm = vms.find(({ vmid }) => vmid === input.vmid);
  if (vm === undefined || !(await isRunning(run.pve, vm))) missing.push("its VM does not run");
  const all = [...missing, ...hindering.map(({ reason }) => reason)];
  if (all.length === 0) return;
  const problem = {
    what: `${input.node} does not serve, so nobody leaves its slot: ${all.join("; ")}`,
    where: `slot ${input.slot} of pool ${input.pool}`,
    todo: "look at that node; pulumi up joins it again when its VM was turned off",
  };
  // Whoever cordoned or tainted it has not shown that its image is at fault.
  throw missing.length === 0 && hindering.every(({ by }) => by === "others")
    ? new UserError(problem)
    : new ImageFault(problem);
}
