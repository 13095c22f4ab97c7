import type { Deadline } from "../../runtime/deadline.ts";
import { hasFinished, leaves } from "../../domain/drain/drain.ts";
import { claimsOf } from "../../domain/drain/local-data.ts";
import type { Kubernetes } from "./client.ts";
import { paths, type PersistentVolume, type Pod, type VolumeAttachment } from "./types.ts";
import { waitUntil } from "./watch.ts";

/**
 * Waits until no volume is attached to a node: a volume that is cut off while attached stays locked for minutes.
 * Volumes of pods that stay with the node (DaemonSets, static pods) are attached until the node goes, and are not
 * waited for.
 * @returns whether there was a volume to wait for
 * @throws DeadlineError that names the volumes
 */
export async function awaitDetached(client: Kubernetes, node: string, deadline: Deadline): Promise<boolean> {
  const stay = await listVolumesThatStay(client, node);
  let left: string[] = [];
  let hasWaited = false;
  await waitUntil<VolumeAttachment, true>(
    client,
    { path: paths.volumeAttachments },
    deadline,
    (seen) => {
      const here = [...seen.values()].filter(({ spec }) => spec.nodeName === node);
      left = here.filter(({ spec }) => !stay.has(spec.source.persistentVolumeName ?? "")).map(describe);
      hasWaited ||= left.length > 0;
      return left.length === 0 ? true : undefined;
    },
    () => left.join("; "),
  );
  return hasWaited;
}

/** Names of the volumes of pods that a drain does not evict. */
async function listVolumesThatStay(client: Kubernetes, node: string): Promise<Set<string>> {
  const { items } = await client.list<Pod>(paths.pods, { fieldSelector: `spec.nodeName=${node}` });
  const claims = new Set(items.filter((pod) => !leaves(pod) && !hasFinished(pod)).flatMap(claimsOf));
  if (claims.size === 0) return new Set();
  const volumes = (await client.list<PersistentVolume>(paths.persistentVolumes)).items;
  const ofClaim = ({ spec }: PersistentVolume): string =>
    `${spec?.claimRef?.namespace ?? ""}/${spec?.claimRef?.name ?? ""}`;
  return new Set(
    volumes.filter((volume) => claims.has(ofClaim(volume))).flatMap(({ metadata }) => metadata?.name ?? []),
  );
}

function describe({ metadata, spec, status }: VolumeAttachment): string {
  const volume = spec.source.persistentVolumeName ?? metadata?.name ?? "a volume";
  const why = status?.detachError?.message;
  return `${volume} is attached by ${spec.attacher}${why === undefined ? "" : ` (${why})`}`;
}
