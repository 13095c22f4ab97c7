import { runsOn } from "../../domain/availability/daemons.ts";
import { titleOf } from "../../domain/model/titles.ts";
import type { Kubernetes } from "./client.ts";
import { nameOf } from "./nodes.ts";
import { paths, type DaemonSet, type Node } from "./types.ts";

/**
 * DaemonSets that are Ready on no node, and have pods on several, by uid. What ails their pod on one of these nodes is no
 * matter of that node.
 */
export async function daemonsIllEverywhere(client: Kubernetes): Promise<Set<string>> {
  return illEverywhere((await client.list<DaemonSet>(paths.daemonSets)).items);
}

/**
 * What the DaemonSets have to do with a node.
 * @param labels that it gets beside its own
 * @returns titles of those that have a pod on it, or will have one, by uid; and those that are Ready nowhere, which show nothing
 */
export async function daemonsFor(
  client: Kubernetes,
  node: Node,
  labels: Readonly<Record<string, string>>,
): Promise<{ expected: Map<string, string>; ill: Set<string> }> {
  const { items } = await client.list<DaemonSet>(paths.daemonSets);
  const ill = illEverywhere(items);
  const place = {
    name: nameOf(node),
    labels: { ...node.metadata?.labels, ...labels },
    taints: node.spec?.taints ?? [],
  };
  const expected = items.filter(({ metadata, spec }) => {
    const isStaying = metadata?.deletionTimestamp === undefined && !ill.has(metadata?.uid ?? "");
    return isStaying && spec?.template.spec !== undefined && runsOn(spec.template.spec, place);
  });
  return { expected: new Map(expected.map((set) => [set.metadata?.uid ?? "", titleOf(set)])), ill };
}

function illEverywhere(items: readonly DaemonSet[]): Set<string> {
  const ill = items.filter(({ status }) => status?.numberReady === 0 && status.currentNumberScheduled > 1);
  return new Set(ill.flatMap(({ metadata }) => metadata?.uid ?? []));
}
