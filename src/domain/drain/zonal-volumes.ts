import { claimOf, isPlace, shortList, twinOf, usersOf, type DataPod, type DataVolume } from "./local-data.ts";
import { fitsNode, selectorWords, type AffinityNode, type NodeSelector } from "./node-affinity.ts";
import { tolerates, type Taint, type Toleration } from "./taints.ts";
import type { Problem } from "../model/problem.ts";
import { titleOf } from "../model/titles.ts";
import type { KeptVolume } from "../model/types.ts";

/*
 * Volumes that nodes of one place reach: of a zone, a region, a Proxmox host. Their data is on no node's disk and outlives
 * every node, but when the last node of the place leaves, the pods that need them start nowhere. It is reported before
 * any change, as data on a node's disk is.
 */

/** A node, as the scheduler sees it for a pod with volumes. */
export interface PlacedNode extends AffinityNode {
  /** Those that keep pods away for good. */
  taints: readonly Taint[];
}

/** The nodes of the cluster now and after a run, each with the labels that it has then. */
export interface NodeChange {
  before: readonly PlacedNode[];
  /** With `mayHaveMore` where others give labels to a node that comes. */
  after: readonly PlacedNode[];
}

/** The fields of a pod that decide which nodes its volumes may need; Kubernetes' own Pod fits. */
export interface VolumePod extends Omit<DataPod, "spec"> {
  spec?: NonNullable<DataPod["spec"]> & { tolerations?: Toleration[] | undefined };
}

/** A bound volume whose pods some node can run now, and none after the run, or perhaps none. */
export interface ZonalVolume extends KeptVolume {
  volume: string;
  /** What its node affinity asks for, in words. */
  place: string;
  /** Pods that use it, as `namespace/name`. */
  pods: string[];
  /** The nodes that leave or get other labels, and which its pods can run on now, or run on. */
  nodes: string[];
  /** Nodes after the run that may fit: their labels, or what its pods tolerate, are not known. Empty: none fits. */
  perhaps: string[];
}

/**
 * The bound volumes of a place that has no node for their pods after the run, or perhaps none. A node is one for a pod
 * when it fits the node affinity of the volume and the pod tolerates its taints. A volume without pods counts too, as
 * that of a StatefulSet that is scaled down; what its pods would tolerate is not known, so it needs a node that has no
 * other taints than each that goes. A volume that no node reaches now, and whose pods run nowhere, is no concern of the run.
 * One that is bound to a
 * node by itself is not included: its data may be on the node's disk (`localVolumes`).
 */
export function zonalVolumes(
  { before, after }: NodeChange,
  volumes: readonly DataVolume[],
  pods: readonly VolumePod[],
): ZonalVolume[] {
  return volumes.flatMap((volume) => {
    const affinity = volume.spec?.nodeAffinity?.required;
    if (volume.status?.phase !== "Bound" || affinity === undefined) return [];
    const users = usersOf(volume, pods);
    if (users === "its pod alone") return [];
    const needs = users.length > 0 ? users.map((pod) => needOf(affinity, pod)) : [needWithoutPod(affinity)];
    const found = needs.flatMap((need) => need({ before, after }) ?? []);
    const nodes = [...new Set(found.flatMap((one) => one.nodes))];
    if (nodes.length === 0 || !(isAboutPlaces(affinity) || nodes.some((node) => isOfPlace(affinity, node, before))))
      return [];
    const isLost = found.some(({ perhaps }) => perhaps.length === 0);
    return [
      {
        claim: claimOf(volume),
        size: volume.spec?.capacity?.storage ?? "of unknown size",
        volume: volume.metadata?.name ?? "",
        place: selectorWords(affinity),
        pods: users.map(titleOf).toSorted(),
        nodes: nodes.map(({ name }) => name),
        perhaps: isLost ? [] : [...new Set(found.flatMap(({ perhaps }) => perhaps.map(({ name }) => name)))],
      },
    ];
  });
}

/** The nodes that served a need and do not any more, and those that perhaps do. Undefined: a node does for certain. */
type Need = (change: NodeChange) => { nodes: PlacedNode[]; perhaps: PlacedNode[] } | undefined;

function needOf(affinity: NodeSelector, { spec }: VolumePod): Need {
  const takes = (unknown: boolean) => (node: PlacedNode) =>
    fitsNode(affinity, node, unknown) &&
    node.taints.every((taint) => spec?.tolerations?.some((toleration) => tolerates(toleration, taint)) === true);
  return ({ before, after }) => {
    // A pod runs on where its node has got the labels of another place, until that node leaves.
    const leavesIt = ({ name }: PlacedNode) => name === spec?.nodeName && !after.some((one) => one.name === name);
    const nodes = before.filter((node) => takes(false)(node) || leavesIt(node));
    if (nodes.length === 0 || after.some(takes(false))) return undefined;
    return { nodes, perhaps: after.filter(takes(true)) };
  };
}

