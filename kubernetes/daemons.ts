import type { Kubernetes } from "./client.ts";
import { paths, type DaemonSet } from "./types.ts";

/**
 * DaemonSets that are Ready on no node, and have pods on several, by uid. What ails their pod on one of these nodes is no
 * matter of that node.
 */
export async function daemonsIllEverywhere(client: Kubernetes): Promise<Set<string>> {
  const { items } = await client.list<DaemonSet>(paths.daemonSets);
  const ill = items.filter(({ status }) => status?.numberReady === 0 && status.currentNumberScheduled > 1);
  return new Set(ill.flatMap(({ metadata }) => metadata?.uid ?? []));
}
