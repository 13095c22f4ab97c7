import type { SnapshotFile } from "../../domain/backup/snapshot.ts";
import type { Resource } from "./types.ts";

/** The object that RKE2 publishes for a snapshot, one for each location of it (k3s-io/api, k3s.cattle.io/v1). */
export interface SnapshotObject extends Resource {
  spec?: { snapshotName?: string; nodeName?: string; location?: string; s3?: object };
  status?: {
    readyToUse?: boolean;
    /** A quantity: `4567`, `12k`. */
    size?: number | string;
    creationTime?: string;
    error?: { message?: string; time?: string };
  };
}

/** Cluster-scoped. */
export const snapshotsPath = "/apis/k3s.cattle.io/v1/etcdsnapshotfiles";

const tokenHash = "etcd.rke2.cattle.io/snapshot-token-hash";

export function snapshotFile({ metadata, spec, status }: SnapshotObject): SnapshotFile {
  const { error } = status ?? {};
  return {
    name: spec?.snapshotName ?? "",
    node: spec?.nodeName ?? "",
    location: spec?.location ?? "",
    uploaded: spec?.s3 !== undefined,
    ready: status?.readyToUse === true,
    bytes: bytesOf(status?.size),
    created: status?.creationTime,
    error: error && (error.message ?? "RKE2 gives no reason"),
    tokenHash: metadata?.annotations?.[tokenHash],
  };
}

const units: Readonly<Record<string, number>> = {
  "": 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** A size in Kubernetes notation: `12k` is exactly 12000. Undefined when it is not a whole number of bytes. */
export function bytesOf(quantity: number | string | undefined): number | undefined {
  const [, digits = "", unit = "", power = "0"] = /^(\d+)([kMGT]|[KMGT]i)?(?:e(\d+))?$/.exec(String(quantity)) ?? [];
  const bytes = Number(digits) * (units[unit] ?? 1) * 10 ** Number(power);
  return digits !== "" && Number.isSafeInteger(bytes) ? bytes : undefined;
}
