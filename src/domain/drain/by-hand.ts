import { leaves, type DrainPod } from "./drain.ts";
import { nodeLabelsIn } from "../rollout/cluster-keys.ts";
import { HOST_NAME } from "../model/labels.ts";
import { shortList } from "./local-data.ts";
import { fitsNode, type AffinityNode, type NodeSelector } from "./node-affinity.ts";
import { titleOf } from "../model/titles.ts";

/*
 * What was set on a node manually with kubectl: its successor has none of it, and pods that need it cannot be
 * scheduled. It is reported before the node leaves, with the command that restores it.
 */

/** The fields of a Node that are read; Kubernetes' own Node fits. */
export interface HandNode {
  metadata?: {
    name?: string | undefined;
    labels?: Record<string, string> | undefined;
    annotations?: Record<string, string> | undefined;
    managedFields?: { manager?: string | undefined; fieldsV1?: object | undefined }[] | undefined;
  };
  spec?: { taints?: { key: string; value?: string | undefined; effect: string }[] | undefined };
}

/** The fields of a pod that are read; Kubernetes' own Pod fits. */
export interface SelectingPod extends DrainPod {
  spec?: DrainPod["spec"] & {
    nodeSelector?: Record<string, string> | undefined;
    affinity?: {
      nodeAffinity?: { requiredDuringSchedulingIgnoredDuringExecution?: NodeSelector | undefined } | undefined;
    };
  };
}

/** What the configuration sets on every node of a pool. */
export interface Given {
  labels: Readonly<Record<string, string>>;
  /** @default none */
  annotations?: Readonly<Record<string, string>>;
  /** Labels that each node gets with the value of its Proxmox host. @default none */
  byHost?: readonly string[];
  /** Each as `key=value:Effect`. */
  taints: readonly string[];
}

/** Namespaces of Kubernetes, RKE2, Rancher and Evergreen, which write their keys on every node. */
const SYSTEM = /(^|\.)(kubernetes\.io|k8s\.io|k3s\.io|rke2\.io|cattle\.io|evergreen\.dev)$/;
/** Role labels have Kubernetes' prefix but are set by users, except those that RKE2 sets itself. */
const ROLE = "node-role.kubernetes.io/";
const OWN_ROLES = ["control-plane", "etcd", "master"];
/**
 * Labels with such a prefix that users set too: where a node is, what balances the load, and what is restricted to
 * administrators.
 */
const USERS_OWN =
  /^((topology|failure-domain\.beta)\.kubernetes\.io\/(zone|region)$|node\.kubernetes\.io\/exclude-|([^/]+\.)?node-restriction\.kubernetes\.io\/|svccontroller\.k3s\.cattle\.io\/)/;
/** Field managers that are programs inside the cluster, by their names: they write to the new node too. */
const MACHINERY =
  /^(kubelet|rke2|k3s|evergreen|flannel|cilium|calico)|(controller|operator|manager|agent|master|worker|driver|plugin|registrar|daemon|provisioner)/i;

type Field = "labels" | "annotations";

/** Labels and taints that somebody set on a node manually, and that the configuration of its pool does not give. */
export function givenByHand(node: HandNode, given: Given): { labels: [string, string][]; taints: string[] } {
  return {
    labels: handGiven(node, "labels")
      .filter(([key]) => given.byHost?.includes(key) !== true)
      .filter(([key, value]) => given.labels[key] !== value),
    taints: (node.spec?.taints ?? [])
      .filter(({ key }) => !isSystem(key))
      .map(({ key, value, effect }) => `${key}${value ? `=${value}` : ""}:${effect}`)
      .filter((taint) => !given.taints.some((one) => one.replace("=:", ":") === taint)),
  };
}

/**
 * What a node that comes in the place of another one is to pods, before it is there: it has the labels that programs give
 * to all nodes and that tell of the place, and those of its pool. It keeps the name: pods that ask for that stop the run
 * when the node of that name leaves.
 * @param given by the configuration to the new node
 * @param before keys of labels that the configuration gave to the old one
 */
export function successorOf(node: HandNode, given: Given, before: readonly string[]): AffinityNode {
  const lost = new Set([...givenByHand(node, given).labels.map(([key]) => key), ...before]);
  const kept = Object.entries(node.metadata?.labels ?? {}).filter(([key]) => !lost.has(key));
  return { name: node.metadata?.name ?? "", labels: { ...Object.fromEntries(kept), ...given.labels } };
}

/** The keys of labels that somebody set on a node manually, or that its own RKE2 configuration gave to it. */
export function handGivenLabels(node: HandNode): string[] {
  return handGiven(node, "labels").map(([key]) => key);
}

/**
 * A line for what was set on the old node manually, and a line with the command that sets it on the new node; none when
 * nothing was set.
 * @param successor name of the node that comes in its place
 */
