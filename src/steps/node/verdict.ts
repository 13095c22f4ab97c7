import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { readPoolRecord, writeFacts } from "../../clients/kubernetes/record.ts";
import type { Generation, GenerationRecord, NodeRecord } from "../../domain/model/types.ts";

/**
 * What an arriving node is or does, and the next one of its generation would be or do as well. Nothing else judges a
 * generation: not a node that leaves, a workload, a budget or a policy, an API that is away, a host, a lock or a lease, nor a
 * control plane that is not calm. Waits for those end in errors of their own.
 */
export class ImageFault extends UserError {}

/** It is not well, or was not in time: its own doing, unless there is an excuse (src/steps/node/attribution.ts). */
export class NodeUnhealthy extends ImageFault {}

/** The cluster never had its Node: what refused it may stand in its log. */
export class NeverRegistered extends NodeUnhealthy {}

/**
 * Writes that a generation failed. One that was proved stays proved: what failed is this run, and there must remain
 * something to go back to.
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
  // Of a proved generation whoever has the slot keeps it: it is down, counts as that, and is brought back or replaced first.
  const keepsSlot = node?.phase === "handedOver" && judged.length === 0;
  const nodes: NodeRecord[] = node && !keepsSlot ? [{ ...node, phase: "failed", since }] : [];
  if (nodes.length + judged.length === 0) return;
  await writeFacts(client, pool, { generations: judged, nodes });
  if (judged.length > 0) say(`generation ${generation.id} of pool ${pool} is judged failed: ${why}`);
}

/** The record of a generation that begins, or undefined when it is remembered already. */
export function beginning(
  known: readonly GenerationRecord[],
  { id, spec }: Generation,
  now: Date,
): GenerationRecord | undefined {
  if (known.some((generation) => generation.id === id)) return undefined;
  return { id, spec, state: "rolling", since: now.toISOString() };
}
