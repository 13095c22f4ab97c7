import { clusterKeys, namespace, recordMaps } from "../../domain/model/formats.ts";
import { hasSlot, slotRanges } from "../../domain/model/slot-ranges.ts";
import type { Role } from "../../domain/model/types.ts";
import { UserError } from "../../runtime/errors.ts";
import type { Kubernetes } from "./client.ts";
import { pathOf, writeData } from "./config-maps.ts";
import type { ConfigMap } from "./types.ts";

/*
 * What the last update wants of the cluster as a whole, in the ConfigMap `cluster`. A delete is as old as the last change
 * of its node; whether the node may leave, and beside how many others, it reads here.
 */

async function readData(client: Kubernetes): Promise<Readonly<Record<string, string>>> {
  return (await client.find<ConfigMap>(pathOf(recordMaps.cluster)))?.data ?? {};
}

/** @throws UserError when there is a number that cannot be read: a default could let too many nodes leave */
function numberAt(data: Readonly<Record<string, string>>, key: string): number | undefined {
  const text = data[key];
  if (text === undefined || /^\d+$/.test(text)) return text === undefined ? undefined : Number(text);
  throw new UserError({
    what: `a fact of the record is not understood: "${text}" is no number`,
    where: `ConfigMap ${namespace}/${recordMaps.cluster}, ${key}`,
    todo: "it was changed by hand: put it back, or delete that key: the next update writes it again",
  });
}

/** Whether the cluster is marked as being torn down: its nodes are then powered off without a drain. */
export async function readGoingAway(client: Kubernetes): Promise<boolean> {
  return (await readData(client))[clusterKeys.goingAway] !== undefined;
}

/** @param since ISO 8601, or undefined to remove the mark */
export async function writeGoingAway(client: Kubernetes, since: string | undefined): Promise<void> {
  await writeData(client, recordMaps.cluster, { [clusterKeys.goingAway]: since ?? null });
}

/** How many servers the last rollout wanted at most: a slot more than its highest one. Undefined: none has said it. */
export async function readWantedServers(client: Kubernetes): Promise<number | undefined> {
  return numberAt(await readData(client), clusterKeys.servers);
}

/** @param slots of the pool of servers: any other server may leave, these only when the cluster is torn down */
export async function writeWantedServers(client: Kubernetes, pool: string, slots: readonly number[]): Promise<void> {
  await writeData(client, recordMaps.cluster, {
    [clusterKeys.servers]: String(1 + Math.max(-1, ...slots)),
    [clusterKeys.slots(pool)]: slotRanges(slots),
  });
}

/**
 * Which slots the last rollout of a pool wanted. Where nothing is recorded, as by an older program or after the ConfigMap was
 * deleted, or where it cannot be read, a pool wants all of them, and of servers all up to their number: none is wanted of a
 * pool that is said to be removed.
 */
export async function readWantedSlots(
  client: Kubernetes,
  pool: string,
  role: Role,
): Promise<(slot: number) => boolean> {
  return wantedIn(await readData(client), pool, role);
}

function wantedIn(data: Readonly<Record<string, string>>, pool: string, role: Role): (slot: number) => boolean {
  const slots = data[clusterKeys.slots(pool)];
  if (slots !== undefined) return (slot) => hasSlot(slots, slot);
  if (role === "agent") return () => true;
  const servers = numberAt(data, clusterKeys.servers) ?? Infinity;
  return (slot) => slot < servers;
}

/** @param slots empty: the pool is removed */
export async function writeWantedSlots(client: Kubernetes, pool: string, slots: readonly number[]): Promise<void> {
  await writeData(client, recordMaps.cluster, { [clusterKeys.slots(pool)]: slotRanges(slots) });
}

/**
 * Gives up the slots of a pool that an update does not want. Its rollout says so too, but only when its plan is new:
 * a record that was restored, or deleted, says what an earlier rollout wanted, or nothing, and the deletes of the update
 * would be refused for that.
 * @param wanted the slots of the update, of which new ones wait for the rollout where an earlier one has said anything
 */
export async function releaseWantedSlots(
  client: Kubernetes,
  pool: string,
  role: Role,
  wanted: readonly number[],
): Promise<void> {
  const data = await readData(client);
  const slots = wanted.filter(wantedIn(data, pool, role));
  if (slotRanges(slots) === data[clusterKeys.slots(pool)]) return;
  if (role === "server") await writeWantedServers(client, pool, slots);
  else await writeWantedSlots(client, pool, slots);
}

/**
 * How many nodes of a pool of agents may be out at once, as the last update says. Undefined: no update of this version
 * has said it.
 */
export async function readMaxUnavailable(client: Kubernetes, pool: string): Promise<number | undefined> {
  return numberAt(await readData(client), clusterKeys.maxUnavailable(pool));
}

/** Tags of the configuration that VMs of a pool may have, beside ours. @returns undefined when none was ever given */
export async function readGivenTags(client: Kubernetes, pool: string): Promise<string[] | undefined> {
  return (await readData(client))[clusterKeys.tags(pool)]?.split(";").filter(Boolean);
}

export async function writeGivenTags(client: Kubernetes, pool: string, tags: readonly string[]): Promise<void> {
  await writeData(client, recordMaps.cluster, { [clusterKeys.tags(pool)]: tags.join(";") });
}

export async function writeMaxUnavailable(client: Kubernetes, pool: string, most: number): Promise<void> {
  const key = clusterKeys.maxUnavailable(pool);
  if ((await readData(client))[key] !== String(most))
    await writeData(client, recordMaps.cluster, { [key]: String(most) });
}
