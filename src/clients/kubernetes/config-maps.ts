import type { Kubernetes } from "./client.ts";
import { isConflict, isNotFound } from "./errors.ts";
import { createOurs } from "./namespace.ts";
import { paths, type ConfigMap } from "./types.ts";

export const pathOf = (name: string): string => `${paths.configMaps}/${name}`;

/** Changes of a ConfigMap's keys; null removes a key. */
export type Changes = Record<string, string | null>;

/** @returns the ConfigMap after the change; undefined when it does not exist */
export async function patchIfThere(client: Kubernetes, name: string, data: Changes): Promise<ConfigMap | undefined> {
  try {
    return await client.patch<ConfigMap>(pathOf(name), "merge", { data });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

/** Writes keys of one of our ConfigMaps by merge patch, and creates it when it does not exist; null removes a key. */
export async function writeData(
  client: Kubernetes,
  name: string,
  data: Changes,
  more: Record<string, string> = {},
): Promise<void> {
  if (await patchIfThere(client, name, data)) return;
  const present = Object.fromEntries(Object.entries(data).filter(([, value]) => value !== null));
  const metadata = { name, labels: { "app.kubernetes.io/managed-by": "evergreen", ...more } };
  try {
    await createOurs(client, paths.configMaps, { apiVersion: "v1", kind: "ConfigMap", metadata, data: present });
  } catch (error) {
    if (!isConflict(error)) throw error;
    await client.patch(pathOf(name), "merge", { data });
  }
}
