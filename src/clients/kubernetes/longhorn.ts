import { evictionRequestedBy, schedulingStoppedBy } from "../../domain/model/formats.ts";
import type { Deadline } from "../../runtime/deadline.ts";
import { UserError, UserErrors } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import {
  hasLostItsNode,
  refusals,
  remaining,
  volumesOn,
  type LonghornNode,
  type LonghornReplica,
  type LonghornStorage,
  type LonghornVolume,
  type StorageRefusal,
} from "../../domain/drain/longhorn.ts";
import { Changes } from "./changes.ts";
import type { Kubernetes } from "./client.ts";
import { isNotFound, KubernetesError } from "./errors.ts";
import { nameOf } from "./nodes.ts";
import { paths, type PodDisruptionBudget } from "./types.ts";
import { named, watch } from "./watch.ts";

const nodesOf = (node: LonghornNode) => `${paths.longhorn}/namespaces/${node.metadata?.namespace ?? ""}/nodes`;
const pathOf = (node: LonghornNode) => `${nodesOf(node)}/${nameOf(node)}`;

/** The nodes that Longhorn knows; none in a cluster without Longhorn, where its API does not exist. */
export async function listLonghornNodes(client: Kubernetes): Promise<LonghornNode[]> {
  try {
    return (await client.list<LonghornNode>(`${paths.longhorn}/nodes`)).items;
  } catch (error) {
    if (isNotFound(error)) return [];
    throw error;
  }
}

/** @returns undefined when Longhorn does not run on that node, or not in that cluster */
export async function findLonghornNode(client: Kubernetes, name: string): Promise<LonghornNode | undefined> {
  return (await listLonghornNodes(client)).find((node) => nameOf(node) === name);
}

export const isOurRequest = (node: LonghornNode): boolean =>
  node.metadata?.annotations?.[evictionRequestedBy] !== undefined;

/**
 * Refuses to decommission a node when its storage could not be moved, or when the last copy of a volume would be lost.
 * A new node needs a moment until Longhorn uses its disks: that is waited for.
 * @param running whether the node's VM runs and has a Node
 * @throws UserErrors with everything that blocks it
 */
export async function requireMayRetire(
  client: Kubernetes,
  node: LonghornNode,
  running: boolean,
  deadline: Deadline,
): Promise<void> {
  let found: StorageRefusal[] | undefined;
  await follow(client, deadline, (storage) => {
    found = refusals(storage, nameOf(node), running);
    return found.every(({ kind }) => kind !== "yet") || found.some(({ kind }) => kind === "now");
  });
  if (found === undefined) throw deadline.error("Longhorn's objects could not be listed");
  if (found.length > 0) throw new UserErrors(found);
}

export interface EvacuationOptions {
  /** The requester: the run's id. */
  by: string;
  deadline: Deadline;
  /** Throws when this process may no longer act. */
  check: () => Promise<void>;
}

/**
 * Asks Longhorn to rebuild the replicas of a node elsewhere, and waits until none is left and their volumes are
 * healthy.
 * @throws UserError that names what is left
 */
export async function evacuate(client: Kubernetes, node: LonghornNode, options: EvacuationOptions): Promise<void> {
  const { by, deadline, check } = options;
  const name = nameOf(node);
  // Read before the request: a replica that quickly leaves this node may not be complete elsewhere yet.
  const had = new Set(volumesOn(await listStorage(client), name));
  await check();
  await requestEviction(client, node, by);
  let left: string[] = ["Longhorn's objects could not be listed"];
  const moved = await follow(client, deadline, (storage) => {
    for (const volume of volumesOn(storage, name)) had.add(volume);
    left = remaining(storage, name, had);
    return left.length === 0;
  });
  if (!moved) throw stayed(name, deadline.seconds, left);
  if (had.size > 0) say(`${name}: ${had.size} Longhorn volumes have their replicas elsewhere`);
}

/** Not a verdict on the new generation: a rebuild lacks disk space or time. */
function stayed(node: string, seconds: number, left: readonly string[]): UserError {
  return new UserError({
    what: `the Longhorn data of ${node} has not moved in ${Math.round(seconds)} s`,
    where: left.join("; "),
    todo: "see in Longhorn why it does not rebuild (space, tags, anti-affinity), or raise storageSeconds; the node serves again meanwhile",
  });
}

