import type { Problem } from "../runtime/errors.ts";
import { addressProblems, sharedAddresses, type AddressOwner } from "./address-checks.ts";
import { adoptionProblems, type AdoptingPool } from "./adopt.ts";
import { bakeProblems, bakesBetween } from "./bake-checks.ts";
import { hardwareProblems } from "./hardware-checks.ts";
import type { HardwareConfig } from "./hardware-schema.ts";
import { nodeHardware } from "./node-hardware.ts";
import { hostLabelProblems, labelProblems } from "./label-checks.ts";
import { registryProblems } from "./registries.ts";
import { rke2KeyProblems } from "./rke2-keys.ts";
import type { Config, PoolConfig } from "./schema.ts";
import { imageTags, vmTags } from "../domain/model/formats.ts";
import { hasBothFamilies, rangeProblems } from "../domain/rollout/ip-families.ts";
import { nameProblems } from "../domain/model/generation.ts";
import { withWeight } from "../domain/rollout/host-choice.ts";

/** A pool of agents, or the servers: the owner of a range of VMIDs. */
interface Owner extends HardwareConfig, AddressOwner {
  name: string;
  slots: number;
  /** Number of VMIDs that it needs: a new node has its VMID while the old node still has its own. */
  needs: number;
  cores: number;
  memoryMiB: number;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  tags?: string[];
  taints: string[];
  startupTaints: string[];
  config: Record<string, unknown>;
  adopt: AdoptingPool["adopt"];
  hosts?: string[];
}

/** Checks that concern more than one value. All of them run, so that the user can correct everything at once. */
export function crossProblems(config: Config, serverPool: string): Problem[] {
  const owners = ownersOf(config, serverPool);
  return [
    ...owners.flatMap((owner) => naming(config.cluster, owner)).filter(isFirst),
    ...reserved(config, serverPool),
    ...evenServers(config),
    ...weightProblems(config, owners),
    ...owners.flatMap(ranges),
    ...owners.flatMap((owner) => addressProblems(owner, config.site)),
    ...pairs(owners).flatMap(([a, b]) => overlaps(a, b)),
    ...bakeProblems(config, owners),
    ...owners.flatMap(({ path, config: keys }) => rke2KeyProblems(path, keys)),
    ...rangeProblems(config.controlPlane.config),
    ...(hasBothFamilies(config.controlPlane.config) ? owners.flatMap((owner) => unfound(owner, config.site)) : []),
    ...adoptionProblems(owners),
    ...owners.flatMap(({ path, cores, memoryMiB, ...own }) =>
      hardwareProblems({ path, cores, memoryMiB, hardware: nodeHardware(own, config.site.defaults) }),
    ),
    ...hostLabelProblems(config.site),
    ...owners.flatMap((owner) => [...labelProblems(owner, config.site), ...taintProblems(owner)]),
    ...owners.flatMap(annotationProblems),
    ...tagProblems(config.site.defaults.tags, "evergreen:site.defaults"),
    ...owners.flatMap(({ tags, path }) => tagProblems(tags, path)),
    ...config.pools.flatMap((pool, i) => strategyProblems(pool, `evergreen:pools[${i}].strategy`)),
    ...registryProblems(config),
  ];
}

function ownersOf({ controlPlane, pools }: Config, serverPool: string): Owner[] {
  const { servers } = controlPlane;
  const control = {
    ...controlPlane,
    path: "evergreen:controlPlane",
    name: serverPool,
    slots: servers,
    needs: servers + 1,
  };
  return [control, ...pools.map((pool, i) => ({ ...pool, path: `evergreen:pools[${i}]`, needs: 2 * pool.slots }))];
}

function pairs(owners: readonly Owner[]): [Owner, Owner][] {
  return owners.flatMap((a, i) => owners.slice(i + 1).map((b): [Owner, Owner] => [a, b]));
}

function naming(cluster: string, { name, slots, path }: Owner): Problem[] {
  return nameProblems(cluster, name, slots).map((problem) => ({
    ...problem,
    where: problem.where === "cluster" ? "evergreen:cluster" : `${path}.name`,
  }));
}

/** Drops repeated problems: an invalid cluster name is found once for every pool. */
function isFirst({ where, what }: Problem, at: number, all: readonly Problem[]): boolean {
  return all.findIndex((other) => other.where === where && other.what === what) === at;
}

function reserved({ pools }: Config, serverPool: string): Problem[] {
  return pools.flatMap(({ name }, i) => {
    const twin = name === serverPool ? "controlPlane" : pools.findIndex((pool) => pool.name === name);
    if (twin === i) return [];
    const other = twin === "controlPlane" ? "the servers" : `evergreen:pools[${twin}]`;
    return [
      {
        what: `the name ${name} belongs to ${other}`,
        where: `evergreen:pools[${i}].name`,
        todo: "give the pool another name",
      },
    ];
  });
}

function evenServers({ controlPlane: { servers } }: Config): Problem[] {
  if (servers % 2 === 1 && servers <= 7) return [];
  return [
    {
      what: `${servers} servers are not a good number: etcd needs a majority, and an even one more survives no more failures`,
      where: "evergreen:controlPlane.servers",
      todo: "use 1, 3, 5 or 7",
    },
  ];
}

