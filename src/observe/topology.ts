import { owedLabels, topologyLabels } from "../domain/model/labels.ts";
import type { Topology } from "../domain/model/step-environment.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { listNodes, nameOf, relabel, uuidOf } from "../clients/kubernetes/nodes.ts";
import type { ObservedCluster } from "./observed-cluster.ts";

/**
 * Gives nodes the labels of the Proxmox host that their VM is on now. A join gives them those of its time, and VMs are
 * migrated. A node whose host does not answer keeps what it has.
 * @returns a line for each node that got other labels
 */
export async function relabelMoved(
  kubernetes: Kubernetes,
  cluster: string,
  topology: Topology,
  { vms }: Pick<ObservedCluster, "vms">,
): Promise<string[]> {
  const hosts = new Map(vms.filter((vm) => vm.unreachable === undefined).map(({ uuid, host }) => [uuid, host]));
  const lines: string[] = [];
  for (const node of await listNodes(kubernetes, { cluster })) {
    const wanted = topologyLabels(topology, hosts.get(uuidOf(node)));
    const owed = owedLabels(node.metadata?.labels, wanted);
    if (Object.keys(owed).length === 0) continue;
    await relabel(kubernetes, node, owed);
    const shown = Object.entries(owed).map(([key, value]) => `${key}=${value}`);
    lines.push(`${nameOf(node)} is on another Proxmox host than before: it gets ${shown.join(", ")}`);
  }
  return lines;
}
