import type { AffinityNode } from "../../domain/drain/node-affinity.ts";
import { HOST_NAME } from "../../domain/model/labels.ts";
import type { NodeRecord } from "../../domain/model/types.ts";
import { hasJoined } from "../../domain/rollout/slot-state.ts";
import type { Kubernetes } from "./client.ts";
import { nameOf } from "./nodes.ts";
import { paths, type Node, type PersistentVolume, type Pod } from "./types.ts";

/** Everything that shows where data is stored and which pods use it. */
export interface DataPicture {
  volumes: PersistentVolume[];
  nodes: Node[];
  pods: Pod[];
}

/** Reads the whole cluster: three lists. @throws KubernetesError: an unreadable list is not an empty one */
export async function readData(client: Kubernetes): Promise<DataPicture> {
  const [volumes, nodes, pods] = await Promise.all([
    client.list<PersistentVolume>(paths.persistentVolumes),
    client.list<Node>(paths.nodes),
    client.list<Pod>(paths.pods),
  ]);
  return { volumes: volumes.items, nodes: nodes.items, pods: pods.items };
}

/** A node as node affinity sees it. */
export const affinityNodeOf = (node: Node): AffinityNode => ({
  name: nameOf(node),
  labels: node.metadata?.labels ?? {},
});

/**
 * A node that has no Node. When it was a member, its Node was deleted: its name serves as its host name, and nobody knows
 * what labels the drivers of its volumes had given to it. One that never was a member has no data, and what a retired one
 * had was looked for while it had its labels.
 * @param own its record, when there is one
 * @param wasStarted whether its VM was started as a node
 */
export const withoutNode = (name: string, own: NodeRecord | undefined, wasStarted: boolean): AffinityNode => ({
  name,
  labels: { [HOST_NAME]: name },
  mayHaveMore: own === undefined ? wasStarted : hasJoined(own),
});
