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

/** Those that are lists: given twice, both values count. Of any other key the last value counts. */
const LISTS: readonly string[] = ["cluster-cidr", "service-cidr", "cluster-dns", "cni"];

/** Those that RKE2 takes from its environment too, where no argument has them. */
const VARIABLES: Readonly<Record<string, string>> = { cni: "RKE2_CNI", "enable-servicelb": "RKE2_ENABLE_SERVICELB" };

/** A server that is a member. */
export interface LiveServer {
  /** Its configuration. Absent: Evergreen did not make it. */
  config?: Config | undefined;
  /** The keys as its RKE2 was started (`lifelongKeysIn`). Absent: not known. */
  shown?: Config | undefined;
}

/**
 * Problems of the servers' configuration: keys that it would change and that cannot change. An image may have keys too:
 * what servers show that were made without a key is what the next one gets without it.
 */
export function clusterKeyProblems(wanted: Config, live: readonly LiveServer[]): Problem[] {
  return Object.entries(FOR_LIFE).flatMap(([key, usual]) => {
    const valueOf = (config: Config) => valueIn(config, key) ?? (key === "cluster-dns" ? tenth(config) : usual);
    const isSilent = (config: Config | undefined) => config !== undefined && valueIn(config, key) === undefined;
    const ofImages = live.flatMap(({ config, shown }) => (shown && isSilent(config) ? [valueOf(shown)] : []));
    const now = valueOf(wanted);
    const fitting = new Set([now, ...(isSilent(wanted) ? ofImages : [])].map(spelled));
    const other = live
      .map(({ config, shown }) => [config, shown].flatMap((known) => (known ? [valueOf(known)] : [])))
      .find((values) => values.length > 0 && !values.some((value) => fitting.has(spelled(value))))?.[0];
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
 * The keys for life as a server's RKE2 was started, which it writes into annotations of its Node (k3s,
 * pkg/nodeconfig/nodeconfig.go).
 * @param given its arguments (`rke2.io/node-args`): a list such as `["server","--cni","cilium"]`, what its configuration
 *   files say before what its command line says
 * @param environment its variables (`rke2.io/node-env`): a map such as `{"RKE2_CNI":"cilium"}`
 * @returns undefined when there are no such arguments, or they cannot be read
 */
export function lifelongKeysIn(
  given: string | undefined,
  environment?: string,
): Readonly<Record<string, string>> | undefined {
  const words = argumentsIn(given);
  if (words === undefined) return undefined;
  const found = optionsIn(words).filter(([key]) => LIFELONG_KEYS.includes(key));
  const variables = variablesIn(environment);
  return Object.fromEntries(
    LIFELONG_KEYS.flatMap((key): [string, string][] => {
      const all = found.filter(([name]) => name === key).map(([, value]) => value);
      const value = LISTS.includes(key) ? [...new Set(all)].join(",") : (all.at(-1) ?? "");
      const counts = all.length > 0 ? value : variables[VARIABLES[key] ?? ""];
      return counts === undefined || counts === "" ? [] : [[key, asSwitch(key, counts)]];
    }),
  );
}

/**
 * The keys of the labels that a node's RKE2 was started with.
 * @param given its arguments (`rke2.io/node-args`)
 */
export function nodeLabelsIn(given: string | undefined): string[] {
  const lists = optionsIn(argumentsIn(given) ?? []).filter(([key]) => key === "node-label");
  return lists.flatMap(([, value]) => value.split(",")).map((label) => label.split("=", 1)[0] ?? "");
}

/** Options in the order in which they are given, each with its value; a switch has `true`. */
function optionsIn(words: readonly string[]): [key: string, value: string][] {
  return words.flatMap((word, index): [string, string][] => {
    const [, key, , own] = /^--([a-z-]+)(=(.*))?$/s.exec(word) ?? [];
    const next = words[index + 1];
    const value = own ?? (next === undefined || next.startsWith("--") ? "true" : next);
    return key === undefined ? [] : [[key, value]];
  });
}

/** A switch as RKE2 reads it: `1` and `T` are `true`. */
function asSwitch(key: string, value: string): string {
  if (FOR_LIFE[key] !== "false") return value;
  return /^(1|t|true)$/i.test(value) ? "true" : "false";
}

function argumentsIn(annotation: string | undefined): string[] | undefined {
  const words = parsed(annotation);
  return Array.isArray(words) ? words.map(String) : undefined;
}

function variablesIn(annotation: string | undefined): Readonly<Record<string, string | undefined>> {
  const variables = parsed(annotation);
  if (typeof variables !== "object" || variables === null) return {};
  return Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, String(value)]));
}

function parsed(annotation: string | undefined): unknown {
  try {
    return JSON.parse(annotation ?? "null");
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
