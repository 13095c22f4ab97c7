import type { Kubernetes } from "./client.ts";
import { paths, type Resource } from "./types.ts";

/**
 * What tells one cluster from another of the same name: the uid of its namespace kube-system, which is as old as the
 * cluster, comes back with each snapshot, and is nobody's to change.
 * @returns empty when the API names none
 */
export async function readClusterUid(client: Kubernetes): Promise<string> {
  return (await client.find<Resource>(`${paths.namespaces}/kube-system`))?.metadata?.uid ?? "";
}
