/** The kind that RKE2 installs to publish its snapshots (k3s-io/api, k3s.cattle.io/v1), reduced to its fields. */
import type { Kube } from "../kube.ts";
import { insist } from "./insist.ts";
import type { Scope } from "./scope.ts";

export const snapshotsPath = "/apis/k3s.cattle.io/v1/etcdsnapshotfiles";

const text = { type: "string" };
const flag = { type: "boolean" };
const time = { type: "string", format: "date-time" };

const s3 = {
  type: "object",
  properties: {
    endpoint: text,
    endpointCA: text,
    skipSSLVerify: flag,
    bucket: text,
    region: text,
    prefix: text,
    insecure: flag,
    bucketLookup: text,
  },
};

const spec = {
  type: "object",
  required: ["location", "nodeName", "snapshotName"],
  properties: {
    snapshotName: text,
    nodeName: text,
    location: text,
    metadata: { type: "object", additionalProperties: text },
    s3,
  },
};

const status = {
  type: "object",
  properties: {
    size: { anyOf: [{ type: "integer" }, { type: "string" }], "x-kubernetes-int-or-string": true },
    creationTime: time,
    readyToUse: flag,
    error: { type: "object", properties: { time, message: text } },
  },
};

const definition = {
  apiVersion: "apiextensions.k8s.io/v1",
  kind: "CustomResourceDefinition",
  metadata: { name: "etcdsnapshotfiles.k3s.cattle.io" },
  spec: {
    group: "k3s.cattle.io",
    scope: "Cluster",
    names: {
      kind: "ETCDSnapshotFile",
      listKind: "ETCDSnapshotFileList",
      plural: "etcdsnapshotfiles",
      singular: "etcdsnapshotfile",
    },
    versions: [
      {
        name: "v1",
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: "object", properties: { spec, status } } },
      },
    ],
  },
};

/** Installs the kind; succeeds when another server has installed it already. */
export async function installSnapshotKind(kube: Kube, scope: Scope): Promise<void> {
  await insist(scope, () => kube.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition));
}
