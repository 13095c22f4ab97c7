import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { readPoolRecord, writeFacts } from "../../clients/kubernetes/record.ts";
import type { Generation, GenerationRecord, NodeRecord } from "../../domain/model/types.ts";

/**
 * A fault of an arriving node that the next node of its generation would have as well. Nothing else judges a
 * generation: not a departing node, a workload, a budget or a policy, an API outage, a host, a lock or a lease, nor an
 * unhealthy control plane. Waits for those end in errors of their own.
 */
export class ImageFault extends UserError {}

/**
 * The node is unhealthy, or was not ready in time: its own fault, unless there is an external cause
 * (src/steps/node/attribution.ts).
 */
export class NodeUnhealthy extends ImageFault {}

/** The node never registered with the cluster, or not again: its join log may say what refused it. */
export class NeverRegistered extends NodeUnhealthy {}

/**
 * Records that a generation failed. A proved generation stays proved: this run failed, and there must remain a
 * generation to go back to.
 * @param node whose failure it is, when it is known
 */
export async function judgeFailed(
  client: Kubernetes,
  pool: string,
  generation: Generation,
  why: string,
  node?: NodeRecord,
): Promise<void> {
  const since = client.now().toISOString();
  const before = (await readPoolRecord(client, pool)).generations.find(({ id }) => id === generation.id);
  const judged: GenerationRecord[] =
    before?.state === "proved" ? [] : [{ id: generation.id, spec: generation.spec, state: "failed", since, why }];
  // A node that owns its slot keeps it when its generation is proved: it counts as down, and is brought back or
  // replaced first.
  const keepsSlot = node?.phase === "handedOver" && judged.length === 0;
  const nodes: NodeRecord[] = node && !keepsSlot ? [{ ...node, phase: "failed", since }] : [];
  if (nodes.length + judged.length === 0) return;
  await writeFacts(client, pool, { generations: judged, nodes });
  if (judged.length > 0) say(`generation ${generation.id} of pool ${pool} is judged failed: ${why}`);
}

/** The record of a generation that begins, or undefined when it has a record already. */
export function beginning(
  known: readonly GenerationRecord[],
  { id, spec }: Generation,
  now: Date,
): GenerationRecord | undefined {
  if (known.some((generation) => generation.id === id)) return undefined;
  return { id, spec, state: "rolling", since: now.toISOString() };
}
