import { Deadline } from "../../src/runtime/deadline.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { KubernetesError } from "../../src/clients/kubernetes/errors.ts";
import { denialPath, evictionDenial, evictionOfNobody } from "../lab/support/evictions.ts";

/** Has the API server refuse every eviction, until the policy is deleted. */
export async function denyEvictions(client: Kubernetes): Promise<void> {
  for (const [collection, object] of evictionDenial()) await client.create(collection, object);
  await awaitAnswer(client, 422);
}

export async function allowEvictions(client: Kubernetes): Promise<void> {
  await client.delete(denialPath);
  await awaitAnswer(client, 404);
}

async function awaitAnswer(client: Kubernetes, status: number): Promise<void> {
  const { path, object } = evictionOfNobody("default");
  await new Deadline(`evictions to be answered with ${status}`, 60).poll(200, async () => {
    const answered = await client.create(path, object).then(
      () => 201,
      (error: unknown) => {
        if (error instanceof KubernetesError) return error.status;
        throw error;
      },
    );
    return answered === status ? true : undefined;
  });
}
