/** The first configuration of a cluster on a site: what an operator says, and the rest as the site has it. */
import { parse } from "yaml";
import { ownSettings, readConfig, type Config } from "../src/config/config.ts";
import { addressAfter } from "../src/domain/model/address.ts";
import { network6Of, networkOf, notesOn6, type Network, type Network6 } from "./init-network.ts";
import type { SiteSurvey, SurveyedTemplate } from "../src/observe/site-survey.ts";
import { UserErrors, type Problem } from "../src/runtime/errors.ts";

/** What an operator says of a new cluster. Absent fields are taken from the site. */
export interface Wishes {
  cluster: string;
  registrationAddress: string;
  servers: number;
  workers: number;
  /** Address of the first server; the workers follow. @default DHCP */
  firstAddress?: string;
  /** IPv6 address of the first server: pods and services have both families then. @default IPv4 alone */
  firstAddress6?: string;
  /** @default the newest one that there is */
  image?: string;
  /** @default all that answer and have the image */
  hosts?: string[];
  /** @default that of the image's disk */
  storage?: string;
  /** @default that of the image's first card */
  bridge?: string;
  /** Proxmox pool of the node VMs. @default `evergreen-nodes`, or the only one that there is */
  pool?: string;
  /** VMIDs begin there. @default the first hundred that nobody has */
  firstVmid?: number;
}

/** The text of a stack's file, and what the operator should know of it. */
export interface FirstConfig {
  text: string;
  config: Config;
  notes: string[];
}

/** VMIDs of the servers: as many as seven and their successors need, with room for failed runs. */
const OF_SERVERS = 20;

/**
 * Makes the file of a stack.
 * @param isFree whether nobody has some VMIDs
 * @throws UserErrors that names everything that the site lacks, or that no configuration can be
 */
export async function proposeConfig(
  site: SiteSurvey,
  wishes: Wishes,
  isFree: (vmids: readonly number[]) => Promise<boolean>,
): Promise<FirstConfig> {
  const image = wishes.image ?? newest(site.templates);
  const copies = site.templates.filter(({ name }) => name === image);
  const [copy] = copies;
  if (copy === undefined || image === undefined) throw new UserErrors([noImage(site, wishes.image)]);
  const storage = wishes.storage ?? copy.storage ?? "local";
  const bridge = wishes.bridge ?? copy.bridge ?? "vmbr0";
  const hosts = wishes.hosts ?? hostsFor(site, copies);
  const pool = poolOf(site, wishes.pool);
  const problems = hosts.flatMap((host) => hostProblems(site, host, bridge));
  if (problems.length > 0) throw new UserErrors(problems);
  const ofWorkers = Math.max(20, Math.ceil((wishes.workers * 4) / 20) * 20);
  const first = wishes.firstVmid ?? (await findFree(site, OF_SERVERS + ofWorkers, isFree));
  const network = networkOf(site, hosts, bridge, wishes.firstAddress);
  const network6 = network6Of(site, hosts, bridge, wishes.firstAddress6);
  const text = render({
    ...wishes,
    pool,
    image,
    storage,
    bridge,
    hosts,
    first,
    ofWorkers,
    network,
    network6,
    diskGiB: diskOf(copies),
    fullClones: copy.storage !== undefined && copy.storage !== storage,
  });
  const { config = {} } = parse(text) as { config?: Record<string, unknown> };
  return {
    text,
    config: readConfig(ownSettings(config)),
    notes: [...notesOn(site, hosts, copies, network, wishes), ...notesOn6(network6, wishes)],
  };
}

/** The name of the newest image, by the version in its name. */
export function newest(templates: readonly SurveyedTemplate[]): string | undefined {
  const versionOf = (name: string) => (/-v(\d+)\.(\d+)\.(\d+)/.exec(name) ?? []).slice(1).map(Number);
  const byVersion = (a: string, b: string): number => {
    const [left, right] = [versionOf(a), versionOf(b)];
    return left.map((part, i) => part - (right[i] ?? 0)).find((difference) => difference !== 0) ?? 0;
  };
  const names = [...new Set(templates.map(({ name }) => name))].filter((name) => versionOf(name).length > 0);
  return names.toSorted(byVersion).at(-1);
}

