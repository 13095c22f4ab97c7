import type * as k8s from "@kubernetes/client-node";
import { namespace } from "../../domain/model/formats.ts";

/** A type of the client library as it is sent: what the library turns into a Date is a string. */
export type Wire<T> = T extends Date
  ? string
  : T extends (infer Item)[]
    ? Wire<Item>[]
    : T extends object
      ? { [Key in keyof T]: Wire<T[Key]> }
      : T;

export type ConfigMap = Wire<k8s.V1ConfigMap>;
export type DaemonSet = Wire<k8s.V1DaemonSet>;
export type Event = Wire<k8s.CoreV1Event>;
export type Eviction = Wire<k8s.V1Eviction>;
export type Lease = Wire<k8s.V1Lease>;
export type Node = Wire<k8s.V1Node>;
export type PersistentVolume = Wire<k8s.V1PersistentVolume>;
export type Pod = Wire<k8s.V1Pod>;
export type PodDisruptionBudget = Wire<k8s.V1PodDisruptionBudget>;
export type ReplicaSet = Wire<k8s.V1ReplicaSet>;
export type Secret = Wire<k8s.V1Secret>;
export type VolumeAttachment = Wire<k8s.V1VolumeAttachment>;

/** What every object has. */
export interface Resource {
  metadata?: {
    name?: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
  };
}

/** Path of an object in a namespace that is not ours. @param group group and version, such as `apps/v1` */
export const namespacedPath = (group: string, of: string, rest: string): string =>
  `/apis/${group}/namespaces/${of}/${rest}`;

/** The API paths that we use. */
export const paths = {
  namespaces: "/api/v1/namespaces",
  nodes: "/api/v1/nodes",
  pods: "/api/v1/pods",
  persistentVolumes: "/api/v1/persistentvolumes",
  configMaps: `/api/v1/namespaces/${namespace}/configmaps`,
  leases: `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`,
  daemonSets: "/apis/apps/v1/daemonsets",
  replicaSets: `/apis/apps/v1/namespaces/${namespace}/replicasets`,
  systemSecrets: "/api/v1/namespaces/kube-system/secrets",
  budgets: "/apis/policy/v1/poddisruptionbudgets",
  volumeAttachments: "/apis/storage.k8s.io/v1/volumeattachments",
  longhorn: "/apis/longhorn.io/v1beta2",
} as const;
