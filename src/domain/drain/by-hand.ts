import { leaves, type DrainPod } from "./drain.ts";
import { HOST_NAME } from "../model/labels.ts";
import { shortList } from "./local-data.ts";
import { fitsNode, type AffinityNode, type NodeSelector } from "./node-affinity.ts";
import { titleOf } from "../model/titles.ts";

/*
 * What people gave a node with kubectl: its successor has none of it, and what needs it finds no place. Named before the node
 * leaves, with the order that gives it back.
 */

/** What is asked of a Node; Kubernetes' own fits. */
export interface HandNode {
  metadata?: {
    name?: string | undefined;
    labels?: Record<string, string> | undefined;
    annotations?: Record<string, string> | undefined;
    managedFields?: { manager?: string | undefined; fieldsV1?: object | undefined }[] | undefined;
  };
  spec?: { taints?: { key: string; value?: string | undefined; effect: string }[] | undefined };
}

/** What is asked of a pod; Kubernetes' own fits. */
export interface SelectingPod extends DrainPod {
  spec?: DrainPod["spec"] & {
    nodeSelector?: Record<string, string> | undefined;
    affinity?: {
      nodeAffinity?: { requiredDuringSchedulingIgnoredDuringExecution?: NodeSelector | undefined } | undefined;
    };
  };
}

/** What the configuration gives to every node of a pool. */
export interface Given {
  labels: Readonly<Record<string, string>>;
  /** As `key=value:Effect`. */
  taints: readonly string[];
}

/** Kubernetes, RKE2, Rancher and we: what they write they write on every node. */
const SYSTEM = /(^|\.)(kubernetes\.io|k8s\.io|k3s\.io|rke2\.io|cattle\.io|evergreen\.dev)$/;
/** Role labels are Kubernetes' by their prefix, and given by people; these are RKE2's own. */
const ROLE = "node-role.kubernetes.io/";
const OWN_ROLES = ["control-plane", "etcd", "master"];
/** Programs inside the cluster, by what they call themselves: they find the new node too. */
const MACHINERY =
  /^(kubelet|rke2|k3s|evergreen|flannel|cilium|calico)|(controller|operator|manager|agent|master|worker|driver|plugin|registrar|daemon|provisioner)/i;

type Field = "labels" | "annotations";

/**
 * A line for what the old node has by hand, and a line with the order that gives it to the new one; none when there is nothing.
 * @param successor name of the node that comes in its place
 */
export function byHandWords(node: HandNode, successor: string, given: Given, pods: readonly SelectingPod[]): string[] {
  const name = node.metadata?.name ?? "";
  const here = pods.filter(({ spec }) => spec?.nodeName === name);
  const labels = handGiven(node, "labels").filter(([key, value]) => given.labels[key] !== value);
  const annotations = handGiven(node, "annotations");
  const taints = (node.spec?.taints ?? [])
    .filter(({ key }) => !isSystem(key))
    .map(({ key, value, effect }) => `${key}${value ? `=${value}` : ""}:${effect}`)
    .filter((taint) => !given.taints.some((one) => one.replace("=:", ":") === taint));
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
    `  put labels and taints into the pool, or once it has joined: ${orders.join(" && ")}`,
  ];
}

function order(verb: string, node: string, what: readonly string[]): string[] {
  return what.length > 0 ? [`kubectl ${verb} node ${node} ${what.join(" ")}`] : [];
}

/** A value with anything but the plainest letters is quoted for a shell. */
function pair([key, value]: [string, string]): string {
  return /^[\w.:/-]*$/.test(value) ? `${key}=${value}` : `${key}='${value.replaceAll("'", String.raw`'\''`)}'`;
}

function handGiven(node: HandNode, field: Field): [string, string][] {
  return Object.entries(node.metadata?.[field] ?? {}).filter(([key]) => isByHand(node, field, key));
}

function isByHand(node: HandNode, field: Field, key: string): boolean {
  if (isSystem(key)) return false;
  const managers = managersOf(node, field, key);
  // Who wrote it may be unknown, as after a restore: rather a line too many.
  return managers.length === 0 || managers.some((manager) => !MACHINERY.test(manager));
}

function isSystem(key: string): boolean {
  const [prefix = ""] = key.includes("/") ? key.split("/") : [];
  if (key.startsWith(ROLE)) return OWN_ROLES.includes(key.slice(ROLE.length));
  return SYSTEM.test(prefix);
}

/** Who wrote a label or an annotation, as the API server remembers it. */
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

/** Whether a pod may run on this node, and not on one that differs in nothing but its name. */
function isBoundByName(pod: SelectingPod, { metadata }: HandNode, successor: string): boolean {
  const { name = "", labels = {} } = metadata ?? {};
  const renamed = { name: successor, labels: { ...labels, [HOST_NAME]: successor } };
  return mayRunOn(pod, { name, labels }) && !mayRunOn(pod, renamed);
}

function mayRunOn({ spec }: SelectingPod, node: AffinityNode): boolean {
  const required = spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  const selected = Object.entries(spec?.nodeSelector ?? {}).every(([key, value]) => node.labels[key] === value);
  return selected && (required === undefined || fitsNode(required, node, true));
}
