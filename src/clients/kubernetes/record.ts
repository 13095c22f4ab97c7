import { hasSlot, slotRanges } from "../../domain/model/slot-ranges.ts";
import type { GenerationRecord, NodeRecord, PoolRecord, Role } from "../../domain/model/types.ts";
import type { Kubernetes } from "./client.ts";
import { isConflict, isNotFound } from "./errors.ts";
import { createOurs } from "./namespace.ts";
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

const pathOf = (name: string) => `${paths.configMaps}/${name}`;

/** Changes of a ConfigMap's keys; null removes a key. */
type Changes = Record<string, string | null>;

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

/**
 * The PersistentVolumeClaims whose data is on the disks of nodes that leave or have left by consent, in all pools: a pod
 * that uses one waits for that data, and not for a place.
 */
export async function readKeptClaims(client: Kubernetes): Promise<Set<string>> {
  const { items } = await client.list<ConfigMap>(paths.configMaps, { labelSelector: labels.pool, limit: pageSize });
  const nodes = items.flatMap(({ metadata, data }) =>
    parseSlotRecord(metadata?.labels?.[labels.pool] ?? "", metadata?.name ?? "", data ?? {}),
  );
  return new Set(nodes.flatMap(({ keeps = [] }) => keeps.map(({ claim }) => claim)));
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

/** @returns the ConfigMap after the change; undefined when it does not exist */
async function patchIfThere(client: Kubernetes, name: string, data: Changes): Promise<ConfigMap | undefined> {
  try {
    return await client.patch<ConfigMap>(pathOf(name), "merge", { data });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** Writes keys of one of our ConfigMaps by merge patch, and creates it when it does not exist; null removes a key. */
async function writeData(
  client: Kubernetes,
  name: string,
  data: Changes,
  more: Record<string, string> = {},
): Promise<void> {
  if (await patchIfThere(client, name, data)) return;
  const present = Object.fromEntries(Object.entries(data).filter(([, value]) => value !== null));
  const metadata = { name, labels: { "app.kubernetes.io/managed-by": "evergreen", ...more } };
  try {
    await createOurs(client, paths.configMaps, { apiVersion: "v1", kind: "ConfigMap", metadata, data: present });
  } catch (error) {
    if (!isConflict(error)) throw error;
    await client.patch(pathOf(name), "merge", { data });
  }
}

/** Whether the cluster is marked as being torn down: its nodes are then powered off without a drain. */
export async function readGoingAway(client: Kubernetes): Promise<boolean> {
  const map = await client.find<ConfigMap>(pathOf("cluster"));
  return map?.data?.goingAway !== undefined;
}

/** @param since ISO 8601, or undefined to remove the mark */
export async function writeGoingAway(client: Kubernetes, since: string | undefined): Promise<void> {
  await writeData(client, "cluster", { goingAway: since ?? null });
}

/** How many servers the last rollout wanted at most: a slot more than its highest one. */
export async function readWantedServers(client: Kubernetes): Promise<number | undefined> {
  const wanted = Number((await client.find<ConfigMap>(pathOf("cluster")))?.data?.servers ?? Number.NaN);
  return Number.isInteger(wanted) ? wanted : undefined;
}

/** @param slots of the pool of servers: any other server may leave, these only when the cluster is torn down */
export async function writeWantedServers(client: Kubernetes, pool: string, slots: readonly number[]): Promise<void> {
  const servers = String(1 + Math.max(-1, ...slots));
  await writeData(client, "cluster", { servers, [slotsKey(pool)]: slotRanges(slots) });
}

/**
 * Which slots the last rollout of a pool wanted. A pool of agents that this program has never rolled out wants none.
 * A pool of servers that an older program has rolled out, or that was never rolled out, wants all up to their number.
 */
export async function readWantedSlots(
  client: Kubernetes,
  pool: string,
  role: Role,
): Promise<(slot: number) => boolean> {
  const { data } = (await client.find<ConfigMap>(pathOf("cluster"))) ?? {};
  const slots = data?.[slotsKey(pool)];
  if (role === "agent" || slots !== undefined) return (slot) => hasSlot(slots ?? "", slot);
  return (slot) => slot < Number(data?.servers ?? Infinity);
}

/**
 * Gives up the slots of a pool that an update does not want. Its rollout says so too, but only when its plan is new:
 * a record that was restored, or deleted, says what an earlier rollout wanted, and the deletes of the update would be
 * refused for that.
 * @param wanted the slots of the update, of which new ones wait for the rollout
 */
export async function releaseWantedSlots(
  client: Kubernetes,
  pool: string,
  role: Role,
  wanted: readonly number[],
): Promise<void> {
  const isWanted = await readWantedSlots(client, pool, role);
  const slots = wanted.filter(isWanted);
  const before = (await client.find<ConfigMap>(pathOf("cluster")))?.data?.[slotsKey(pool)];
  if (slotRanges(slots) === (before ?? (role === "agent" ? "" : undefined))) return;
  if (role === "server") await writeWantedServers(client, pool, slots);
  else await writeWantedSlots(client, pool, slots);
}

/**
 * How many nodes of a pool of agents may be out at once, as the last update says. The delete of a node that no update
 * has changed since knows only what was configured then. Undefined: no update of this version has said it.
 */
export async function readRoom(client: Kubernetes, pool: string): Promise<number | undefined> {
  const { data } = (await client.find<ConfigMap>(pathOf("cluster"))) ?? {};
  const most = Number(data?.[roomKey(pool)] ?? Number.NaN);
  return Number.isInteger(most) ? most : undefined;
}

export async function writeRoom(client: Kubernetes, pool: string, most: number): Promise<void> {
  if ((await readRoom(client, pool)) !== most) await writeData(client, "cluster", { [roomKey(pool)]: String(most) });
}

const slotsKey = (pool: string): string => `slots.${pool}`;
const roomKey = (pool: string): string => `maxUnavailable.${pool}`;

/** @param slots empty: the pool is removed */
export async function writeWantedSlots(client: Kubernetes, pool: string, slots: readonly number[]): Promise<void> {
  await writeData(client, "cluster", { [slotsKey(pool)]: slots.length === 0 ? null : slotRanges(slots) });
}
