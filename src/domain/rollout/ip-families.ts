import { parseAddress } from "../model/address.ts";
import type { Json } from "../model/canonical.ts";
import type { Problem } from "../model/problem.ts";
import type { ObservedNode } from "../model/types.ts";
import { lifelongValue } from "./cluster-keys.ts";

type Config = Readonly<Record<string, Json>>;
type Family = 4 | 6;

const KEY = "evergreen:controlPlane.config.cluster-cidr";

/** The families of a list of networks, in its order; undefined: it cannot be read. */
function familiesIn(networks: readonly string[]): Family[] | undefined {
  const found = networks.map((network) => parseAddress(network.split("/")[0] ?? "")?.family);
  return found.includes(undefined) ? undefined : [...new Set(found.flatMap((family) => family ?? []))];
}

const rangesOf = (config: Config, key: "cluster-cidr" | "service-cidr") =>
  familiesIn((lifelongValue(config, key) ?? "").split(","));

const inWords = (families: readonly Family[]): string => families.map((family) => `IPv${family}`).join(" and ");

/** Whether a server's configuration gives pods networks of both families. */
export const hasBothFamilies = (config: Config): boolean => rangesOf(config, "cluster-cidr")?.length === 2;

/** What is known of a cluster's networks. */
export interface ClusterFamilies {
  /** The servers' configuration. */
  config: Config;
  registrationAddress: string;
  nodes: readonly Pick<ObservedNode, "lifelongKeys">[];
}

/** Whether pods and services get addresses of both families. An image may say so too, and then its servers' Nodes do. */
const isDualStack = ({ config, nodes }: ClusterFamilies): boolean =>
  [config, ...nodes.map(({ lifelongKeys = {} }) => lifelongKeys)].some(hasBothFamilies);

/**
 * Problems of the networks of pods and services. RKE2 does not start when their families, or which of them comes first,
 * differ (k3s, pkg/agent/run.go). The API server advertises the family that is first, so with IPv6 first every server is
 * one of IPv6 first.
 */
export function rangeProblems(servers: Config): Problem[] {
  const [pods, services] = [rangesOf(servers, "cluster-cidr"), rangesOf(servers, "service-cidr")];
  if (pods === undefined || services === undefined) return [];
  if (String(pods) !== String(services))
    return [
      {
        what: `cluster-cidr has ${inWords(pods)} and service-cidr ${inWords(services)}: RKE2 does not start with that`,
        where: KEY,
        todo: "give both keys one network of each family, IPv4 first, or both one of IPv4",
      },
    ];
  if (pods[0] === 4) return [];
  return [
    {
      what:
        pods.length === 1
          ? "a cluster of IPv6 alone is not possible yet: its nodes are reached by IPv4"
          : "a cluster with IPv6 first is not possible yet: its API servers are reached by IPv4",
      where: KEY,
      todo: "give cluster-cidr and service-cidr a network of IPv4 first, such as 10.42.0.0/16 and 10.43.0.0/16",
    },
  ];
}

/**
 * Problems of a cluster of which no node has an IPv4 address, as when it was made with `node-ip` of IPv6. One such node
 * among others says nothing: its kubelet may know no other address at the moment.
 */
export function ipv6AloneProblems(nodes: readonly Pick<ObservedNode, "name" | "addresses">[]): Problem[] {
  const known = nodes.filter(({ addresses = [] }) => addresses.length > 0);
  const isAlone = ({ addresses = [] }: (typeof known)[number]): boolean =>
    addresses.every((address) => parseAddress(address)?.family === 6);
  if (known.length === 0 || !known.every(isAlone)) return [];
  return [
    {
      what: "the nodes of the cluster have IPv6 alone, which is not possible yet: nodes are reached by IPv4",
      where: `addresses of ${known.map(({ name }) => name).join(", ")}`,
      todo: "give the nodes IPv4 addresses beside it, or leave the cluster out of Evergreen for now",
    },
  ];
}

/** A pool of agents, or the servers, and what is known of IPv6 on its nodes. */
export interface PoolFamilies {
  name: string;
  /** Its path in the configuration. */
  path: string;
  /** Its configuration says how its nodes get IPv6 addresses. */
  isTold: boolean;
  /** The run makes nodes of it. */
  isMade: boolean;
  nodes: readonly Pick<ObservedNode, "addresses">[];
}

/** What IPv6 is needed for by each node that is to join; undefined: nothing. */
function needFor(cluster: ClusterFamilies): string | undefined {
  if (isDualStack(cluster)) return "pods have IPv4 and IPv6, and RKE2 starts on no node without both";
  return parseAddress(cluster.registrationAddress)?.family === 6 ? "nodes join through an IPv6 address" : undefined;
}

/**
 * Problems of pools whose new nodes could not join: nothing says that they have IPv6, and no node of theirs proves it. Where
 * pods have both families each node does, for RKE2 has started on it. It need not show that: a cloud controller of others,
 * or a kubelet without one, lists the addresses that it knows.
 */
export function missingFamilyProblems(cluster: ClusterFamilies, pools: readonly PoolFamilies[]): Problem[] {
  const need = needFor(cluster);
  if (need === undefined) return [];
  const proves = isDualStack(cluster) ? () => true : hasIpv6;
  return pools
    .filter(({ isTold, isMade, nodes }) => isMade && !isTold && !nodes.some(proves))
    .map(({ name, path }) => ({
      what: `nothing says that nodes of ${name} have IPv6: ${need}`,
      where: `${path}.ip6`,
      todo: "set firstAddress6 or addresses6; or ip6, to auto where routers advertise the network, or to dhcp",
    }));
}

const hasIpv6 = ({ addresses = [] }: Pick<ObservedNode, "addresses">): boolean =>
  addresses.some((address) => parseAddress(address)?.family === 6);

/** A line for the pools whose new nodes have IPv6 in a cluster whose pods and services have none. */
export function unusedFamilyWords(cluster: ClusterFamilies, pools: readonly PoolFamilies[]): string[] {
  const names = pools.filter(({ isTold, isMade }) => isTold && isMade).map(({ name }) => name);
  if (isDualStack(cluster) || names.length === 0) return [];
  return [
    `nodes of ${names.join(", ")} have IPv6, and pods and services IPv4 alone: ${KEY} and service-cidr name no network of IPv6. A cluster has both families from its creation on or never`,
  ];
}
