import { HOST_NAME } from "../model/labels.ts";
import { fitsNode, type AffinityNode, type NodeSelector } from "./node-affinity.ts";
import type { Problem } from "../model/problem.ts";
import type { KeptVolume } from "../model/types.ts";
import { titleOf } from "../model/titles.ts";

/*
 * Data that lies on one node alone: it goes with the node's VM, and what needs it starts nowhere else. Named before anything
 * is touched, because afterwards nothing but the old disk has it.
 */

/** What is asked of a PersistentVolume; Kubernetes' own fits. */
export interface DataVolume {
  metadata?: { name?: string | undefined };
  spec?: {
    capacity?: Record<string, string> | undefined;
    claimRef?: { namespace?: string | undefined; name?: string | undefined } | undefined;
    nodeAffinity?: { required?: NodeSelector | undefined } | undefined;
    hostPath?: { path: string } | undefined;
    persistentVolumeReclaimPolicy?: string | undefined;
    csi?: { volumeAttributes?: Record<string, string> | undefined } | undefined;
  };
  status?: { phase?: string | undefined };
}

/** What is asked of a pod that uses volumes; Kubernetes' own fits. */
export interface DataPod {
  metadata?: { name?: string | undefined; namespace?: string | undefined };
  spec?: {
    nodeName?: string | undefined;
    volumes?:
      | {
          name: string;
          persistentVolumeClaim?: { claimName: string } | undefined;
          ephemeral?: object | undefined;
        }[]
      | undefined;
  };
  status?: { phase?: string | undefined };
}

/** A volume with data that only one node can reach. */
export interface LocalVolume extends KeptVolume {
  node: string;
  volume: string;
  /** Its claim is gone, and what was in it is retained. */
  released: boolean;
  /** Pods that use it, `namespace/name`. */
  pods: string[];
}

/** Labels that say where a node is: whoever comes in its place gets them too. */
const PLACES = [
  "topology.kubernetes.io/zone",
  "topology.kubernetes.io/region",
  "failure-domain.beta.kubernetes.io/zone",
  "failure-domain.beta.kubernetes.io/region",
];

/**
 * Another node of the same kind in the same place, as Kubernetes would see it: without the labels that this node alone has.
 * What fits it is no matter of this node, whether there is one now or not.
 * @param given labels that the configuration gives to every node of the pool
 */
export function twinOf(
  node: AffinityNode,
  others: readonly AffinityNode[],
  given: Readonly<Record<string, string>>,
): AffinityNode {
  const isShared = ([key, value]: [string, string]) =>
    PLACES.includes(key) || others.some(({ labels }) => labels[key] === value);
  const name = `another-than-${node.name}`;
  const shared = Object.fromEntries(Object.entries(node.labels).filter(isShared));
  return { name, labels: { ...shared, ...given, [HOST_NAME]: name } };
}

/** Where a node stands among the others when it leaves. */
export interface Departure {
  node: AffinityNode;
  /** Nodes that stay. */
  stay: readonly AffinityNode[];
  /** Labels of the pool's configuration. */
  given: Readonly<Record<string, string>>;
}

/**
 * The volumes with data that no node but the leaving one can reach: by the node affinity of the volume (local, TopoLVM, OpenEBS,
 * local-path and whatever else is kept on a node), and those without one of which a CSI driver's attributes or a pod on
 * a `hostPath` say where they are. A volume whose claim lives and dies with its pod is not among them.
 */
export function localVolumes(
  departure: Departure,
  volumes: readonly DataVolume[],
  pods: readonly DataPod[],
): LocalVolume[] {
  const twin = twinOf(departure.node, departure.stay, departure.given);
  return volumes.flatMap((volume) => {
    if (!holdsData(volume)) return [];
    const claim = claimOf(volume);
    const users = pods.filter((pod) => !hasFinished(pod) && claimsOf(pod).includes(claim));
    if (users.length > 0 && users.every((pod) => ephemeralClaimsOf(pod).includes(claim))) return [];
    if (!isOnlyOn(departure, twin, volume, users)) return [];
    return [
      {
        node: departure.node.name,
        volume: volume.metadata?.name ?? "",
        released: volume.status?.phase === "Released",
        claim,
        size: volume.spec?.capacity?.storage ?? "of unknown size",
        pods: users.map(titleOf).toSorted(),
      },
    ];
  });
}