function needWithoutPod(affinity: NodeSelector): Need {
  return ({ before, after }) => {
    const sure = after.filter((node) => fitsNode(affinity, node, false));
    const nodes = before
      .filter((node) => fitsNode(affinity, node, false))
      .filter((node) => !sure.some(({ taints }) => taints.every((taint) => node.taints.some(isSame(taint)))));
    if (nodes.length === 0) return undefined;
    return { nodes, perhaps: after.filter((node) => fitsNode(affinity, node, true)) };
  };
}

const isSame = (one: Taint) => (other: Taint) =>
  one.key === other.key && (one.value ?? "") === (other.value ?? "") && one.effect === other.effect;

/** Whether node affinity asks for nothing but a location. */
function isAboutPlaces({ nodeSelectorTerms = [] }: NodeSelector): boolean {
  return nodeSelectorTerms.every(
    ({ matchExpressions = [], matchFields = [] }) =>
      matchFields.length === 0 && matchExpressions.every(({ key }) => isPlace(key)),
  );
}

/** Whether a volume is bound to the place of a node, or to labels that it shares, rather than to the node. */
function isOfPlace(affinity: NodeSelector, node: PlacedNode, all: readonly PlacedNode[]): boolean {
  const others = all.filter(({ name }) => name !== node.name);
  return fitsNode(affinity, twinOf(node, others, {}), false);
}

/** What is known of volumes that need the same nodes, in words. @returns a line for each place */
export function zonalVolumeWords(found: readonly ZonalVolume[]): string[] {
  return groups(found).map((volumes) =>
    isLost(volumes)
      ? `${lost(volumes, "").what}; as localVolumes says keep, these pods start nowhere until a node is there again. The data is on no node's disk, and no VM is kept for it`
      : perhapsWords(volumes),
  );
}

/**
 * Problems that refuse a run after which no node is left for the pods of volumes; nothing was changed.
 * @param where the configuration key that would consent
 */
export function zonalVolumeProblems(found: readonly ZonalVolume[], where: string): Problem[] {
  return groups(found)
    .filter(isLost)
    .map((volumes) => lost(volumes, where));
}

function lost(volumes: readonly ZonalVolume[], where: string): Problem {
  return {
    what: `${needWords(volumes)}, and after this run there is none: ${listWords(volumes)}`,
    where,
    todo: `keep a node there, by hosts and slots of a pool, site.zones or taints; or move the data and delete ${volumes.length === 1 ? "the claim" : "the claims"}; or set localVolumes of the pool to keep: these pods start nowhere then until a node is there again. The data is on no node's disk, and stays`,
  };
}

/** By place, nodes and certainty. */
function groups(found: readonly ZonalVolume[]): ZonalVolume[][] {
  return [...Map.groupBy(found, ({ place, nodes, perhaps }) => JSON.stringify([place, nodes, perhaps])).values()];
}

export const isLostVolume = ({ perhaps }: Pick<ZonalVolume, "perhaps">): boolean => perhaps.length === 0;

const isLost = (volumes: readonly ZonalVolume[]): boolean => volumes.every(isLostVolume);

function perhapsWords(volumes: readonly ZonalVolume[]): string {
  const [{ perhaps } = { perhaps: [] }] = volumes;
  return `${needWords(volumes)}, and whether ${shortList(perhaps)} will take ${theirs(volumes)} depends on labels and taints that nobody knows yet: ${listWords(volumes)}; the run stops there if none does`;
}

function needWords(volumes: readonly ZonalVolume[]): string {
  const [{ place, nodes } = { place: "", nodes: [] }] = volumes;
  const [who, need] = volumes.length === 1 ? ["a volume", "needs"] : [`${volumes.length} volumes`, "need"];
  return `${who} with data ${need} a node with ${place}: ${shortList(nodes)} ${nodes.length === 1 ? "is one" : "are some"} for ${theirs(volumes)} now`;
}

const theirs = (volumes: readonly ZonalVolume[]): string => (volumes.length === 1 ? "its pods" : "their pods");

function listWords(volumes: readonly ZonalVolume[]): string {
  return volumes
    .map(({ claim, size, pods }) => `${claim} (${size}), used by ${shortList(pods) || "no pod now"}`)
    .join("; ");
}