/** The greatest disk of a template's copies: a clone's is at least as great. */
function diskOf(copies: readonly SurveyedTemplate[]): number | undefined {
  const known = copies.flatMap(({ diskGiB }) => diskGiB ?? []);
  return known.length === 0 ? undefined : Math.max(...known);
}

/** All hosts where the storage may be shared, and else those with a copy of the image. */
function hostsFor({ hosts }: SiteSurvey, copies: readonly SurveyedTemplate[]): string[] {
  const own = new Set(copies.map(({ host }) => host));
  const having = hosts.filter((host) => own.has(host));
  return having.length > 0 ? having : hosts;
}

function noImage(site: SiteSurvey, wanted: string | undefined): Problem {
  const names = [...new Set(site.templates.map(({ name }) => name))];
  return {
    what: wanted === undefined ? "the token sees no template that is an image" : `there is no template ${wanted}`,
    where: `templates that the token sees: ${names.join(", ") || "none"}`,
    todo: "bake or copy one into the pool of templates, with the tags eg-image and rke2-<version> (docs/production.md), then run again",
  };
}

function hostProblems({ hosts, bridges }: SiteSurvey, host: string, bridge: string): Problem[] {
  if (!hosts.includes(host))
    return [
      {
        what: `the Proxmox host ${host} does not answer, or there is none`,
        where: `hosts that answer: ${hosts.join(", ")}`,
        todo: "leave it out of --hosts: it can be added to site.hosts at any time",
      },
    ];
  const has = bridges.get(host)?.map(({ name }) => name) ?? [];
  // A token that only reads sees no bridge at all.
  if (has.length === 0 || has.includes(bridge)) return [];
  return [
    {
      what: `the Proxmox host ${host} has no bridge or VNet ${bridge}`,
      where: `${host} has ${has.join(", ")}`,
      todo: "name another one with --bridge, or leave the host out of --hosts",
    },
  ];
}

/** The Proxmox pool of the node VMs: the usual one, or the only one that the token sees. */
function poolOf({ pools }: SiteSurvey, wanted: string | undefined): string {
  const name = wanted ?? (pools.includes(USUAL_POOL) || pools.length !== 1 ? USUAL_POOL : (pools[0] ?? USUAL_POOL));
  if (pools.includes(name)) return name;
  throw new UserErrors([
    {
      what: `the token sees no Proxmox pool ${name} for the VMs of the nodes`,
      where: `pools that it sees: ${pools.join(", ") || "none"}`,
      todo: `make it (pveum pool add ${name}) and give the token its rights (docs/production.md, section 1), or name another one with --pool`,
    },
  ]);
}

const USUAL_POOL = "evergreen-nodes";

/** The first hundred of which, and of as many after it as are needed, nobody has a VMID. */
async function findFree(
  { vmids }: SiteSurvey,
  count: number,
  isFree: (vmids: readonly number[]) => Promise<boolean>,
): Promise<number> {
  const taken = new Set(vmids);
  for (let first = 1000; first < 1_000_000; first += 100) {
    const all = Array.from({ length: count }, (_, i) => first + i);
    if (!all.some((vmid) => taken.has(vmid)) && (await isFree(all))) return first;
  }
  throw new UserErrors([
    {
      what: `no ${count} VMIDs in a row are free`,
      where: "VMIDs from 1000 on",
      todo: "name the first one with --first-vmid",
    },
  ]);
}

function notesOn(
  site: SiteSurvey,
  hosts: readonly string[],
  copies: readonly SurveyedTemplate[],
  network: Network,
  { firstAddress, registrationAddress }: Wishes,
): string[] {
  const missing = site.hosts.filter((host) => !hosts.includes(host));
  return [
    `${registrationAddress} has to lead to port 9345 and 6443 of every server that is ready: a load balancer or a virtual address`,
    ...(firstAddress === undefined
      ? ["nodes get their addresses by DHCP: let it give each VM the same one always"]
      : []),
    ...(firstAddress !== undefined && network.gateway === undefined
      ? [
          `the gateway and the prefix length of the network of ${firstAddress} are not known: look at site.gateway and site.prefixLength`,
        ]
      : []),
    ...(diskOf(copies) === undefined
      ? [`Proxmox does not say how great the disk of ${copies[0]?.name ?? "the image"} is: look at diskGiB`]
      : []),
    ...(missing.length > 0
      ? [
          `${missing.join(", ")} get no VMs: no copy of ${copies[0]?.name ?? "the image"} is there; with shared storage add them to site.hosts`,
        ]
      : []),
    ...site.silent.map((host) => `${host} does not answer, and is left out of site.hosts`),
  ];
}

