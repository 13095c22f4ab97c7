import { UserError } from "../../runtime/errors.ts";
import type { GenerationRecord, GenerationState, NodeRecord, PoolRecord, SlotPhase } from "../../domain/model/types.ts";
import { namespace, recordMaps } from "../../domain/model/formats.ts";

/*
 * How the record of a pool is stored. Facts about the pool are in the ConfigMap `pool-<pool>`, facts about the nodes of
 * a slot in `slot-<pool>-<slot>`: a fact about one node is a write of one small object, however many nodes a pool has.
 */

/**
 * Version of the record, raised by every change that an older program would misread. 1: all facts in `pool-<pool>`, and
 * no key `schema`.
 */
export const SCHEMA = 2;

export type Data = Readonly<Record<string, string>>;

export const schemaKey = "schema";
export const healingKey = "healing";
export const nodeKey = ({ slot, generation }: Pick<NodeRecord, "slot" | "generation">) => `node.${slot}.${generation}`;
export const generationKey = (id: string) => `generation.${id}`;
export const isNodeKey = (key: string): boolean => key.startsWith("node.");

const nodeFields = ["name", "slot", "generation", "vmid", "uuid", "phase", "since"] as const;
const generationFields = ["id", "spec", "state", "since"] as const;
const phases: readonly SlotPhase[] = ["made", "joined", "handedOver", "failed", "retired"];
const states: readonly GenerationState[] = ["rolling", "soaking", "proved", "failed"];

/**
 * Parses the facts about a pool, and in the first schema those about its nodes. @throws UserError when one is not
 * understood
 */
export function parsePoolRecord(pool: string, data: Data): PoolRecord {
  const record: PoolRecord = { pool, generations: [], nodes: [] };
  requireSchema(pool, data[schemaKey]);
  for (const [key, text] of Object.entries(data)) {
    const where = placeOf(recordMaps.pool(pool), key);
    if (isNodeKey(key)) record.nodes.push(parseNode(key, text, where));
    else if (key.startsWith("generation.")) record.generations.push(parseGeneration(key, text, where));
    else if (key === healingKey) record.healing = fact<{ since: string }>(text, ["since"], where).since;
    else if (key !== schemaKey) throw notUnderstood(where, "the key is unknown");
  }
  return record;
}

/** Parses the facts about the nodes of a slot. @throws UserError when one is not understood */
export function parseSlotRecord(pool: string, name: string, data: Data): NodeRecord[] {
  return Object.entries(data).map(([key, text]) => {
    const where = placeOf(name, key);
    if (!isNodeKey(key)) throw notUnderstood(where, "the key is unknown");
    const node = parseNode(key, text, where);
    if (recordMaps.slot(pool, node.slot) !== name) throw notUnderstood(where, `it is about slot ${node.slot}`);
    return node;
  });
}

function parseNode(key: string, text: string, where: string): NodeRecord {
  const node = fact<NodeRecord>(text, nodeFields, where);
  if (nodeKey(node) !== key) throw notUnderstood(where, "it names another node");
  // An unknown phase must not be mistaken for "not joined": that would destroy a member.
  if (!phases.includes(node.phase)) throw notUnderstood(where, `the phase "${node.phase}" is unknown`);
  return node;
}

function parseGeneration(key: string, text: string, where: string): GenerationRecord {
  const generation = fact<GenerationRecord>(text, generationFields, where);
  if (generationKey(generation.id) !== key) throw notUnderstood(where, "it names another generation");
  if (!states.includes(generation.state)) throw notUnderstood(where, `the state "${generation.state}" is unknown`);
  return generation;
}

function fact<T extends object>(text: string, fields: readonly (keyof T & string)[], where: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw notUnderstood(where, "it is not JSON");
  }
  if (typeof value !== "object" || value === null) throw notUnderstood(where, "it is not an object");
  const missing = fields.filter((name) => !(name in value));
  if (missing.length > 0) throw notUnderstood(where, `it lacks ${missing.join(", ")}`);
  return value as T;
}

function requireSchema(pool: string, written: string | undefined): void {
  const schema = Number(written ?? 1);
  if (schema >= 1 && schema <= SCHEMA) return;
  throw new UserError({
    what: `the record of pool ${pool} has the schema ${written ?? ""}, and this Evergreen knows ${SCHEMA} and older ones`,
    where: placeOf(recordMaps.pool(pool), schemaKey),
    todo: "it was written by a newer Evergreen: use that one, here and wherever updates are started",
  });
}

const placeOf = (name: string, key: string) => `ConfigMap ${namespace}/${name}, ${key}`;

function notUnderstood(where: string, why: string): UserError {
  return new UserError({
    what: `a fact of the record is not understood: ${why}`,
    where,
    todo: "it was changed by hand or by a newer Evergreen: put it back, or delete that key when the node or generation is gone",
  });
}