/** Weights of hosts that nothing is made on, and pools whose hosts take nothing. */
function weightProblems({ site }: Config, owners: readonly Owner[]): Problem[] {
  const { hostWeights: weights } = site;
  if (weights === undefined) return [];
  const known = new Set([...site.hosts, ...owners.flatMap(({ hosts = [] }) => hosts)]);
  const where = "evergreen:site.hostWeights";
  const unknown = Object.keys(weights).filter((host) => !known.has(host));
  const facts = { weights };
  const full = owners.filter(({ slots, hosts = site.hosts }) => slots > 0 && withWeight(hosts, facts).length === 0);
  return [
    ...unknown.map((host) => ({
      what: `${host} has a weight, and is among no hosts of this configuration`,
      where: `${where}["${host}"]`,
      todo: `correct the name or remove it; the hosts are ${[...known].join(", ")}`,
    })),
    ...full.map(({ name, path, hosts }) => ({
      what: `all hosts of ${name} have the weight 0: no new VM of it has a place`,
      where: `${hosts === undefined ? "evergreen:site" : path}.hosts`,
      todo: `give one of them a weight in ${where}, or add another host`,
    })),
  ];
}

function ranges({ path, vmIds: { first, last }, needs, slots }: Owner): Problem[] {
  const where = `${path}.vmIds`;
  if (first > last)
    return [{ what: `the range ${first}-${last} ends before it begins`, where, todo: "swap first and last" }];
  const size = last - first + 1;
  if (size >= needs) return [];
  return [
    {
      what: `${size} VMIDs are too few for ${slots} slots: old and new nodes exist side by side until a run has ended`,
      where,
      todo: `make the range at least ${needs} wide, better twice as wide: a failed run may leave VMs`,
    },
  ];
}

function overlaps(a: Owner, b: Owner): Problem[] {
  const problems: Problem[] = [];
  if (meet([a.vmIds.first, a.vmIds.last], [b.vmIds.first, b.vmIds.last])) {
    problems.push({
      what: `its VMIDs ${b.vmIds.first}-${b.vmIds.last} overlap with ${a.vmIds.first}-${a.vmIds.last} of ${a.name}`,
      where: `${b.path}.vmIds`,
      todo: `move it, or ${a.path}.vmIds: a VMID belongs to one pool`,
    });
  }
  for (const where of sharedAddresses(b, a))
    problems.push({
      what: `its addresses overlap with those of ${a.name}`,
      where,
      todo: "move one of them: each VMID of a range has an address of its own",
    });
  return problems;
}

/** RKE2 is told the addresses of a node when both are known, and finds one of IPv6 only beside a default route of IPv6. */
function unfound({ path, ...owner }: Owner, { gateway6 }: Config["site"]): Problem[] {
  const isFound = owner.firstAddress ?? owner.addresses ?? gateway6;
  if (isFound !== undefined || (owner.firstAddress6 ?? owner.addresses6) === undefined) return [];
  return [
    {
      what: "RKE2 may not find these IPv6 addresses: those of IPv4 are of DHCP, and IPv6 has no gateway",
      where: `${path}.${owner.addresses6 ? "addresses6" : "firstAddress6"}`,
      todo: "set evergreen:site.gateway6, or give the nodes IPv4 addresses of their own too",
    },
  ];
}

/** Checks two clusters of one program: neither sees what the other is about to make. */
export function betweenClusters(one: Config, other: Config, serverPool: string): Problem[] {
  const problems: Problem[] = [];
  if (one.cluster === other.cluster)
    problems.push({
      what: `the program has another cluster with the name ${one.cluster}`,
      where: "evergreen:cluster",
      todo: "give each cluster a name of its own",
    });
  if (one.site.registrationAddress === other.site.registrationAddress)
    problems.push({
      what: `the cluster ${other.cluster} has the same registration address`,
      where: "evergreen:site.registrationAddress",
      todo: "give each cluster an address of its own",
    });
  const pools = ownersOf(one, serverPool).flatMap((a) => ownersOf(other, serverPool).map((b) => [a, b] as const));
  return [
    ...problems,
    ...pools.flatMap(([a, b]) => foreignRanges(a, b, other.cluster)),
    ...bakesBetween(one, other, ownersOf(other, serverPool)),
  ];
}

function foreignRanges(own: Owner, its: Owner, cluster: string): Problem[] {
  const whose = `${its.name} in the cluster ${cluster}`;
  const problems: Problem[] = [];
  if (meet([own.vmIds.first, own.vmIds.last], [its.vmIds.first, its.vmIds.last]))
    problems.push({
      what: `its VMIDs are also those of ${whose}`,
      where: `${own.path}.vmIds`,
      todo: "move one of the ranges: a VMID belongs to one pool of one cluster",
    });
  for (const where of sharedAddresses(own, its))
    problems.push({
      what: `its addresses are also those of ${whose}`,
      where,
      todo: "move one of them: each VMID of a range has an address of its own",
    });
  return problems;
}

