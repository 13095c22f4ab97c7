import { Deadline } from "../../runtime/deadline.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { awaitControllers } from "../../clients/kubernetes/controllers.ts";
import { nameOf } from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord, writeFacts } from "../../clients/kubernetes/record.ts";
import type { Node } from "../../clients/kubernetes/types.ts";
import type { Generation, GenerationRecord, GenerationState } from "../../domain/model/types.ts";
import { awaitPlanned } from "./gate.ts";
import { decommissionIncomplete } from "../node/incomplete-nodes.ts";
import type { PoolInput } from "../input.ts";
import type { StepContext } from "../context.ts";
import { connect, requireReachable } from "../cluster/connect.ts";
import { soak } from "../node/soak.ts";

/**
 * Ends a pool's run: waits until every slot is as planned and, for servers, the controllers work, then soaks the new
 * nodes for a short time. Writes the resulting state of the generation.
 */
export async function verify(
  context: StepContext,
  input: PoolInput,
): Promise<{ pool: string; state: GenerationState | "unchanged" }> {
  const connection = await connect(context, input);
  const access = requireReachable(connection, input);
  const { client } = access;
  await awaitPlanned(context, client, input);
  await decommissionIncomplete(context, input, access, connection.vms);
  // The last server that left may have led the controllers.
  if (input.role === "server")
    await awaitControllers(client, new Deadline("the controllers to work", input.site.timeouts.gate, context.stop));
  const { verdict } = input;
  const record = await readPoolRecord(client, input.pool);
  // Every node that was unhealthy has joined again by now: the next run has nothing to heal.
  const { healing } = input.plan;
  if (healing !== undefined && healing !== record.healing) await writeFacts(client, input.pool, { healing });
  const generation = verdict && (record.generations.find(({ id }) => id === verdict.generation) ?? spared(input));
  if (verdict === undefined || generation === undefined || isSettled(generation, verdict.state)) {
    return { pool: input.pool, state: "unchanged" };
  }
  const seconds = verdict.watchSeconds ?? 0;
  // Nodes are read again: what happened to a node in the waits before does not count in its soak.
  if (seconds > 0)
    await watchNodes(context, client, input, generation, await awaitPlanned(context, client, input), seconds);
  // watchNodes has written the beginning of the soak; another write of it would restart the soak.
  if (seconds === 0 || verdict.state === "proved") await write(client, input.pool, generation, verdict.state);
  say(`generation ${generation.id} of pool ${input.pool} is ${verdict.state}`);
  return { pool: input.pool, state: verdict.state };
}

/** A generation without a record, because the first node of the cluster joined before there was a record to write. */
function spared({ target, verdict }: PoolInput): Generation | undefined {
  return target?.id === verdict?.generation ? target : undefined;
}

/** A proved generation stays proved, and a soak that has begun keeps its beginning. */
function isSettled(generation: Generation | GenerationRecord, wanted: "soaking" | "proved"): boolean {
  if (!("state" in generation)) return false;
  return generation.state === "proved" || (generation.state === "soaking" && wanted === "soaking");
}

async function write(
  client: Kubernetes,
  pool: string,
  { id, spec }: Generation,
  state: GenerationState,
): Promise<void> {
  await writeFacts(client, pool, { generations: [{ id, spec, state, since: client.now().toISOString() }] });
}

async function watchNodes(
  context: StepContext,
  client: Kubernetes,
  input: PoolInput,
  generation: Generation | GenerationRecord,
  nodes: readonly Node[],
  seconds: number,
): Promise<void> {
  const names = new Set(input.plan.slots.filter((slot) => slot.generation === generation.id).map(({ name }) => name));
  if (!("state" in generation) || generation.state !== "soaking")
    await write(client, input.pool, generation, "soaking");
  say(`watching ${names.size} nodes of generation ${generation.id} for ${seconds} s`);
  const own = nodes.filter((node) => names.has(nameOf(node)));
  await soak(context, client, input, generation, own, seconds);
}
