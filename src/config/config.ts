import { crossProblems, nodesOf } from "./checks.ts";
import type { HardwareConfig } from "./hardware-schema.ts";
import { nodeHardware } from "./node-hardware.ts";
import { schema, type Config, type PoolConfig } from "./schema.ts";
import { schemaProblems } from "./messages.ts";
import { parseRegistries } from "./registries.ts";
import { UserErrors, type Problem } from "../runtime/errors.ts";
import type { Adoption } from "../domain/rollout/adoption.ts";
import type { BackupPolicy } from "../domain/backup/snapshot.ts";
import type { Site } from "../domain/model/step-environment.ts";
import type { LocalVolumePolicy, NodeSpec, PoolSpec, Range, Strategy } from "../domain/model/types.ts";
import { parseVersion } from "../domain/versions/versions.ts";

export type { Config, PoolConfig } from "./schema.ts";

/** Name of the pool of servers; agent pools have names of their own. */
export const SERVER_POOL = "servers";

/** RKE2 version by template name, for the templates of the site. */
export type ImageCatalogue = ReadonlyMap<string, string>;

/** VMs whose name cannot be used as an image, by name: the reason, and what to do. */
export type UnusableImages = ReadonlyMap<string, Pick<Problem, "what" | "todo">>;

const NAMESPACE = "evergreen:";
const PROVIDER = "proxmoxve:";

/**
 * Evergreen's own keys of a stack's configuration, without the namespace. The engine passes every value as text, and
 * writes some as text into the file, so a text that is valid JSON is parsed.
 * @throws UserErrors that names every `proxmoxve:` key: with it the provider alone would connect to another Proxmox
 */
export function ownSettings(all: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const foreign = Object.keys(all).filter((key) => key.startsWith(PROVIDER));
  if (foreign.length > 0) throw new UserErrors(foreign.map(providersOwn));
  const own = Object.entries(all).filter(([key]) => key.startsWith(NAMESPACE));
  const settings = Object.fromEntries(own.map(([key, value]) => [key.slice(NAMESPACE.length), valueOf(value)]));
  return "registries" in settings ? { ...settings, registries: parseRegistries(settings.registries) } : settings;
}

function providersOwn(key: string): Problem {
  return {
    what: `${key} is set: the provider would reach Proxmox in another way than the program and its steps`,
    where: "the configuration of the stack, its ESC environments, or Pulumi.yaml",
    todo: `remove it (pulumi config rm ${key}) and export PROXMOX_VE_ENDPOINT and PROXMOX_VE_API_TOKEN: they count for all of us`,
  };
}

