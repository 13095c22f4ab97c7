import type { Kubernetes } from "./client.ts";
import { isExpired } from "./lease.ts";
import type { Lease } from "./types.ts";

/** Controllers without which nothing moves: pods are not scheduled, nodes and endpoints not looked after. */
const needed = ["kube-controller-manager", "kube-scheduler"] as const;

/** Why a controller of the control plane has no leader now; undefined when all have. */
export async function controllersAreLed(client: Kubernetes): Promise<string | undefined> {
  for (const name of needed) {
    const lease = await client.find<Lease>(`/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/${name}`);
    if (lease === undefined || isExpired(client, lease)) return `nobody leads ${name}`;
  }
  return undefined;
}
