import { Deadline } from "../../runtime/deadline.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { awaitControllers } from "../../clients/kubernetes/controllers.ts";
import { nameOf } from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord, writeFacts } from "../../clients/kubernetes/record.ts";
import type { Node } from "../../clients/kubernetes/types.ts";
import { wasWatched } from "../../domain/rollout/decision.ts";
import type {
  Generation,
  GenerationRecord,
  GenerationState,
  PlanVerdict,
  PoolRecord,
} from "../../domain/model/types.ts";
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
  if (verdict === undefined || generation === undefined || isSettled(generation, verdict, input, record)) {
    return { pool: input.pool, state: "unchanged" };
  }
  const seconds = isProved(generation) ? 0 : (verdict.watchSeconds ?? 0);
  // Nodes are read again, for the waits before may take minutes: what happened to a node in them does not count in its
  // soak, and no generation is proved by nodes that are gone by now.
  const nodes = await awaitPlanned(context, client, input);
  const begun = client.now();
  if (seconds > 0) await watchNodes(context, client, input, generation, nodes, begun);
  // A soak begins with its watch, and not with the end of it.
  const since = seconds > 0 && verdict.state === "soaking" ? begun : client.now();
  await write(client, input.pool, generation, { state: verdict.state, since });
  say(`generation ${generation.id} of pool ${input.pool} is ${verdict.state}`);
  return { pool: input.pool, state: verdict.state };
}

/** A generation without a record, because the first node of the cluster joined before there was a record to write. */
function spared({ target, verdict }: PoolInput): Generation | undefined {
  return target?.id === verdict?.generation ? target : undefined;
}

const isProved = (generation: Generation | GenerationRecord): boolean =>
  "state" in generation && generation.state === "proved";

/**
 * A proved generation stays proved; it is proved anew when the pool has gone back to it from one that was proved later.
 * A soak that has begun keeps its beginning, unless it is to be watched anew.
 */
function isSettled(
  generation: Generation | GenerationRecord,
  { state, watchSeconds: seconds = 0 }: PlanVerdict,
  input: PoolInput,
  { generations, nodes }: PoolRecord,
): boolean {
  if (!("state" in generation)) return false;
  if (isProved(generation)) return !generations.some((one) => isProved(one) && one.since > generation.since);
  if (generation.state !== "soaking" || state !== "soaking") return false;
  const names = namesOf(input, generation.id);
  const own = nodes.filter(({ name }) => names.has(name));
  return seconds === 0 || wasWatched(generation, own, seconds);
}

/** The nodes of a generation in the plan. */
const namesOf = ({ plan }: PoolInput, id: string): Set<string> =>
  new Set(plan.slots.filter(({ generation }) => generation === id).map(({ name }) => name));

async function write(
  client: Kubernetes,
  pool: string,
  { id, spec }: Generation,
  { since, ...state }: Pick<GenerationRecord, "state" | "unwatched"> & { since: Date },
): Promise<void> {
  await writeFacts(client, pool, { generations: [{ id, spec, ...state, since: since.toISOString() }] });
}

async function watchNodes(
  context: StepContext,
  client: Kubernetes,
  input: PoolInput,
  generation: Generation | GenerationRecord,
  nodes: readonly Node[],
  since: Date,
): Promise<void> {
  const { state, watchSeconds: seconds = 0 } = input.verdict ?? {};
  const names = namesOf(input, generation.id);
  // When the run is killed or the soak disturbed, the next run watches the first nodes anew.
  if (state === "soaking" || !("state" in generation) || generation.state !== "soaking")
    await write(client, input.pool, generation, { state: "soaking", since, unwatched: true });
  say(`watching ${names.size} nodes of generation ${generation.id} for ${seconds} s`);
  const own = nodes.filter((node) => names.has(nameOf(node)));
  await soak(context, client, input, generation, own, seconds);
}