/**
 * Bound; or given up by its claim and retained: Kubernetes leaves that data to an administrator, who deletes the volume when
 * nobody wants it any more.
 */
function holdsData({ spec, status }: DataVolume): boolean {
  return (
    status?.phase === "Bound" || (status?.phase === "Released" && spec?.persistentVolumeReclaimPolicy === "Retain")
  );
}

/** Whether a volume can be on a node alone at all: without that neither pods nor nodes need be asked. */
export function mayBeLocal(volume: DataVolume, node: AffinityNode): boolean {
  if (!holdsData(volume)) return false;
  const { spec } = volume;
  return spec?.nodeAffinity?.required !== undefined || spec?.hostPath !== undefined || isNamedIn(spec?.csi, node);
}

function isOnlyOn(
  { node, stay }: Departure,
  twin: AffinityNode,
  { spec }: DataVolume,
  users: readonly DataPod[],
): boolean {
  if (spec?.hostPath !== undefined && users.some((pod) => pod.spec?.nodeName === node.name)) return true;
  const affinity = spec?.nodeAffinity?.required;
  if (affinity !== undefined)
    return fitsNode(affinity, node, true) && ![twin, ...stay].some((other) => fitsNode(affinity, other, false));
  return isNamedIn(spec?.csi, node);
}

/** Whether a CSI driver's attributes name the node, or its host. */
function isNamedIn(csi: NonNullable<DataVolume["spec"]>["csi"], { name, labels }: AffinityNode): boolean {
  const names = [name, labels[HOST_NAME]];
  return Object.values(csi?.volumeAttributes ?? {}).some((value) => names.includes(value));
}

function claimOf({ spec }: DataVolume): string {
  return `${spec?.claimRef?.namespace ?? ""}/${spec?.claimRef?.name ?? ""}`;
}

/** Claims that a pod uses, as `namespace/name`. */
export function claimsOf(pod: DataPod): string[] {
  const bound = (pod.spec?.volumes ?? []).flatMap(
    ({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName ?? [],
  );
  return [...bound.map((name) => `${pod.metadata?.namespace ?? ""}/${name}`), ...ephemeralClaimsOf(pod)];
}

/** Claims that Kubernetes makes for a pod and deletes with it. */
function ephemeralClaimsOf(pod: DataPod): string[] {
  const volumes = (pod.spec?.volumes ?? []).filter(({ ephemeral }) => ephemeral !== undefined);
  return volumes.map(({ name }) => `${titleOf(pod)}-${name}`);
}

function hasFinished({ status }: DataPod): boolean {
  return status?.phase === "Succeeded" || status?.phase === "Failed";
}

/** `shop/data-0 (10Gi), shop/data-1 (1Gi)`, as many as a line takes. */
export function keptWords(volumes: readonly KeptVolume[]): string {
  return shortList(volumes.map(({ claim, size }) => `${claim} (${size})`));
}

/** `shop/data-0 (10Gi), used by shop/db-0` */
export function volumeWords({ claim, size, pods, released, volume }: LocalVolume): string {
  if (released) return `${volume} (${size}), retained when its claim ${claim} was deleted`;
  return `${claim} (${size}), used by ${shortList(pods) || "no pod now"}`;
}

/** The refusal: nothing of it was touched. @param where the key of the configuration that would consent */
export function localVolumeProblems(found: readonly LocalVolume[], where: string): Problem[] {
  return [...Map.groupBy(found, ({ node }) => node)].map(([node, volumes]) => ({
    what: `${node} leaves, and ${volumes.length === 1 ? "a volume with data is" : `${volumes.length} volumes with data are`} on it alone: ${volumes.map(volumeWords).join("; ")}`,
    where,
    todo: `move the data and delete ${volumes.length === 1 ? "the claim" : "the claims"}, and what is retained then with kubectl delete pv; or set localVolumes of the pool to keep: the node leaves, and its VM stays, off, with its disk`,
  }));
}

/** A few names, and how many more there are. */
export function shortList(names: readonly string[], most = 3): string {
  const more = names.length - most;
  return more > 0 ? `${names.slice(0, most).join(", ")} and ${more} more` : names.join(", ");
}
