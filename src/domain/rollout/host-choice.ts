import type { Role } from "../model/types.ts";

/** A pool, as far as its VMs need hosts. */
export interface HostedPool {
  role: Role;
  /** Proxmox hosts that can take its new VMs, in the order of the configuration. */
  hosts: readonly string[];
  /**
   * Its nodes after the run, in the order of their slots. `host`: that of a VM that exists. `before`: that of the node
   * that it replaces.
   */
  nodes: readonly { name: string; host?: string; before?: string }[];
}

/** What the configuration says of the hosts. */
export interface HostFacts {
  /** Share of each host: one with 2 gets twice the VMs of one with 1, and one with 0 no new ones. @default 1 each */
  weights?: Readonly<Record<string, number>>;
  /** Failure domain of each host. @default each host is one of its own */
  zones?: Readonly<Record<string, string>>;
  /** Zones that nodes on hosts without one of the configuration have, as by a cloud controller. @default not known */
  seenZones?: Readonly<Record<string, string>>;
}

/** Hosts that take new VMs. */
export function withWeight(hosts: readonly string[], { weights }: HostFacts): string[] {
  return hosts.filter((host) => weightOf(weights, host) > 0);
}

/**
 * Chooses a host for each VM that a run makes; existing VMs stay where they are and count there. The next VM of a pool
 * goes to the zone with the fewest of its nodes for its size, and there to the host with the fewest for its size. So each
 * zone and each host has one before any has a second, and none gets more than its share, rounded up. For servers all
 * zones and hosts have the same size, because etcd counts servers: three are on three hosts, whatever these can hold.
 * Among equal zones that of the node that it replaces is taken, by the configuration or by what nodes have, because volumes
 * may be bound to it: it never loses its last node in the middle of a rollout then. Servers are handed over one after the
 * other, and a run may end between any two: among equal hosts those of the old ones are taken, and each of these by the
 * server that replaces one there, so that the voters on a host only become fewer, or only more.
 * Among equals the host with the fewest nodes of all pools for its size is taken, servers too, and then the first: so
 * pools that are smaller than the list of hosts reach all of them together.
 * @returns host by name of the VM, for the VMs that have none
 */
export function chooseHosts(pools: readonly HostedPool[], facts: HostFacts): Map<string, string> {
  const all = count(pools.flatMap(({ nodes }) => nodes.flatMap(({ host }) => host ?? [])));
  const chosen = new Map<string, string>();
  for (const { role, nodes, ...pool } of pools) {
    const hosts = withWeight(pool.hosts, facts);
    const size = (host: string) => (role === "server" ? 1 : weightOf(facts.weights, host));
    const zoneOf = (host: string) => zoneIn(facts, host);
    const sizeOfZone = new Map(
      [...Map.groupBy(hosts, zoneOf)].map(([zone, its]) => [
        zone,
        role === "server" ? 1 : its.reduce((sum, host) => sum + size(host), 0),
      ]),
    );
    const here = count(nodes.flatMap(({ host }) => host ?? []));
    const inZone = count(nodes.flatMap(({ host }) => (host === undefined ? [] : zoneOf(host))));
    const made = nodes.filter(({ host }) => host === undefined);
    const old = count(role === "server" ? made.flatMap(({ before }) => before ?? []) : []);
    const picked: string[] = [];
    for (const { name, before } of made) {
      const ranked = hosts.map((host) => ({
        host,
        rank: [
          of(inZone, zoneOf(host)) / (sizeOfZone.get(zoneOf(host)) ?? 1),
          Number(!isSameZone(facts, host, before)),
          of(here, host) / size(host),
          Number(of(old, host) <= times(picked, host)),
          of(all, host) / weightOf(facts.weights, host),
        ],
      }));
      const [best] = ranked.toSorted((one, other) => compare(one.rank, other.rank));
      if (best === undefined) continue;
      chosen.set(name, best.host);
      picked.push(best.host);
      add(here, best.host);
      add(inZone, zoneOf(best.host));
      add(all, best.host);
    }
    if (role === "server") for (const [name, host] of inPlace(made, picked, facts)) chosen.set(name, host);
  }
  return chosen;
}

/**
 * Gives hosts to nodes, as many as there are hosts: first to those that replace one there, then to those that replace one
 * in its zone. What leaves a host, or a zone, is never followed by what comes to it, or the other way round.
 */
function inPlace(
  nodes: HostedPool["nodes"],
  hosts: readonly string[],
  facts: HostFacts,
): [name: string, host: string][] {
  const left = [...hosts];
  const given = new Map<string, string>();
  const rules: ((host: string, before: string | undefined) => boolean)[] = [
    (host, before) => host === before,
    (host, before) => isSameZone(facts, host, before),
    () => true,
  ];
  for (const fits of rules)
    for (const { name, before } of nodes) {
      const at = given.has(name) ? -1 : left.findIndex((host) => fits(host, before));
      for (const host of at < 0 ? [] : left.splice(at, 1)) given.set(name, host);
    }
  return [...given];
}

const times = (hosts: readonly string[], host: string): number => hosts.filter((one) => one === host).length;

const weightOf = (weights: HostFacts["weights"], host: string): number => own(weights, host) ?? 1;

/** A host that the configuration gives no zone is a zone of its own. */
function zoneIn({ zones }: HostFacts, host: string): string {
  const zone = own(zones, host);
  return zone === undefined ? `host ${host}` : `zone ${zone}`;
}

function isSameZone({ zones, seenZones }: HostFacts, host: string, before: string | undefined): boolean {
  const zoneOf = (one: string) => own(zones, one) ?? own(seenZones, one);
  return before !== undefined && zoneOf(host) !== undefined && zoneOf(host) === zoneOf(before);
}

function own<V>(map: Readonly<Record<string, V>> | undefined, key: string): V | undefined {
  return map !== undefined && Object.hasOwn(map, key) ? map[key] : undefined;
}

function count(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) add(counts, name);
  return counts;
}

function add(counts: Map<string, number>, name: string): void {
  counts.set(name, of(counts, name) + 1);
}

const of = (counts: ReadonlyMap<string, number>, name: string): number => counts.get(name) ?? 0;

function compare(one: readonly number[], other: readonly number[]): number {
  const at = one.findIndex((value, index) => value !== other[index]);
  return at < 0 ? 0 : (one[at] ?? 0) - (other[at] ?? 0);
}