export function byHandWords(node: HandNode, successor: string, given: Given, pods: readonly SelectingPod[]): string[] {
  const name = node.metadata?.name ?? "";
  const here = pods.filter(({ spec }) => spec?.nodeName === name);
  const { labels, taints } = givenByHand(node, given);
  const annotations = handGiven(node, "annotations").filter(([key, value]) => given.annotations?.[key] !== value);
  const bound = here.filter((pod) => leaves(pod) && isBoundByName(pod, node, successor)).map(titleOf);
  const byName =
    bound.length > 0
      ? [
          `${shortList(bound.toSorted())} ask${bound.length === 1 ? "s" : ""} for ${name} by its name, and will find no place without it`,
          "  take the name out of nodeSelector or affinity: the run stops after this node otherwise",
        ]
      : [];
  const found = [
    ...labels.map(([key, value]) => `label ${key}=${value}${needed(here, key, value)}`),
    ...taints.map((taint) => `taint ${taint}`),
    ...annotations.map(([key]) => `annotation ${key}`),
  ];
  if (found.length === 0) return byName;
  const orders = [
    ...order("label", successor, labels.map(pair)),
    ...order("taint", successor, taints),
    ...order("annotate", successor, annotations.map(pair)),
  ];
  return [
    ...byName,
    `${name} has what the configuration does not give, and ${successor} will not have it: ${found.join("; ")}`,
    `  put labels and taints into the pool (npx evergreen adopt --labels), or once it has joined: ${orders.join(" && ")}`,
  ];
}

/**
 * A line when a node leaves for good, and pods of it ask for what no other node has.
 * @param others nodes that stay or come
 */
export function homelessWords(name: string, others: readonly AffinityNode[], pods: readonly SelectingPod[]): string[] {
  const homeless = pods
    .filter((pod) => pod.spec?.nodeName === name && leaves(pod))
    .filter((pod) => !others.some((node) => mayRunOn(pod, node)))
    .map(titleOf);
  if (homeless.length === 0) return [];
  return [
    `${name} leaves, and ${shortList(homeless.toSorted())} will find no place: no node that stays has the labels that ${homeless.length === 1 ? "it asks" : "they ask"} for`,
  ];
}

function order(verb: string, node: string, what: readonly string[]): string[] {
  return what.length > 0 ? [`kubectl ${verb} node ${node} ${what.join(" ")}`] : [];
}

/** A `key=value` argument. Values with unusual characters are quoted for a shell. */
function pair([key, value]: [string, string]): string {
  return /^[\w.:/-]*$/.test(value) ? `${key}=${value}` : `${key}='${value.replaceAll("'", String.raw`'\''`)}'`;
}

function handGiven(node: HandNode, field: Field): [string, string][] {
  return Object.entries(node.metadata?.[field] ?? {}).filter(([key]) => isByHand(node, field, key));
}

function isByHand(node: HandNode, field: Field, key: string): boolean {
  if (isSystem(key)) return false;
  if (field === "labels" && ownNodeLabels(node).has(key)) return true;
  const managers = managersOf(node, field, key);
  // The manager may be unknown, as after a restore: an extra line is better than a missing one.
  return managers.length === 0 || managers.some((manager) => !MACHINERY.test(manager));
}

/**
 * Labels that the RKE2 configuration of an adopted node gave to it (`node-label`), with the kubelet for their manager.
 * That of our own nodes is the configuration of their pool, which may give them no more.
 */
function ownNodeLabels({ metadata }: HandNode): ReadonlySet<string> {
  const keys = nodeLabelsIn(metadata?.annotations?.["rke2.io/node-args"]);
  return new Set(keys.some((key) => key.startsWith("evergreen.dev/")) ? [] : keys);
}

function isSystem(key: string): boolean {
  const [prefix = ""] = key.includes("/") ? key.split("/") : [];
  if (USERS_OWN.test(key)) return false;
  if (key.startsWith(ROLE)) return OWN_ROLES.includes(key.slice(ROLE.length));
  return SYSTEM.test(prefix);
}

/** The managers of a label or an annotation, as the API server has recorded them. */
function managersOf({ metadata }: HandNode, field: Field, key: string): string[] {
  return (metadata?.managedFields ?? []).flatMap(({ manager, fieldsV1 }) => {
    const owned = at(at(at(fieldsV1, "f:metadata"), `f:${field}`), `f:${key}`);
    return owned !== undefined && manager !== undefined ? [manager] : [];
  });
}

function at(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

function needed(pods: readonly SelectingPod[], key: string, value: string): string {
  const users = pods.filter((pod) => selects(pod, key, value)).map(titleOf);
  return users.length > 0 ? `, which ${shortList(users.toSorted())} need${users.length === 1 ? "s" : ""}` : "";
}

function selects({ spec }: SelectingPod, key: string, value: string): boolean {
  if (spec?.nodeSelector?.[key] === value) return true;
  const terms = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  return terms.some(({ matchExpressions = [] }) =>
    matchExpressions.some((one) => one.key === key && ["In", "Exists", "Gt", "Lt"].includes(one.operator)),
  );
}

/** Whether a pod may run on this node, and not on a node that differs only in its name. */
function isBoundByName(pod: SelectingPod, { metadata }: HandNode, successor: string): boolean {
  const { name = "", labels = {} } = metadata ?? {};
  const renamed = { name: successor, labels: { ...labels, [HOST_NAME]: successor } };
  return mayRunOn(pod, { name, labels }) && !mayRunOn(pod, renamed);
}

/** Whether a pod does not run on every node, by what it says of their names and labels. */
export function asksForNodes({ spec }: SelectingPod): boolean {
  const required = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  return required !== undefined || Object.keys(spec?.nodeSelector ?? {}).length > 0;
}

/** Whether the labels of a node are those that a pod asks for. */
export function mayRunOn({ spec }: SelectingPod, node: AffinityNode): boolean {
  const required = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  const selected = Object.entries(spec?.nodeSelector ?? {}).every(([key, value]) => node.labels[key] === value);
  return selected && (required === undefined || fitsNode(required, node, true));
}
