import type { Kubernetes } from "../../kubernetes/client.ts";
import { denialPath, evictionDenial } from "../lab/support/evictions.ts";

/** Has the API server refuse every eviction, until the policy is deleted. */
export async function denyEvictions(client: Kubernetes): Promise<void> {
  for (const [collection, object] of evictionDenial()) await client.create(collection, object);
}

export async function allowEvictions(client: Kubernetes): Promise<void> {
  await client.delete(denialPath);
}
