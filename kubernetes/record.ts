import { UserError } from "../common/errors.ts";
import type { GenerationRecord, NodeRecord, PoolRecord } from "../rollout/types.ts";
import type { Kubernetes } from "./client.ts";
import { isConflict, isNotFound } from "./errors.ts";
import { createOurs } from "./namespace.ts";
import { paths, type ConfigMap } from "./types.ts";

const pathOf = (name: string) => `${paths.configMaps}/${name}`;
const nodeKey = ({ slot, generation }: Pick<NodeRecord, "slot" | "generation">) => `node.${slot}.${generation}`;
const generationKey = (id: string) => `generation.${id}`;
const healingKey = "healing";

const nodeFields = ["name", "slot", "generation", "vmid", "uuid", "phase", "since"] as const;
const generationFields = ["id", "spec", "state", "since"] as const;

/**
 * Reads what is remembered of a pool. Nothing is remembered before its first node has joined.
 * @throws UserError when a fact of it is not understood: nothing is decided on half a memory
 */
export async function readPoolRecord(client: Kubernetes, pool: string): Promise<PoolRecord> {
  const map = await client.find<ConfigMap>(pathOf(`pool-${pool}`));
  return parsePoolRecord(pool, map?.data ?? {});
}

/** The record in the data of its ConfigMap. */
export function parsePoolRecord(pool: string, data: Readonly<Record<string, string>>): PoolRecord {
  const record: PoolRecord = { pool, generations: [], nodes: [] };
  for (const [key, text] of Object.entries(data)) {
    const where = `ConfigMap evergreen-system/pool-${pool}, ${key}`;
    if (key.startsWith("node.")) {
      const node = fact<NodeRecord>(text, nodeFields, where);
      if (nodeKey(node) !== key) throw notUnderstood(where, "it names another node");
      record.nodes.push(node);
    } else if (key.startsWith("generation.")) {
      const generation = fact<GenerationRecord>(text, generationFields, where);
      if (generationKey(generation.id) !== key) throw notUnderstood(where, "it names another generation");
      record.generations.push(generation);
    } else if (key === healingKey) {
      record.healing = fact<{ since: string }>(text, ["since"], where).since;
    } else throw notUnderstood(where, "the key is unknown");
  }
  return record;
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

function notUnderstood(where: string, why: string): UserError {
  return new UserError({
    what: `a fact of the record is not understood: ${why}`,
    where,
    todo: "it was changed by hand or by a newer Evergreen: put it back, or delete that key when the node or generation is gone",
  });
}

/** Facts to write; `undefined` forgets one. */
export interface Facts {
  nodes?: NodeRecord[];
  generations?: GenerationRecord[];
  /** Nodes that are gone. */
  forget?: Pick<NodeRecord, "slot" | "generation">[];
  /** When the run that has healed somebody set out to do so, ISO 8601. */
  healing?: string;
}

/** Writes facts in one go. Each is a key of its own, so that steps that run side by side never undo each other. */
export async function writeFacts(client: Kubernetes, pool: string, facts: Facts): Promise<void> {
  const data: Record<string, string | null> = {};
  for (const node of facts.nodes ?? []) data[nodeKey(node)] = JSON.stringify(node);
  for (const generation of facts.generations ?? []) data[generationKey(generation.id)] = JSON.stringify(generation);
  for (const node of facts.forget ?? []) data[nodeKey(node)] = null;
  if (facts.healing !== undefined) data[healingKey] = JSON.stringify({ since: facts.healing });
  await writeData(client, `pool-${pool}`, data);
}

/** Writes keys of one of our ConfigMaps by merge patch and creates it when it does not exist; null removes a key. */
async function writeData(client: Kubernetes, name: string, data: Record<string, string | null>): Promise<void> {
  try {
    await client.patch(pathOf(name), "merge", { data });
    return;
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
  const present = Object.fromEntries(Object.entries(data).filter(([, value]) => value !== null));
  const labels = { "app.kubernetes.io/managed-by": "evergreen" };
  const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name, labels }, data: present };
  try {
    await createOurs(client, paths.configMaps, object);
  } catch (error) {
    if (!isConflict(error)) throw error;
    await client.patch(pathOf(name), "merge", { data });
  }
}

/** Whether the cluster was marked as going away: its nodes are then powered off without a drain. */
export async function readGoingAway(client: Kubernetes): Promise<boolean> {
  const map = await client.find<ConfigMap>(pathOf("cluster"));
  return map?.data?.goingAway !== undefined;
}

/** @param since ISO 8601, or undefined to take the mark away */
export async function writeGoingAway(client: Kubernetes, since: string | undefined): Promise<void> {
  await writeData(client, "cluster", { goingAway: since ?? null });
}

/** How many servers the last rollout wanted: a server of a higher slot may leave, any other goes with the cluster alone. */
export async function readWantedServers(client: Kubernetes): Promise<number | undefined> {
  const wanted = Number((await client.find<ConfigMap>(pathOf("cluster")))?.data?.servers ?? Number.NaN);
  return Number.isInteger(wanted) ? wanted : undefined;
}

export async function writeWantedServers(client: Kubernetes, count: number): Promise<void> {
  await writeData(client, "cluster", { servers: String(count) });
}