function meet([a, b]: [number, number], [c, d]: [number, number]): boolean {
  return a <= d && c <= b;
}

/** Prefixes of annotations that Kubernetes, RKE2 and Evergreen write themselves. */
const RESERVED = /(^|\.)(kubernetes\.io|k8s\.io|rke2\.io|k3s\.io|cattle\.io)$/;
const MOST_ANNOTATIONS = 8192;

function annotationProblems({ annotations, path }: Owner): Problem[] {
  const size = Object.entries(annotations).reduce((sum, [key, value]) => sum + Buffer.byteLength(key + value), 0);
  const reserved = Object.keys(annotations).flatMap((key): Problem[] => {
    const where = `${path}.annotations["${key}"]`;
    const prefix = key.includes("/") ? key.slice(0, key.indexOf("/")) : "";
    if (prefix === "evergreen.dev")
      return [{ what: `${key} is an annotation of Evergreen's own`, where, todo: "choose another prefix" }];
    if (!RESERVED.test(prefix)) return [];
    return [
      {
        what: `annotations under ${prefix}/ are written by Kubernetes or RKE2 itself`,
        where,
        todo: "remove it; what has to have it can be told with kubectl annotate, once the node is there",
      },
    ];
  });
  if (size <= MOST_ANNOTATIONS) return reserved;
  return [
    ...reserved,
    {
      what: `the annotations have ${size} bytes, and ${MOST_ANNOTATIONS} have a place in the record of a pool`,
      where: `${path}.annotations`,
      todo: "shorten them, or keep what is long in a ConfigMap",
    },
  ];
}

/** Tags that say whose a VM is, and what a template is. */
function tagProblems(tags: readonly string[] = [], path: string): Problem[] {
  return tags.flatMap((tag, i) =>
    tag === vmTags.ours || tag.startsWith("eg-") || tag.startsWith(imageTags.rke2)
      ? [
          {
            what: `the tag ${tag} is one of Evergreen's own, or looks like one`,
            where: `${path}.tags[${i}]`,
            todo: `choose another one: ${vmTags.ours}, eg-... and ${imageTags.rke2}... tell whose a VM is and what a template has`,
          },
        ]
      : [],
  );
}

/** Finds taints with the same key and effect: a kubelet does not start with two of them, whatever their values. */
function taintProblems({ taints, startupTaints, path }: Owner): Problem[] {
  const all = [
    ...taints.map((taint) => ({ taint, where: `${path}.taints` })),
    ...startupTaints.map((taint) => ({ taint, where: `${path}.startupTaints` })),
  ];
  return all.flatMap(({ taint, where }, i) => {
    const twin = all.slice(0, i).find((one) => identity(one.taint) === identity(taint));
    if (twin === undefined) return [];
    return {
      what: `${taint} has the key and the effect of ${twin.taint} in ${twin.where}: a kubelet does not start with both`,
      where,
      todo: "leave one of them: one in startupTaints goes once its daemon works, one in taints stays",
    };
  });
}

const identity = (taint: string) => taint.replace(/=[^:]*/, "");

function strategyProblems({ slots, strategy }: PoolConfig, path: string): Problem[] {
  const { kind, surge, maxUnavailable, canary, soakSeconds } = strategy;
  // A pool without nodes has no shares of them.
  if (slots === 0) return [];
  const problems: Problem[] = [];
  const add = (key: string, what: string, todo: string) => problems.push({ what, where: `${path}.${key}`, todo });
  const wide = surge === undefined ? undefined : nodesOf(surge, slots, Math.ceil, 0);
  if (kind === "blueGreen" && wide !== undefined && wide !== slots) {
    add(
      "surge",
      "blueGreen brings all new nodes before any old one leaves",
      "remove surge, or use the strategy rolling",
    );
  }
  if (wide === 0)
    add("surge", "no surge is not possible: a new node comes before the old one leaves", "use at least 1");
  if (slots > 1 && nodesOf(maxUnavailable, slots, Math.floor) >= slots)
    add("maxUnavailable", `this could take all ${slots} slots out at once`, `use at most ${slots - 1}`);
  if (canary === undefined) return problems;
  const first = nodesOf(canary, slots, Math.ceil, 0);
  if (first === 0) add("canary", "a canary of nobody proves nothing", "use at least 1, or remove it");
  if (first >= slots && slots > 1)
    add("canary", `the canary would be all ${slots} slots`, `use at most ${slots - 1}, or remove it`);
  if (soakSeconds === 0) add("soakSeconds", "a canary that is not watched proves nothing", "set a soak, such as 600");
  return problems;
}

/**
 * The nodes that a share means: a number, or a percentage of the slots. A percentage above 0 gives at least `least`.
 */
export function nodesOf(share: number | string, slots: number, round: (value: number) => number, least = 1): number {
  if (typeof share === "number") return share;
  const percent = Number.parseInt(share, 10);
  return Math.max(percent === 0 ? 0 : least, round((percent * slots) / 100));
}
