/** What somebody else does to the cluster of a story: labels, pods that need them, and leases. */
import assert from "node:assert/strict";
import type { Stage } from "./stage.ts";

export const byHand = "example.com/by-hand";

export function giveLabel({ world }: Stage, name: string): void {
  const { objects } = world.cluster;
  const node = objects.get("nodes", name);
  assert.ok(node, `there is no Node ${name}`);
  const { metadata } = node;
  objects.put("nodes", { ...node, metadata: { ...metadata, labels: { ...metadata.labels, [byHand]: "yes" } } });
}

/** Somebody takes a label off a Node. */
export function loseLabel({ world }: Stage, name: string, key: string): void {
  const { objects } = world.cluster;
  const node = objects.get("nodes", name);
  assert.ok(node, `there is no Node ${name}`);
  const labels = Object.fromEntries(Object.entries(node.metadata.labels ?? {}).filter(([one]) => one !== key));
  objects.put("nodes", { ...node, metadata: { ...node.metadata, labels } });
}

/** Deploys a pod that runs only on nodes with a label that was set manually. */
export async function pinTo(stage: Stage, name: string): Promise<void> {
  giveLabel(stage, name);
  const some = { replicas: 1, minAvailable: 0, slowestEnd: 2000, claims: false };
  stage.world.cluster.pods.deploy({ ...some, name: "pinned", selector: byHand });
  await stage.world.time.sleep(30_000);
}

export function takeLease({ world }: Stage, name: string): void {
  const metadata = { name, namespace: "evergreen-system" };
  world.cluster.objects.put("leases", { metadata, spec: { holderIdentity: "somebody", leaseDurationSeconds: 15 } });
}
