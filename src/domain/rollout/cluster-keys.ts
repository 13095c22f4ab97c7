import { formatAddress, parseAddress, usualSpelling } from "../model/address.ts";
import { canonical, type Json } from "../model/canonical.ts";
import type { Problem } from "../model/problem.ts";

type Config = Readonly<Record<string, Json>>;

/**
 * RKE2 keys that are fixed for the life of the cluster, with RKE2's defaults. The other servers refuse a server with
 * another value ("critical configuration", docs.rke2.io/reference/server_config), or it would bring another network
 * into a running cluster (k3s#12745, rke2#2230).
 */
const FOR_LIFE: Readonly<Record<string, string>> = {
  "cluster-cidr": "10.42.0.0/16",
  "service-cidr": "10.43.0.0/16",
  "cluster-dns": "10.43.0.10",
  "cluster-domain": "cluster.local",
  "disable-cloud-controller": "false",
  "disable-kube-proxy": "false",
  "egress-selector-mode": "agent",
  "embedded-registry": "false",
  "enable-servicelb": "false",
  "secrets-encryption-provider": "aescbc",
  "supervisor-metrics": "false",
  cni: "canal",
};

/** Names of the RKE2 keys that are fixed for the life of the cluster. */
export const LIFELONG_KEYS: readonly string[] = Object.keys(FOR_LIFE);

/**
 * Problems of the servers' configuration: keys that it would change and that cannot change.
 * @param live configurations of servers that are members
 */
export function clusterKeyProblems(wanted: Config, live: readonly Config[]): Problem[] {
  return Object.entries(FOR_LIFE).flatMap(([key, usual]) => {
    const valueOf = (config: Config) => valueIn(config, key) ?? (key === "cluster-dns" ? tenth(config) : usual);
    const now = valueOf(wanted);
    const other = live.map(valueOf).find((value) => spelled(value) !== spelled(now));
    if (other === undefined) return [];
    return [
      {
        what: `${key} cannot change while the cluster lives: its servers have ${other}, and the configuration says ${now}`,
        where: `evergreen:controlPlane.config.${key}`,
        todo: `set it to ${other}: servers with another value never join; another ${key} is another cluster`,
      },
    ];
  });
}

/**
 * The keys for life among the arguments of a server's RKE2, which RKE2 writes into an annotation of its Node
 * (`rke2.io/node-args`): a list such as `["server","--cni","cilium"]`, with what its configuration files say.
 * @returns undefined when there is no such annotation, or it cannot be read
 */
export function lifelongKeysIn(annotation: string | undefined): Readonly<Record<string, string>> | undefined {
  const words = argumentsIn(annotation);
  if (words === undefined) return undefined;
  const found = words.flatMap((word, index): [string, string][] => {
    const [, key = "", , given] = /^--([a-z-]+)(=(.*))?$/s.exec(word) ?? [];
    const next = words[index + 1];
    const value = given ?? (next === undefined || next.startsWith("--") ? "true" : next);
    return LIFELONG_KEYS.includes(key) ? [[key, value]] : [];
  });
  const valuesOf = (key: string) => found.filter(([name]) => name === key).map(([, value]) => value);
  return Object.fromEntries(found.map(([key]) => [key, valuesOf(key).join(",")]));
}

function argumentsIn(annotation: string | undefined): string[] | undefined {
  if (annotation === undefined) return undefined;
  try {
    const words: unknown = JSON.parse(annotation);
    return Array.isArray(words) ? words.map(String) : undefined;
  } catch {
    return undefined;
  }
}

/** What a server's configuration says of a key that is fixed for the life of the cluster, or RKE2's default. */
export const lifelongValue = (config: Config, key: string): string | undefined => valueIn(config, key) ?? FOR_LIFE[key];

/** The default address of the cluster's DNS: the tenth address of each service network. */
function tenth(config: Config): string {
  const networks = (lifelongValue(config, "service-cidr") ?? "").split(",");
  return networks
    .map((network) => {
      const first = parseAddress(network.split("/")[0] ?? "");
      return first === undefined ? `the tenth of ${network}` : formatAddress({ ...first, value: first.value + 10n });
    })
    .join(",");
}

/** A list with its addresses and networks in their usual spelling: RKE2 compares what they mean. */
function spelled(list: string): string {
  const items = list.split(",").map((item) => item.split("/"));
  return items.map(([address = "", ...rest]) => [usualSpelling(address), ...rest].join("/")).join(",");
}

/** The value of a key as text; `key+` is the same key. Lists may be written as text with commas. */
function valueIn(config: Config, key: string): string | undefined {
  const value = config[key] ?? config[`${key}+`];
  if (value === undefined || value === null) return undefined;
  const text = [value]
    .flat()
    .map((item) => (typeof item === "string" ? item : canonical(item)))
    .join(",");
  return text.replaceAll(/\s/g, "");
}