/** Longhorn evicts a node only while its scheduling is off, and refuses an eviction request without that. */
async function requestEviction(client: Kubernetes, found: LonghornNode, by: string): Promise<void> {
  const node = await client.get<LonghornNode>(pathOf(found));
  if (node.spec?.evictionRequested === true && !isOurRequest(node)) return;
  const stops = node.spec?.allowScheduling === true;
  await client.patch(pathOf(node), "merge", {
    metadata: { annotations: { [evictionRequestedBy]: by, ...(stops ? { [schedulingStoppedBy]: by } : {}) } },
    spec: { allowScheduling: false, evictionRequested: true },
  });
}

/** Undoes our request on a node that stays; a request of another client is left alone. */
export async function withdrawEviction(client: Kubernetes, found: LonghornNode): Promise<void> {
  const node = await client.find<LonghornNode>(pathOf(found));
  if (node === undefined || !isOurRequest(node)) return;
  const stopped = node.metadata?.annotations?.[schedulingStoppedBy] !== undefined;
  await client.patch(pathOf(node), "merge", {
    metadata: { annotations: { [evictionRequestedBy]: null, [schedulingStoppedBy]: null } },
    spec: { evictionRequested: false, ...(stopped ? { allowScheduling: true } : {}) },
  });
}

/**
 * Waits until Longhorn has removed its object for a node whose Node is gone. Longhorn does so by itself
 * (kubernetes_node_controller.go); we request it when Longhorn has noticed the loss and kept the object. An object that
 * stays nevertheless blocks nothing.
 * @returns false when Longhorn still lists the node at the deadline
 */
export async function forgetLonghornNode(client: Kubernetes, node: LonghornNode, deadline: Deadline): Promise<boolean> {
  const { path, query } = named(nodesOf(node), nameOf(node));
  for await (const seen of watch<LonghornNode>(client, path, query, deadline.signal())) {
    const [left] = seen.values();
    if (left === undefined) return true;
    if (hasLostItsNode(left) && (await askToForget(client, left))) return true;
  }
  deadline.throwIfStopped();
  return false;
}

/** @returns whether the object is gone: a finalizer of Longhorn may hold it for a moment */
async function askToForget(client: Kubernetes, node: LonghornNode): Promise<boolean> {
  try {
    await client.delete(pathOf(node));
  } catch (error) {
    // Longhorn's webhook refuses while it still counts something on the node; the next change is another try.
    if (!(error instanceof KubernetesError)) throw error;
  }
  return (await client.find(pathOf(node))) === undefined;
}

/**
 * Follows all of Longhorn's objects until `done`. The four watches run side by side, and one may be ahead of another:
 * the combined state may never have existed. So `done` is checked once more against lists that are read then.
 * @returns false when the deadline passed first
 */
async function follow(
  client: Kubernetes,
  deadline: Deadline,
  done: (storage: LonghornStorage) => boolean,
): Promise<boolean> {
  const end = new AbortController();
  const changes = new Changes(AbortSignal.any([deadline.signal(), end.signal]));
  const { signal } = changes;
  try {
    const nodes = changes.follow(watch<LonghornNode>(client, `${paths.longhorn}/nodes`, {}, signal));
    const replicas = changes.follow(watch<LonghornReplica>(client, `${paths.longhorn}/replicas`, {}, signal));
    const volumes = changes.follow(watch<LonghornVolume>(client, `${paths.longhorn}/volumes`, {}, signal));
    const budgets = changes.follow(watch<PodDisruptionBudget>(client, paths.budgets, {}, signal));
    while (await changes.next()) {
      const [one, two, three, four] = [nodes(), replicas(), volumes(), budgets()];
      if (!one || !two || !three || !four) continue;
      const storage = {
        nodes: [...one.values()],
        replicas: [...two.values()],
        volumes: [...three.values()],
        budgets: [...four.values()],
      };
      if (done(storage) && done(await listStorage(client))) return true;
    }
    deadline.throwIfStopped();
    return false;
  } finally {
    end.abort();
  }
}

async function listStorage(client: Kubernetes): Promise<LonghornStorage> {
  const [nodes, replicas, volumes, budgets] = await Promise.all([
    client.list<LonghornNode>(`${paths.longhorn}/nodes`),
    client.list<LonghornReplica>(`${paths.longhorn}/replicas`),
    client.list<LonghornVolume>(`${paths.longhorn}/volumes`),
    client.list<PodDisruptionBudget>(paths.budgets),
  ]);
  return { nodes: nodes.items, replicas: replicas.items, volumes: volumes.items, budgets: budgets.items };
}
