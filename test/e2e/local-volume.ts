import { readFile } from "node:fs/promises";
import { labels as nodeLabels } from "../../src/domain/model/formats.ts";
import { Deadline } from "../../src/runtime/deadline.ts";
import { Kube, readKubeconfig } from "../../lab/kube.ts";
import type { Site } from "./site.ts";

const namespace = "shop";
const core = "/api/v1";
const deployments = `/apis/apps/v1/namespaces/${namespace}/deployments`;

interface Pod {
  metadata: { name: string };
  spec: { nodeName?: string };
  status: { phase: string; conditions?: { type: string; message?: string }[] };
}

/**
 * Servers of the lab take pods as well, and one that the scheduler gives to a server stays there while agents are replaced.
 */
const onAgents = {
  nodeAffinity: {
    requiredDuringSchedulingIgnoredDuringExecution: {
      nodeSelectorTerms: [{ matchExpressions: [{ key: nodeLabels.server, operator: "DoesNotExist" }] }],
    },
  },
};

/** A lab with a cluster. */
type Place = Pick<Site, "lab">;

async function withKube<T>(site: Place, work: (kube: Kube) => Promise<T>): Promise<T> {
  const kube = new Kube(readKubeconfig(await readFile(site.lab.env.KUBECONFIG, "utf8")));
  try {
    return await work(kube);
  } finally {
    await kube.close();
  }
}

async function make(
  kube: Kube,
  collection: string,
  object: { metadata: object } & Record<string, unknown>,
): Promise<void> {
  const { status, body } = await kube.call<{ message?: string }>("POST", collection, object);
  if (status >= 300 && status !== 409) throw new Error(`POST ${collection}: ${status} ${body.message ?? ""}`);
}

/** A program with one pod and a local volume of its own on a node, as the local static provisioner makes them; bound and running. */
export async function startOnLocalVolume(site: Place, name: string, node: string): Promise<void> {
  await startOnVolume(
    site,
    name,
    { key: "kubernetes.io/hostname", value: node },
    { local: { path: `/mnt/disks/${name}` } },
  );
}

/** The same with a volume of a zone, as most CSI drivers make them. */
export async function startOnZonalVolume(site: Place, name: string, zone: string): Promise<void> {
  const csi = { driver: "csi.example.org", volumeHandle: name };
  await startOnVolume(site, name, { key: "topology.kubernetes.io/zone", value: zone }, { csi });
}

async function startOnVolume(
  site: Place,
  name: string,
  { key, value }: { key: string; value: string },
  source: object,
): Promise<void> {
  await withKube(site, async (kube) => {
    const labels = { app: name };
    const size = { storage: "10Gi" };
    const terms = [{ matchExpressions: [{ key, operator: "In", values: [value] }] }];
    await make(kube, `${core}/namespaces`, { metadata: { name: namespace } });
    await make(kube, `${core}/persistentvolumes`, {
      metadata: { name: `${name}-disk` },
      spec: {
        capacity: size,
        accessModes: ["ReadWriteOnce"],
        persistentVolumeReclaimPolicy: "Retain",
        storageClassName: "local",
        ...source,
        claimRef: { namespace, name: `${name}-data` },
        nodeAffinity: { required: { nodeSelectorTerms: terms } },
      },
    });
    await make(kube, `${core}/namespaces/${namespace}/persistentvolumeclaims`, {
      metadata: { name: `${name}-data` },
      spec: {
        accessModes: ["ReadWriteOnce"],
        storageClassName: "local",
        volumeName: `${name}-disk`,
        resources: { requests: size },
      },
    });
    await make(kube, deployments, {
      metadata: { name },
      spec: {
        replicas: 1,
        strategy: { type: "Recreate" },
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            automountServiceAccountToken: false,
            affinity: onAgents,
            containers: [{ name: "db", image: "db", volumeMounts: [{ name: "data", mountPath: "/data" }] }],
            volumes: [{ name: "data", persistentVolumeClaim: { claimName: `${name}-data` } }],
          },
        },
      },
    });
  });
  await podAt(site, name, "Running");
}

/** Waits until the one pod of a program is in a phase. @returns its node, and what the scheduler says of it */
export async function podAt(
  site: Place,
  name: string,
  phase: string,
): Promise<{ node: string | undefined; why: string }> {
  const path = `${core}/namespaces/${namespace}/pods?labelSelector=app%3D${name}`;
  let seen = "";
  const look = async (kube: Kube) => {
    const { status, body } = await kube.call<{ items?: Pod[] }>("GET", path);
    seen = `${status}: ${JSON.stringify(body.items?.map((pod) => ({ spec: pod.spec.nodeName, status: pod.status })))}`;
    const [pod, ...more] = body.items ?? [];
    if (pod?.status.phase !== phase || more.length > 0) return undefined;
    const why = pod.status.conditions?.find(({ type }) => type === "PodScheduled")?.message ?? "";
    return { node: pod.spec.nodeName, why };
  };
  const deadline = new Deadline(`the pod of ${name} to be ${phase}`, 180);
  return await withKube(site, (kube) =>
    deadline.poll(
      200,
      () => look(kube),
      () => seen,
    ),
  );
}
