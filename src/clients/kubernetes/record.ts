import type { GenerationRecord, NodeRecord, PoolRecord } from "../../domain/model/types.ts";
import type { Kubernetes } from "./client.ts";
import { patchIfThere, pathOf, writeData, type Changes } from "./config-maps.ts";
import { isConflict } from "./errors.ts";
import { labels, recordMaps } from "../../domain/model/formats.ts";
import {
  generationKey,
  healingKey,
  isNodeKey,
  nodeKey,
  parsePoolRecord,
  parseSlotRecord,
  SCHEMA,
  schemaKey,
} from "./record-format.ts";
import { paths, type ConfigMap } from "./types.ts";

/** Slots in each page of a list: an answer stays well below a megabyte. */
const pageSize = 500;

/**
 * Reads the record of a pool. It is empty before the pool's first node has joined.
 * @throws UserError when a fact is not understood: nothing is decided on an incomplete record
 */
export async function readPoolRecord(client: Kubernetes, pool: string): Promise<PoolRecord> {
  // The pool is read first: a fact that `migrateRecord` moves to its slot is written there before it is removed here.
  const record = await readPool(client, pool);
  return { ...record, nodes: together(record.nodes, await readSlotNodes(client, pool)) };
}

/** Reads the same for the nodes of one slot only: two small objects, however many nodes the pool has. */
export async function readSlotRecord(client: Kubernetes, pool: string, slot: number): Promise<PoolRecord> {
  const record = await readPool(client, pool);
  const name = recordMaps.slot(pool, slot);
  const map = await client.find<ConfigMap>(pathOf(name));
  const before = record.nodes.filter((node) => node.slot === slot);
  return { ...record, nodes: together(before, parseSlotRecord(pool, name, map?.data ?? {})) };
}

async function readPool(client: Kubernetes, pool: string): Promise<PoolRecord> {
  const map = await client.find<ConfigMap>(pathOf(recordMaps.pool(pool)));
  return parsePoolRecord(pool, map?.data ?? {});
}

async function readSlotNodes(client: Kubernetes, pool: string): Promise<NodeRecord[]> {
  const query = { labelSelector: `${labels.pool}=${pool}`, limit: pageSize };
  const { items } = await client.list<ConfigMap>(paths.configMaps, query);
  return items.flatMap(({ metadata, data }) => parseSlotRecord(pool, metadata?.name ?? "", data ?? {}));
}

/** Reads the nodes of all pools. */
export async function readAllNodes(client: Kubernetes): Promise<NodeRecord[]> {
  const { items } = await client.list<ConfigMap>(paths.configMaps, { labelSelector: labels.pool, limit: pageSize });
  return items.flatMap(({ metadata, data }) =>
    parseSlotRecord(metadata?.labels?.[labels.pool] ?? "", metadata?.name ?? "", data ?? {}),
  );
}

/** Merges node facts of the first schema with those of slots: the facts of a slot are newer. */
function together(before: readonly NodeRecord[], slots: readonly NodeRecord[]): NodeRecord[] {
  const keys = new Set(slots.map(nodeKey));
  return [...before.filter((node) => !keys.has(nodeKey(node))), ...slots];
}

/**
 * Moves the nodes of a record of the first schema to their slots, and completes a move that was interrupted. It runs
 * under the lease of an update, before the update's first step.
 */
export async function migrateRecord(client: Kubernetes, pool: string): Promise<void> {
  const record = await readPool(client, pool);
  if (record.nodes.length === 0) return;
  const there = new Set((await readSlotNodes(client, pool)).map(nodeKey));
  await writeFacts(client, pool, { nodes: record.nodes.filter((node) => !there.has(nodeKey(node))) });
  const gone = Object.fromEntries(record.nodes.map((node) => [nodeKey(node), null]));
  await writeData(client, recordMaps.pool(pool), { ...schema, ...gone });
}

/** Facts to write. */
export interface Facts {
  nodes?: NodeRecord[];
  generations?: GenerationRecord[];
  /** Nodes that no longer exist. */
  forget?: Pick<NodeRecord, "slot" | "generation">[];
  /** When the last run that replaced unhealthy nodes was planned, ISO 8601. */
  healing?: string;
}

const schema = { [schemaKey]: String(SCHEMA) };

/**
 * Writes facts: those about the pool in one request, then those about each slot in one. Each fact is a key of its own,
 * so that steps that run in parallel never undo each other's writes.
 */
export async function writeFacts(client: Kubernetes, pool: string, facts: Facts): Promise<void> {
  const own: Changes = {};
  for (const generation of facts.generations ?? []) own[generationKey(generation.id)] = JSON.stringify(generation);
  if (facts.healing !== undefined) own[healingKey] = JSON.stringify({ since: facts.healing });
  if (Object.keys(own).length > 0) await writeData(client, recordMaps.pool(pool), { ...schema, ...own });
  for (const [slot, nodes] of Map.groupBy(facts.nodes ?? [], (node) => node.slot))
    await writeSlot(client, pool, slot, Object.fromEntries(nodes.map((node) => [nodeKey(node), JSON.stringify(node)])));
  for (const node of facts.forget ?? []) await forget(client, pool, node);
}

async function writeSlot(client: Kubernetes, pool: string, slot: number, data: Changes): Promise<void> {
  const name = recordMaps.slot(pool, slot);
  if (await patchIfThere(client, name, data)) return;
  // An older program reads only the pool's ConfigMap and would find no nodes: the schema, written first, stops it.
  await writeData(client, recordMaps.pool(pool), schema);
  await writeData(client, name, data, { [labels.pool]: pool, [labels.slot]: String(slot) });
}

async function forget(client: Kubernetes, pool: string, node: Pick<NodeRecord, "slot" | "generation">): Promise<void> {
  const gone = { [nodeKey(node)]: null };
  await patchIfThere(client, recordMaps.pool(pool), gone);
  const left = await patchIfThere(client, recordMaps.slot(pool, node.slot), gone);
  if (left === undefined || Object.keys(left.data ?? {}).some(isNodeKey)) return;
  const { resourceVersion = "" } = left.metadata ?? {};
  await client.delete(pathOf(recordMaps.slot(pool, node.slot)), { resourceVersion }).catch((error: unknown) => {
    // Another process has recorded another node of the slot meanwhile.
    if (!isConflict(error)) throw error;
  });
}
