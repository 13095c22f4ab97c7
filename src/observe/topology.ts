import { owedLabels, topologyLabels } from "../domain/model/labels.ts";
import type { Topology } from "../domain/model/step-environment.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { listNodes, nameOf, relabel, uuidOf } from "../clients/kubernetes/nodes.ts";
import type { Node } from "../clients/kubernetes/types.ts";
import type { ObservedVm } from "../domain/model/types.ts";
import type { ObservedCluster } from "./observed-cluster.ts";

/** A node whose VM is on another Proxmox host than its labels say, and the labels that it lacks for that. */
export interface MovedNode {
  node: Node;
  owed: Record<string, string>;
}

/** The nodes that `relabelMoved` gives other labels. A node whose host does not answer keeps what it has. */
export function movedNodes(
  nodes: readonly Node[],
  topology: Topology,
  { vms }: Pick<ObservedCluster, "vms">,
): MovedNode[] {
  const hosts = hostsByUuid(vms);
  return nodes.flatMap((node) => {
    const owed = owedLabels(node.metadata?.labels, topologyLabels(topology, hosts.get(uuidOf(node))));
    return Object.keys(owed).length === 0 ? [] : [{ node, owed }];
  });
}

/** The Proxmox host of each VM by its uuid, but for those on hosts that do not answer. */
export function hostsByUuid(vms: readonly ObservedVm[]): ReadonlyMap<string, string> {
  return new Map(vms.filter((vm) => vm.unreachable === undefined).map(({ uuid, host }) => [uuid, host]));
}

/**
 * Gives nodes the labels of the Proxmox host that their VM is on now. A join gives them those of its time, and VMs are
 * migrated.
 * @returns a line for each node that got other labels
 */
export async function relabelMoved(
  kubernetes: Kubernetes,
  cluster: string,
  topology: Topology,
  observed: Pick<ObservedCluster, "vms">,
): Promise<string[]> {
  const lines: string[] = [];
  for (const { node, owed } of movedNodes(await listNodes(kubernetes, { cluster }), topology, observed)) {
    await relabel(kubernetes, node, owed);
    const shown = Object.entries(owed).map(([key, value]) => `${key}=${value}`);
    lines.push(`${nameOf(node)} is on another Proxmox host than before: it gets ${shown.join(", ")}`);
  }
  return lines;
}
