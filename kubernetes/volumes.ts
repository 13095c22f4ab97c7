import type { Deadline } from "../common/deadline.ts";
import type { Kubernetes } from "./client.ts";
import { paths, type VolumeAttachment } from "./types.ts";
import { until } from "./watch.ts";

/**
 * Waits until no volume is attached to a node: one that is cut off while attached stays locked for minutes.
 * @throws DeadlineError that names the volumes
 */
export async function awaitDetached(client: Kubernetes, node: string, deadline: Deadline): Promise<void> {
  let left: string[] = [];
  await until<VolumeAttachment, true>(
    client,
    { path: paths.volumeAttachments },
    deadline,
    (seen) => {
      left = [...seen.values()].filter((one) => one.spec.nodeName === node).map(describe);
      return left.length === 0 ? true : undefined;
    },
    () => left.join("; "),
  );
}

function describe({ metadata, spec, status }: VolumeAttachment): string {
  const volume = spec.source.persistentVolumeName ?? metadata?.name ?? "a volume";
  const why = status?.detachError?.message;
  return `${volume} is attached by ${spec.attacher}${why === undefined ? "" : ` (${why})`}`;
}