/** The networks of pods and services of RKE2, and some of IPv6 as in its documentation. */
const NETWORKS_OF_BOTH = '{ cluster-cidr: "10.42.0.0/16,fd00:42::/56", service-cidr: "10.43.0.0/16,fd00:43::/112" }';

interface Values extends Wishes {
  pool: string;
  image: string;
  storage: string;
  bridge: string;
  hosts: string[];
  first: number;
  ofWorkers: number;
  network: Network;
  network6: Network6;
  diskGiB: number | undefined;
  /** The nodes are on another storage than their template. */
  fullClones: boolean;
}

/** A text in quotes, unless YAML reads it as that text without them. */
const text = (value: string): string =>
  /^([a-z][\w.-]*|\d+(\.\d+){3})$/i.test(value) && !/^(true|false|null|yes|no|on|off|[yn])$/i.test(value)
    ? value
    : JSON.stringify(value);

function render(values: Values): string {
  const { cluster, registrationAddress, servers, workers, firstAddress, image, storage, bridge, hosts, first } = values;
  const { network, network6, ofWorkers, diskGiB, pool, fullClones, firstAddress6 } = values;
  const next = first + OF_SERVERS;
  const second = firstAddress === undefined ? undefined : addressAfter(firstAddress, OF_SERVERS);
  const second6 = firstAddress6 === undefined ? undefined : addressAfter(firstAddress6, OF_SERVERS);
  // Without an address of its own nothing is said of IPv6: it is shown as comments where the site has it.
  const hash = firstAddress6 === undefined ? "# " : "";
  const of6 = (indent: string, ...lines: [key: string, value: string | number | undefined][]): string =>
    firstAddress6 === undefined && !network6.isThere
      ? ""
      : lines.map(([key, value]) => (value === undefined ? "" : `\n${indent}${hash}${key}: ${value}`)).join("");
  const address6 = (own: string | undefined): [string, string] =>
    own === undefined ? ["ip6", "auto"] : ["firstAddress6", text(own)];
  const optional = (key: string, value: string | number | undefined, indent: string): string =>
    value === undefined ? "" : `\n${indent}${key}: ${value}`;
  return `# yaml-language-server: $schema=docs/stack.schema.json
# Made by \`evergreen init\`. What is left out has its default: npx evergreen explain KEY, docs/configuration.md.
config:
  # Part of every node's name: <cluster>-<pool>-<slot>-<generation>.
  evergreen:cluster: ${text(cluster)}

  evergreen:site:
    # In front of all ready servers, ports 9345 and 6443. No node may own it.
    registrationAddress: ${text(registrationAddress)}
    # The token may change VMs in this pool only.
    proxmoxPool: ${text(pool)}
    # New VMs go round these hosts, slot by slot.
    hosts: [${hosts.map(text).join(", ")}]
    storage: ${text(storage)}${optional("fullClones", fullClones ? "true" : undefined, "    ")}
    bridge: ${text(bridge)}${optional("gateway", network.gateway, "    ")}${optional("prefixLength", network.prefixLength, "    ")}${of6("    ", ["gateway6", network6.gateway && text(network6.gateway)], ["prefixLength6", network6.prefixLength])}

  evergreen:controlPlane:
    image: ${text(image)}
    servers: ${servers}
    cores: 4
    memoryMiB: 8192${optional("diskGiB", diskGiB, "    ")}
    # Nobody else may use these VMIDs${firstAddress === undefined ? "" : " and addresses"}: each VMID has the address at the same offset.
    vmIds: { first: ${first}, last: ${next - 1} }${optional("firstAddress", firstAddress && text(firstAddress), "    ")}${of6("    ", address6(firstAddress6), ["config", NETWORKS_OF_BOTH])}

  evergreen:pools:
    - name: workers
      image: ${text(image)}
      slots: ${workers}
      cores: 4
      memoryMiB: 8192${optional("diskGiB", diskGiB, "      ")}
      vmIds: { first: ${next}, last: ${next + ofWorkers - 1} }${optional("firstAddress", second, "      ")}${of6("      ", address6(second6))}
`;
}
