import { runsOn } from "../../domain/availability/daemons.ts";
import { titleOf } from "../../domain/model/titles.ts";
import type { Kubernetes } from "./client.ts";
import { nameOf } from "./nodes.ts";
import { awaitsNode, daemonOf } from "./pods.ts";
import { paths, type DaemonSet, type Node, type Pod } from "./types.ts";

/**
 * Uids of the DaemonSets that have pods on several nodes and are Ready on none. An unhealthy pod of such a DaemonSet is
 * no evidence against the node that it runs on.
 */
export async function findDaemonsUnreadyEverywhere(client: Kubernetes): Promise<Set<string>> {
  return unreadyEverywhere((await client.list<DaemonSet>(paths.daemonSets)).items);
}

/**
 * Which DaemonSets have, or will have, a pod on a node.
 * @param labels that the node gets beside its own
 * @returns titles, by uid, of those that have or will have a pod on the node; and uids of those that are Ready on no
 * node, which prove nothing
 */
export async function findDaemons(
  client: Kubernetes,
  node: Node,
  labels: Readonly<Record<string, string>>,
): Promise<{ expected: Map<string, string>; unready: Set<string> }> {
  const { items } = await client.list<DaemonSet>(paths.daemonSets);
  const unready = unreadyEverywhere(items);
  const place = {
    name: nameOf(node),
    labels: { ...node.metadata?.labels, ...labels },
    taints: node.spec?.taints ?? [],
  };
  const expected = items.filter(({ metadata, spec }) => {
    const isStaying = metadata?.deletionTimestamp === undefined && !unready.has(metadata?.uid ?? "");
    return isStaying && spec?.template.spec !== undefined && runsOn(spec.template.spec, place);
  });
  return { expected: new Map(expected.map((set) => [set.metadata?.uid ?? "", titleOf(set)])), unready };
}

/**
 * Which pods of DaemonSets wait for the scheduler, by the uid of the DaemonSet and the node that they were made for, with
 * the reason.
 */
export async function findWithoutRoom(client: Kubernetes): Promise<Map<string, Map<string, string>>> {
  const { items } = await client.list<Pod>(paths.pods, { fieldSelector: "spec.nodeName=" });
  return withoutRoom(items);
}

export function withoutRoom(pods: readonly Pod[]): Map<string, Map<string, string>> {
  const found = new Map<string, Map<string, string>>();
  for (const pod of pods) {
    const [daemon, awaited] = [daemonOf(pod), awaitsNode(pod)];
    if (daemon === undefined || awaited === undefined) continue;
    found.set(daemon, (found.get(daemon) ?? new Map<string, string>()).set(awaited.node, awaited.why));
  }
  return found;
}

function unreadyEverywhere(items: readonly DaemonSet[]): Set<string> {
  const unready = items.filter(({ status }) => status?.numberReady === 0 && status.currentNumberScheduled > 1);
  return new Set(unready.flatMap(({ metadata }) => metadata?.uid ?? []));
}
