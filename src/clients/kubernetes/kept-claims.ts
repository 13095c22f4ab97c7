import { staysBehind } from "../../domain/drain/local-data.ts";
import { HOST_NAME } from "../../domain/model/labels.ts";
import type { Kubernetes } from "./client.ts";
import { affinityNodeOf } from "./local-data.ts";
import { readAllNodes } from "./record.ts";
import { paths, type Node, type PersistentVolume } from "./types.ts";

/**
 * The PersistentVolumeClaims whose data is on the disks of nodes that leave or have left by consent, in all pools, or at
 * a place without nodes: a pod that uses one waits for that data, and not for room. The consent is for the volume: a claim
 * of that name whose volume nodes reach by now is none of them, nor is one that has no volume.
 */
export async function readKeptClaims(client: Kubernetes): Promise<Set<string>> {
  const recorded = (await readAllNodes(client)).flatMap(({ name, keeps = [], unplaceable = [] }) =>
    [...keeps.map(({ claim }) => claim), ...unplaceable].map((claim) => ({ claim, name })),
  );
  if (recorded.length === 0) return new Set();
  const [volumes, nodes] = await Promise.all([
    client.list<PersistentVolume>(paths.persistentVolumes),
    client.list<Node>(paths.nodes),
  ]);
  const byClaim = Map.groupBy(volumes.items, ({ spec }) => `${spec?.claimRef?.namespace}/${spec?.claimRef?.name}`);
  const isKept = ({ claim, name }: (typeof recorded)[number]) => {
    const leave = new Set(recorded.filter((one) => one.claim === claim).map((one) => one.name));
    const there = nodes.items.map(affinityNodeOf).filter((node) => !leave.has(node.name));
    const left = { name, labels: { [HOST_NAME]: name } };
    return byClaim.get(claim)?.some((volume) => staysBehind(volume, left, there)) === true;
  };
  return new Set(recorded.filter(isKept).map(({ claim }) => claim));
}
