import { HOST_NAME } from "../model/labels.ts";
import { fitsNode, names, type AffinityNode, type NodeSelector } from "./node-affinity.ts";
import type { Problem } from "../model/problem.ts";
import type { KeptVolume, NodeRecord } from "../model/types.ts";
import { titleOf } from "../model/titles.ts";

/*
 * Data that is on one node only: it leaves with the node's VM, and the pods that need it cannot start elsewhere. It is
 * reported before any change, because afterwards only the old disk has it.
 */

/** The fields of a PersistentVolume that are read; Kubernetes' own fits. */
export interface DataVolume {
  metadata?: { name?: string | undefined; creationTimestamp?: Date | string | undefined };
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

/** The fields of a pod with volumes that are read; Kubernetes' own Pod fits. */
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

/** A claim whose volume is on the disk of a node that has left. */
export interface ClaimElsewhere {
  /** `namespace/name` */
  claim: string;
  /** When the node left, ISO 8601: a volume that was made later is another one. */
  since: string;
}

/** The claims that the record knows to be on the disks of nodes that have left, but for one node. */
export function claimsElsewhere(records: readonly NodeRecord[], name: string): ClaimElsewhere[] {
  return records
    .filter((record) => record.phase === "retired" && record.name !== name)
    .flatMap(({ keeps = [], since }) => keeps.map(({ claim }) => ({ claim, since })));
}

/** A volume whose data only one node can reach. */
export interface LocalVolume extends KeptVolume {
  node: string;
  /** Whether the labels of the node are not known, so that the volume may be elsewhere. */
  isUncertain: boolean;
  volume: string;
  /** Whether its PersistentVolumeClaim was deleted while the volume is retained. */
  released: boolean;
  /** Pods that use it, as `namespace/name`. */
  pods: string[];
}

/**
 * Labels that state a node's location. A volume that is bound to one outlives the node, though its pods start nowhere
 * while no node is there.
 */
const PLACES = [
  "topology.kubernetes.io/zone",
  "topology.kubernetes.io/region",
  "failure-domain.beta.kubernetes.io/zone",
  "failure-domain.beta.kubernetes.io/region",
];

/** Whether a label states a node's location. */
export const isPlace = (label: string): boolean => PLACES.includes(label);

/**
 * A hypothetical node of the same kind in the same location, as Kubernetes would see it: without the labels that only
 * this node has. A volume that fits this twin is not bound to the node, whether or not such a node exists now.
 * @param given labels that the configuration gives to every node of the pool
 */
export function twinOf(
  node: AffinityNode,
  others: readonly AffinityNode[],
  given: Readonly<Record<string, string>>,
): AffinityNode {
  const isShared = ([key, value]: [string, string]) =>
    isPlace(key) || others.some(({ labels }) => labels[key] === value);
  const name = `another-than-${node.name}`;
  const shared = Object.fromEntries(Object.entries(node.labels).filter(isShared));
  return { name, labels: { ...shared, ...given, [HOST_NAME]: name } };
}

/** A departing node and the nodes beside it. */
export interface Departure {
  node: AffinityNode;
  /** Nodes that stay; for a node that may have labels that nobody knows, all other ones. */
  stay: readonly AffinityNode[];
  /** Labels of the pool's configuration. */
  given: Readonly<Record<string, string>>;
  /** Claims whose volumes are on the disks of other nodes that have left. @default none */
  elsewhere?: readonly ClaimElsewhere[];
}

/**
 * The volumes with data that only the departing node can reach. That follows from a volume's node affinity (local,
 * TopoLVM, OpenEBS, local-path and every other kind that is kept on a node), or from a pod on the node that uses its
 * `hostPath`; without an affinity, from attributes of its CSI driver that name the node. An affinity that no node fits
 * counts when it names the node, whose driver has not labelled it again since its Node was made anew, and for a node
 * whose labels are not known. A volume whose PersistentVolumeClaim is created and deleted with its pod is not included.
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
    const users = usersOf(volume, pods);
    if (users === "its pod alone") return [];
    if (!isOnlyOn(departure, twin, volume, users)) return [];
    const isUncertain = departure.node.mayHaveMore === true && !isNamed(volume.spec, departure.node);
    if (isUncertain && isElsewhere(departure, claim, volume)) return [];
    return [
      {
        node: departure.node.name,
        isUncertain,
        volume: volume.metadata?.name ?? "",
        released: volume.status?.phase === "Released",
        claim,
        size: volume.spec?.capacity?.storage ?? "of unknown size",
        pods: users.map(titleOf).toSorted(),
      },
    ];
  });
}

function isElsewhere({ elsewhere = [] }: Departure, claim: string, { metadata }: DataVolume): boolean {
  const made = new Date(metadata?.creationTimestamp ?? NaN).getTime();
  return elsewhere.some((one) => one.claim === claim && made <= Date.parse(one.since));
}

/**
 * Whether a volume is bound, or was released by its claim and retained: Kubernetes leaves that data to an
 * administrator, who deletes the volume when the data is not needed any more.
 */
function holdsData({ spec, status }: DataVolume): boolean {
  return (
    status?.phase === "Bound" || (status?.phase === "Released" && spec?.persistentVolumeReclaimPolicy === "Retain")
  );
}

/** Whether a volume can be local to a node at all: if not, neither pods nor nodes need to be checked. */
export function mayBeLocal(volume: DataVolume, node: AffinityNode): boolean {
  if (!holdsData(volume)) return false;
  const { spec } = volume;
  return spec?.nodeAffinity?.required !== undefined || spec?.hostPath !== undefined || isNamedIn(spec?.csi, node);
}

/**
 * Whether a bound volume is out of reach for every node that there is.
 * @param left a node that has left with data, to whose host a driver may have tied the volume by its name alone
 */
export function staysBehind(volume: DataVolume, left: AffinityNode, there: readonly AffinityNode[]): boolean {
  if (volume.status?.phase !== "Bound") return false;
  const affinity = volume.spec?.nodeAffinity?.required;
  return affinity === undefined ? mayBeLocal(volume, left) : !there.some((node) => fitsNode(affinity, node, false));
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
    return (
      !isOfPlace(affinity) &&
      (fitsNode(affinity, node, true) || isNamed(spec, node)) &&
      ![twin, ...stay].some((other) => fitsNode(affinity, other, false))
    );
  return isNamedIn(spec?.csi, node);
}

/** Whether an affinity asks for a place alone: such a volume is on no node, whatever labels of one are not known. */
function isOfPlace({ nodeSelectorTerms = [] }: NodeSelector): boolean {
  const asked = nodeSelectorTerms.flatMap(({ matchExpressions = [], matchFields = [] }) => [
    ...matchExpressions,
    ...matchFields,
  ]);
  return asked.length > 0 && asked.every(({ key }) => isPlace(key));
}

/** Whether the attributes of a CSI driver name the node or its host. */
function isNamedIn(csi: NonNullable<DataVolume["spec"]>["csi"], { name, labels }: AffinityNode): boolean {
  return Object.values(csi?.volumeAttributes ?? {}).some((value) => [name, labels[HOST_NAME]].includes(value));
}

/** Whether a volume's affinity names the node or its host, by whatever label. */
function isNamed(spec: DataVolume["spec"], { name, labels }: AffinityNode): boolean {
  const affinity = spec?.nodeAffinity?.required;
  return affinity !== undefined && names(affinity, [name, labels[HOST_NAME]]);
}

/**
 * The pods that use a volume and have not finished, running or not.
 * @returns `its pod alone` when its PersistentVolumeClaim is created and deleted with its pod
 */
export function usersOf<Pod extends DataPod>(volume: DataVolume, pods: readonly Pod[]): Pod[] | "its pod alone" {
  const claim = claimOf(volume);
  const users = pods.filter((pod) => !hasFinished(pod) && claimsOf(pod).includes(claim));
  const isEphemeral = users.length > 0 && users.every((pod) => ephemeralClaimsOf(pod).includes(claim));
  return isEphemeral ? "its pod alone" : users;
}

/** The PersistentVolumeClaim of a volume, as `namespace/name`. */
export function claimOf({ spec }: DataVolume): string {
  return `${spec?.claimRef?.namespace ?? ""}/${spec?.claimRef?.name ?? ""}`;
}

/** The PersistentVolumeClaims that a pod uses, as `namespace/name`. */
export function claimsOf(pod: DataPod): string[] {
  const bound = (pod.spec?.volumes ?? []).flatMap(
    ({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName ?? [],
  );
  return [...bound.map((name) => `${pod.metadata?.namespace ?? ""}/${name}`), ...ephemeralClaimsOf(pod)];
}

/** The PersistentVolumeClaims that Kubernetes creates for a pod and deletes with it. */
function ephemeralClaimsOf(pod: DataPod): string[] {
  const volumes = (pod.spec?.volumes ?? []).filter(({ ephemeral }) => ephemeral !== undefined);
  return volumes.map(({ name }) => `${titleOf(pod)}-${name}`);
}

function hasFinished({ status }: DataPod): boolean {
  return status?.phase === "Succeeded" || status?.phase === "Failed";
}

/** Volumes in words, as many as fit in a line: `shop/data-0 (10Gi), shop/data-1 (1Gi)`. */
export function keptWords(volumes: readonly KeptVolume[]): string {
  return shortList(volumes.map(({ claim, size }) => `${claim} (${size})`));
}

/** A volume in words: `shop/data-0 (10Gi), used by shop/db-0`. */
export function volumeWords({ claim, size, pods, released, volume, isUncertain }: LocalVolume): string {
  const maybe = isUncertain ? "perhaps " : "";
  if (released) return `${maybe}${volume} (${size}), retained when its claim ${claim} was deleted`;
  return `${maybe}${claim} (${size}), used by ${shortList(pods) || "no pod now"}`;
}

/**
 * Problems that refuse the departure of nodes with local volumes; nothing was changed.
 * @param where the configuration key that would consent
 */
export function localVolumeProblems(found: readonly LocalVolume[], where: string): Problem[] {
  return [...Map.groupBy(found, ({ node }) => node)].map(([node, volumes]) => ({
    what: `${node} leaves, and ${amountWords(volumes)} on it alone: ${volumes.map(volumeWords).join("; ")}`,
    where,
    todo: `${volumes.some(({ isUncertain }) => isUncertain) ? "its Node was deleted, and its labels with it: restart RKE2 in its guest, which makes it again; or " : ""}move the data and delete ${volumes.length === 1 ? "the claim" : "the claims"}, and what is retained then with kubectl delete pv; or set localVolumes of the pool to keep: the node leaves, and its VM stays, off, with its disk`,
  }));
}

function amountWords(volumes: readonly LocalVolume[]): string {
  const [amount, are] = volumes.length === 1 ? ["a volume", "is"] : [`${volumes.length} volumes`, "are"];
  const isUncertain = volumes.some((one) => one.isUncertain);
  return isUncertain ? `${amount} with data, which no other node has, may be` : `${amount} with data ${are}`;
}

/** The first few names, and how many more there are. */
export function shortList(names: readonly string[], most = 3): string {
  const more = names.length - most;
  return more > 0 ? `${names.slice(0, most).join(", ")} and ${more} more` : names.join(", ");
}
