import { Deadline } from "../../runtime/deadline.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import {
  isLeaving,
  isReady,
  observedNode,
  nameOf,
  selector,
  taintSoftly,
  uuidOf,
  whyNotReady,
} from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../clients/kubernetes/record.ts";
import { paths, type Node } from "../../clients/kubernetes/types.ts";
import { waitUntil, type Seen } from "../../clients/kubernetes/watch.ts";
import { hasJoined } from "../../domain/rollout/slot-state.ts";
import type { PlannedSlot } from "../../domain/model/step-environment.ts";
import type { PoolRecord } from "../../domain/model/types.ts";
import type { PoolInput } from "../input.ts";
import { keepsSlot } from "../node/departing-nodes.ts";
import type { StepContext } from "../context.ts";
import { connect, requireReachable } from "../cluster/connect.ts";

/**
 * Runs between the joins and the handovers of a pool: waits until every planned node is proved, then taints the
 * departing nodes so that pods prefer the nodes that stay.
 */
export async function gate(context: StepContext, input: PoolInput): Promise<{ proved: number }> {
  const { client } = requireReachable(await connect(context, input), input);
  const nodes = await awaitPlanned(context, client, input);
  const planned = new Set(input.plan.slots.map(({ name }) => name));
  const blue = nodes.filter(
    (node) => !planned.has(nameOf(node)) && !isLeaving(node) && !keepsSlot(input.plan, observedNode(node)),
  );
  for (const node of blue) await taintSoftly(client, nameOf(node));
  if (blue.length > 0) say(`pods prefer the new nodes now: ${blue.map(nameOf).join(", ")} will leave`);
  return { proved: planned.size };
}

/**
 * Waits until every node of the plan is a member that its join has proved, except those whose Proxmox host does not
 * answer.
 * @returns every node of the pool
 */
export async function awaitPlanned(context: StepContext, client: Kubernetes, input: PoolInput): Promise<Node[]> {
  const record = await readPoolRecord(client, input.pool);
  const asked = input.plan.slots.filter(({ unreachable }) => unreachable === undefined);
  for (const { name, unreachable } of input.plan.slots)
    if (unreachable !== undefined) say(`${name} is not asked for: its Proxmox host ${unreachable} did not answer`);
  let missing: string[] = [];
  return await waitUntil<Node, Node[]>(
    client,
    { path: paths.nodes, query: { labelSelector: selector({ cluster: input.cluster, pool: input.pool }) } },
    new Deadline(`all nodes of pool ${input.pool}`, input.site.timeouts.gate, context.stop),
    (seen) => {
      missing = asked.flatMap((slot) => notProved(slot, seen, record));
      return missing.length === 0 ? [...seen.values()] : undefined;
    },
    () => missing.join("; "),
  );
}

/** What keeps a planned node from counting as proved. */
function notProved({ name }: PlannedSlot, seen: Seen<Node>, record: PoolRecord): string[] {
  const node = seen.get(`/${name}`);
  const own = record.nodes.find((one) => one.name === name);
  if (node === undefined) return [`${name} has no Node`];
  if (own === undefined || !hasJoined(own)) return [`${name} was not proved by its join`];
  if (uuidOf(node) !== own.uuid) return [`${name} is another machine than the one that joined`];
  return isReady(node) ? [] : [`${name}: ${whyNotReady(node)}`];
}
