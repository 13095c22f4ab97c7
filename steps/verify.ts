import { Deadline, DeadlineError } from "../common/deadline.ts";
import { UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import type { Kubernetes } from "../kubernetes/client.ts";
import { awaitControllers } from "../kubernetes/controllers.ts";
import { isReady, nameOf, readySince, selector, whyNotReady } from "../kubernetes/nodes.ts";
import { belongsToNode, podName, restartsOf } from "../kubernetes/pods.ts";
import { readPoolRecord, writeFacts } from "../kubernetes/record.ts";
import { paths, type Node, type Pod } from "../kubernetes/types.ts";
import { until, type Seen } from "../kubernetes/watch.ts";
import type { Generation, GenerationRecord, GenerationState } from "../rollout/types.ts";
import { awaitPlanned } from "./gate.ts";
import { clearSlots } from "./half-made.ts";
import type { PoolInput } from "./input.ts";
import { quietly, type Run } from "./run.ts";
import { judgeFailed } from "./verdict.ts";
import { look, reachable } from "./scene.ts";

/**
 * The end of a pool's run: every slot is as planned, with servers the controllers work, and a short soak holds. Writes what
 * that makes of the generation.
 */
export async function verify(
  run: Run,
  input: PoolInput,
): Promise<{ pool: string; state: GenerationState | "unchanged" }> {
  const scene = await look(run, input);
  const access = reachable(scene, input);
  const { client } = access;
  const nodes = await awaitPlanned(run, client, input);
  await clearSlots(run, input, access, scene.vms);
  // The last server that left its slot may have led them.
  if (input.role === "server")
    await awaitControllers(client, new Deadline("the controllers to work", input.site.timeouts.gate, run.stop));
  const { verdict } = input;
  const record = await readPoolRecord(client, input.pool);
  // Whoever was ill has joined again by now: the next run has nothing to heal.
  const { healing } = input.plan;
  if (healing !== undefined && healing !== record.healing) await writeFacts(client, input.pool, { healing });
  const generation = verdict && (record.generations.find(({ id }) => id === verdict.generation) ?? spared(input));
  if (verdict === undefined || generation === undefined || isSettled(generation, verdict.state)) {
    return { pool: input.pool, state: "unchanged" };
  }
  const seconds = verdict.watchSeconds ?? 0;
  if (seconds > 0) await soak(run, client, input, generation, nodes, seconds);
  // The watch has written the beginning of the soak; written again, the soak would begin again.
  if (seconds === 0 || verdict.state === "proved") await write(client, input.pool, generation, verdict.state);
  say(`generation ${generation.id} of pool ${input.pool} is ${verdict.state}`);
  return { pool: input.pool, state: verdict.state };
}

/** A generation that nobody wrote down yet, because the first node of the cluster joined without a record. */
function spared({ target, verdict }: PoolInput): Generation | undefined {
  return target?.id === verdict?.generation ? target : undefined;
}

/** What was proved stays so, and a soak that has begun keeps its beginning. */
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

/** Watches the new nodes for a while. One that is not Ready for a moment, or restarts its own pods, has not held. */
async function soak(
  run: Run,
  client: Kubernetes,
  input: PoolInput,
  generation: Generation,
  nodes: readonly Node[],
  seconds: number,
): Promise<void> {
  const names = new Set(input.plan.slots.filter((slot) => slot.generation === generation.id).map(({ name }) => name));
  const before = new Map(nodes.filter((node) => names.has(nameOf(node))).map((node) => [nameOf(node), node]));
  if (!("state" in generation) || generation.state !== "soaking")
    await write(client, input.pool, generation, "soaking");
  say(`watching ${names.size} nodes of generation ${generation.id} for ${seconds} s`);
  const restarts = await restartsOn(client, names);
  const fell = await watchFor(run, client, input, before, seconds);
  const restarted = [...(await restartsOn(client, names))].filter(
    ([pod, count]) => count > (restarts.get(pod) ?? count),
  );
  const why = fell ?? restarted.map(([pod]) => `${pod} restarted during the soak`).join("; ");
  if (why === "") return;
  await quietly("the verdict", () => judgeFailed(client, input.pool, generation, why));
  throw new UserError({
    what: `generation ${generation.id} did not hold: ${why}`,
    where: `pool ${input.pool}, within the soak of ${seconds} s`,
    todo: "look at that node. The next pulumi up keeps everything or goes back, as onFailure of the pool says",
  });
}

/** @returns what fell, or undefined when everything held until the time was over */
async function watchFor(
  run: Run,
  client: Kubernetes,
  input: PoolInput,
  before: ReadonlyMap<string, Node>,
  seconds: number,
): Promise<string | undefined> {
  const watched = {
    path: paths.nodes,
    query: { labelSelector: selector({ cluster: input.cluster, pool: input.pool }) },
  };
  try {
    return await until<Node, string>(client, watched, new Deadline("the soak", seconds, run.stop), (seen) =>
      fallen(before, seen),
    );
  } catch (error) {
    run.stop.throwIfAborted();
    if (error instanceof DeadlineError) return undefined;
    throw error;
  }
}

/** What changed for the worse since `before`. */
export function fallen(before: ReadonlyMap<string, Node>, seen: Seen<Node>): string | undefined {
  for (const [name, was] of before) {
    const node = seen.get(`/${name}`);
    if (node === undefined) return `${name} has left the cluster`;
    if (!isReady(node)) return `${name} is not Ready: ${whyNotReady(node)}`;
    if (readySince(node) !== readySince(was)) return `${name} was not Ready for a moment`;
    if (node.status?.nodeInfo?.bootID !== was.status?.nodeInfo?.bootID) return `${name} restarted`;
  }
  return undefined;
}

/** Restarts of the pods that make the nodes nodes, by pod. */
async function restartsOn(client: Kubernetes, nodes: ReadonlySet<string>): Promise<Map<string, number>> {
  const { items } = await client.list<Pod>(paths.pods);
  const own = items.filter((pod) => nodes.has(pod.spec?.nodeName ?? "") && belongsToNode(pod));
  return new Map(own.map((pod) => [podName(pod), restartsOf(pod)]));
}