function valueOf(value: unknown): unknown {
  if (typeof value !== "string") return value;
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

/**
 * Reads a stack's configuration and fills in the defaults.
 * @param raw every key under `evergreen:`, without that prefix
 * @throws UserErrors with every problem, each with the path of its key
 */
export function readConfig(raw: unknown): Config {
  const read = schema.safeParse(raw);
  const problems = read.success ? crossProblems(read.data, SERVER_POOL) : schemaProblems(read.error, raw);
  if (!read.success || problems.length > 0) throw new UserErrors(problems);
  return read.data;
}

/** The facts about the site that steps get: addresses, pools and timeouts. */
export function stepSite({ site, timeouts }: Config): Site {
  return {
    registrationAddress: site.registrationAddress,
    proxmoxPool: site.proxmoxPool,
    serverPool: SERVER_POOL,
    ...topologyOf(site),
    timeouts: {
      agent: timeouts.agentSeconds,
      join: timeouts.joinSeconds,
      drain: timeouts.drainSeconds,
      storage: timeouts.storageSeconds,
      volumes: timeouts.volumesSeconds,
      shutdown: timeouts.shutdownSeconds,
      lease: timeouts.leaseSeconds,
      gate: timeouts.gateSeconds,
      snapshot: timeouts.snapshotSeconds,
    },
  };
}

function topologyOf({ zones, hostLabel }: Config["site"]): Pick<Site, "topology"> {
  const topology = { ...(zones === undefined ? {} : { zones }), ...(hostLabel === undefined ? {} : { hostLabel }) };
  return Object.keys(topology).length > 0 ? { topology } : {};
}

/** The requirements for the etcd snapshot that is made before the first server is decommissioned, or a second one joins the only one. */
export function backupPolicy({ backup: { minimumKiB, maximumAgeSeconds, s3 } }: Config): BackupPolicy {
  return { leastBytes: minimumKiB * 1024, mostSeconds: maximumAgeSeconds, ...(s3 && { s3 }) };
}

/**
 * The pools that the configuration asks for, the servers first.
 * @throws UserErrors when an image is missing or unusable
 */
export function poolSpecs(config: Config, images: ImageCatalogue, unusable: UnusableImages = new Map()): PoolSpec[] {
  const wanted = [
    { image: config.controlPlane.image, where: "evergreen:controlPlane.image" },
    ...config.pools.map(({ image, name }, i) => ({ image, where: `evergreen:pools[${i}].image (${name})` })),
  ];
  const problems = wanted.flatMap(({ image, where }) => {
    const known = images.has(image) ? undefined : unusable.get(image);
    return known ? [{ ...known, where }] : imageProblems(image, where, images);
  });
  if (problems.length > 0) throw new UserErrors(problems);
  const rke2 = (image: string) => images.get(image) ?? "";
  return [
    { ...serverSpec(config, rke2), localVolumes: localVolumePolicy(config, config.controlPlane.localVolumes) },
    ...config.pools.map((pool) => ({
      ...agentSpec(config, pool, rke2),
      localVolumes: localVolumePolicy(config, pool.localVolumes),
    })),
  ];
}

/** @param own the pool's own setting; absent: it has none, or the pool left the configuration */
export function localVolumePolicy(
  { localVolumes: { whenNodesLeave, keepDays } }: Pick<Config, "localVolumes">,
  own: Config["localVolumes"]["whenNodesLeave"] = whenNodesLeave,
): LocalVolumePolicy {
  return { mayLeave: own === "keep", keepSeconds: keepDays * 86_400 };
}

function imageProblems(image: string, where: string, images: ImageCatalogue): Problem[] {
  const rke2 = images.get(image);
  if (rke2 === undefined) {
    const known = [...images.keys()].toSorted().join(", ");
    return [
      {
        what: `there is no template ${image}`,
        where,
        todo: `use one that the token can see (${known || "none"}), or give the template the tags eg-image and rke2-<version>; one on a Proxmox host that does not answer is not seen`,
      },
    ];
  }
  if (parseVersion(rke2) !== undefined) return [];
  return [
    {
      what: `the template ${image} is tagged with "${rke2}", which is not an RKE2 version`,
      where,
      todo: "tag it with rke2- and the version that is in it, such as rke2-v1.34.4+rke2r1",
    },
  ];
}

/** Every adoption entry of the configuration, the servers first. */
export function adoptionsOf({ controlPlane, pools }: Config): Adoption[] {
  const owners = [
    { adopt: controlPlane.adopt, pool: SERVER_POOL, role: "server" as const, path: "evergreen:controlPlane" },
    ...pools.map(({ adopt, name }, i) => ({
      adopt,
      pool: name,
      role: "agent" as const,
      path: `evergreen:pools[${i}]`,
    })),
  ];
  return owners.flatMap(({ adopt, pool, role, path }) =>
    adopt.map((entry, i) => ({ ...entry, pool, role, where: `${path}.adopt[${i}]` })),
  );
}

type Versions = (image: string) => string;

function serverSpec({ cluster, controlPlane, site }: Config, rke2: Versions): PoolSpec {
  const sans = site.tlsSans.length > 0 ? { "tls-san": site.tlsSans } : {};
  return {
    cluster,
    name: SERVER_POOL,
    role: "server",
    slots: controlPlane.servers,
    node: {
      ...nodeSpec({ ...controlPlane, config: { ...controlPlane.config, ...sans } }, site, rke2),
      // Servers had none of these once, and an empty one in their specification would run each of their steps again.
      ...(controlPlane.rollout > 0 ? { rollout: controlPlane.rollout } : {}),
      ...(Object.keys(controlPlane.labels).length > 0 ? { labels: controlPlane.labels } : {}),
      ...(controlPlane.taints.length > 0 ? { taints: controlPlane.taints } : {}),
      ...(controlPlane.startupTaints.length > 0 ? { startupTaints: controlPlane.startupTaints } : {}),
    },
    strategy: serverStrategy(controlPlane),
    range: rangeOf(controlPlane),
  };
}

/**
 * At most one etcd member more than slots, and one server at a time: nothing else is safe, so nothing else can be
 * configured.
 */
function serverStrategy({ onFailure, replaceOnlyServer }: Config["controlPlane"]): Strategy {
  return {
    kind: "rolling",
    surge: 1,
    maxUnavailable: 1,
    soakSeconds: 0,
    onFailure,
    ...(replaceOnlyServer ? { replaceOnlyServer } : {}),
  };
}

function agentSpec({ cluster, site }: Config, pool: PoolConfig, rke2: Versions): PoolSpec {
  const { labels, taints, startupTaints, rollout } = pool;
  return {
    cluster,
    name: pool.name,
    role: "agent",
    slots: pool.slots,
    node: {
      ...nodeSpec(pool, site, rke2),
      labels,
      taints,
      ...(startupTaints.length > 0 ? { startupTaints } : {}),
      rollout,
    },
    strategy: strategyOf(pool),
    range: rangeOf(pool),
  };
}

type NodeConfig = Pick<PoolConfig, "image" | "cores" | "memoryMiB" | "diskGiB" | "annotations" | "config"> &
  HardwareConfig;

function nodeSpec(node: NodeConfig, { defaults }: Config["site"], rke2: Versions): NodeSpec {
  const { image, cores, memoryMiB, diskGiB, annotations, config } = node;
  const hardware = nodeHardware(node, defaults);
  const more = {
    ...(Object.keys(hardware).length > 0 ? { hardware } : {}),
    ...(Object.keys(annotations).length > 0 ? { annotations } : {}),
  };
  return { image, rke2: rke2(image), cores, memoryMiB, diskGiB, config, ...more };
}

function strategyOf({ slots, strategy }: PoolConfig): Strategy {
  const { kind, surge = 1, maxUnavailable, canary, soakSeconds, onFailure } = strategy;
  return {
    kind,
    // Blue-green runs all old and all new nodes at the same time.
    surge: kind === "blueGreen" ? slots : Math.min(slots, nodesOf(surge, slots, Math.ceil)),
    // 0 means, as in Kubernetes, never fewer serving nodes than slots. A value of 1 already guarantees that: the
    // successor serves before its predecessor is decommissioned.
    maxUnavailable: Math.max(1, nodesOf(maxUnavailable, slots, Math.floor)),
    ...(canary === undefined ? {} : { canary: { nodes: nodesOf(canary, slots, Math.ceil) } }),
    soakSeconds,
    onFailure,
  };
}

type Addresses = "firstAddress" | "addresses" | "firstAddress6" | "addresses6";

function rangeOf({ vmIds, ...given }: Pick<PoolConfig, "vmIds" | Addresses>): Range {
  const { firstAddress, addresses, firstAddress6, addresses6 } = given;
  return {
    ...vmIds,
    ...(firstAddress === undefined ? {} : { firstAddress }),
    ...(addresses === undefined ? {} : { addresses }),
    ...(firstAddress6 === undefined ? {} : { firstAddress6 }),
    ...(addresses6 === undefined ? {} : { addresses6 }),
  };
}
