import type { Kubernetes } from "./client.ts";
import { isConflict, isNotFound } from "./errors.ts";
import { paths, type Resource } from "./types.ts";
import { namespace } from "../../domain/model/formats.ts";

/** Creates an object of ours, and our namespace before it when that does not exist yet. */
export async function createOurs<T extends Resource>(client: Kubernetes, path: string, object: object): Promise<T> {
  try {
    return await client.create<T>(path, object);
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
  await client
    .create(paths.namespaces, { apiVersion: "v1", kind: "Namespace", metadata: { name: namespace } })
    .catch((error: unknown) => {
      if (!isConflict(error)) throw error;
    });
  return await client.create<T>(path, object);
}
