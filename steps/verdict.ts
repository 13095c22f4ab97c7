import { DeadlineError } from "../common/deadline.ts";
import { UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import type { Kubernetes } from "../kubernetes/client.ts";
import { DrainError } from "../kubernetes/eviction.ts";
import { readPoolRecord, writeFacts } from "../kubernetes/record.ts";
import type { Generation, GenerationRecord, NodeRecord } from "../rollout/types.ts";

/** The image, or what makes up the generation, is at fault: the next node of it would fail the same way. */
export class ImageFault extends UserError {}

/** Whether an error says something about a generation, and not about the weather between us and the APIs. */
export function isVerdict(error: unknown): error is UserError {
  return error instanceof ImageFault || error instanceof DrainError || error instanceof DeadlineError;
}

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
  const nodes: NodeRecord[] = node ? [{ ...node, phase: "failed", since }] : [];
  const before = (await readPoolRecord(client, pool)).generations.find(({ id }) => id === generation.id);
  const judged: GenerationRecord[] =
    before?.state === "proved" ? [] : [{ id: generation.id, spec: generation.spec, state: "failed", since, why }];
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
