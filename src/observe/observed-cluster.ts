import { imageTags, labels } from "../domain/model/formats.ts";
import type { ObservedRegistries } from "./registries.ts";
import { withAddedDisks } from "./added-disks.ts";
import { observeBakes, withBakes, type ObservedBake } from "./baked-images.ts";
import { refuseAnotherCluster } from "./cluster-identity.ts";
import { asTagged, withAdopted, type ObservedAdoption } from "./adoption.ts";
import { UserError, UserErrors, type Problem } from "../runtime/errors.ts";
import { adoptionsOf, SERVER_POOL, type Config, type ImageCatalogue, type UnusableImages } from "../config/config.ts";
import { findAccess, type Access } from "../clients/kubernetes/access.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { ipAddressesOf, observedNode, nameOf, uuidOf } from "../clients/kubernetes/nodes.ts";
import { requireOwnCluster } from "../clients/kubernetes/own-cluster.ts";
import { readPoolRecord } from "../clients/kubernetes/record.ts";
import { paths, type Node } from "../clients/kubernetes/types.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { nodeTags } from "../clients/proxmox/tags.ts";
import { observeVms } from "../clients/proxmox/observed-vms.ts";
import { listVms, requireSight, findTaken, withName, type ListedVm } from "../clients/proxmox/vms.ts";
import { usualSpelling } from "../domain/model/address.ts";
import { confirmedDestroyed } from "../domain/rollout/allocation.ts";
import { inconsistencies } from "../domain/rollout/consistency.ts";
import { generationOf } from "../domain/model/generation.ts";
import type { ObservedNode, ObservedVm, ObservedPool, PoolRecord, PoolSpec } from "../domain/model/types.ts";
import { requireRemembered } from "./strange-members.ts";
import { requireReachableCluster, requireQuorum, explainUnreachable } from "./reachability.ts";

/** A template that nodes can be cloned from. */
export interface Image {
  name: string;
  /** RKE2 version that it contains. */
  rke2: string;
  /** Its copies: one template, or one on each of several Proxmox hosts. */
  templates: readonly { vmid: number; host: string }[];
}

/** The observed state: what both APIs report, read once. Every decision of a run is based on it. */
export interface ObservedCluster {
  images: ReadonlyMap<string, Image>;
  /** VMs that have the name of an image but are not usable templates, by name: what they lack. */
  unusable: UnusableImages;
  vms: ObservedVm[];
  nodes: ObservedNode[];
  /** IP addresses of Nodes of the cluster that are not ours. @default none */
  otherAddresses?: readonly string[];
  records: ReadonlyMap<string, PoolRecord>;
  /** Every VMID in the list that the token can see, and those of `hiddenVmids`. */
  takenVmids: number[];
  /** VMIDs of recorded nodes that are taken and not in the list: their VMs are invisible to the token. */
  hiddenVmids: number[];
  /** The adoption entries. `vms`, `nodes` and `records` are as they will be once the adopted nodes are taken over. */
  adoption: ObservedAdoption;
  /** Undefined before the first server has joined. */
  kubernetes: Kubernetes | undefined;
  /** Uid of the cluster, proved to be that of its VMs. @default there is none yet, or its API names none */
  uid?: string;
  /** Members that run with other registries than the configured ones. @default not asked */
  registries?: ObservedRegistries;
  /** Images that the stack bakes itself. Those that are not there yet are among `images`. @default none */
  bakes?: readonly ObservedBake[];
}

/**
 * Reads the observed state of a cluster.
 * @throws UserError when a part of it cannot be read: a partial state is not used
 */
export async function observeCluster(pve: Proxmox, config: Config): Promise<ObservedCluster> {
  await requireSight(pve, config.site.proxmoxPool);
  const adopted = new Set(adoptionsOf(config).map(({ vmid }) => vmid));
  const named = async (vm: ListedVm) =>
    vm.tags.includes(imageTags.image) || adopted.has(vm.vmid) ? await withName(pve, vm) : vm;
  const list = await Promise.all((await listVms(pve)).map(named));
  refuseAnotherCluster(config, list);
  const vms = await observeVms(pve, config.cluster, asTagged(list, config));
  const access = await findCluster(pve, config, list);
  if (access) await requireQuorum(pve, vms, access.client);
  else await requireReachableCluster(pve, vms);
  const uid =
    access && (await explainUnreachable(vms, requireOwnCluster(access, asTagged(list, config), config.cluster)));
  const all = access ? await explainUnreachable(vms, access.client.list<Node>(paths.nodes)) : { items: [] };
  const [ours, others] = parted(all.items, config.cluster);
  // An adopted Node has none of our labels yet.
  const nodes = adopted.size > 0 ? all.items : ours;
  const names = new Set([SERVER_POOL, ...config.pools, ...vms].map(poolName).concat(nodes.flatMap(poolLabel)));
  const records = access ? await Promise.all([...names].map((pool) => readPoolRecord(access.client, pool))) : [];
  if (access)
    await requireRemembered(pve, vms, {
      ...{ cluster: config.cluster, uid: uid ?? "", server: access.server.vmid, records },
      nodes: all.items.map((node) => ({ uuid: uuidOf(node) })),
    });
  const memory = new Map(records.map((record) => [record.pool, record]));
  const hidden = await findHiddenVmids(pve, list, nodes, records);
  const known = vms.map((vm) => fromMemory(vm, nodes, memory.get(vm.pool)));
  const now = nowOf({ kubernetes: access?.client });
  const seen = withAdopted(config, { list, vms: known, nodes, records: memory, now });
  const templates = images(list);
  const bakes = await observeBakes(pve, config, list, now);
  return {
    images: withBakes(templates, bakes),
    unusable: unusable(list),
    vms: await withAddedDisks(pve, seen.vms, seen.records, templates),
    nodes: parted(seen.nodes, config.cluster)[0].map(observedNode),
    otherAddresses: others.flatMap(ipAddressesOf),
    records: seen.records,
    adoption: seen.adoption,
    takenVmids: [...list.map((vm) => vm.vmid), ...hidden],
    hiddenVmids: hidden,
    kubernetes: access?.client,
    ...(bakes.length > 0 && { bakes }),
    ...(uid !== undefined && uid !== "" && { uid }),
  };
}

/**
 * Taken VMIDs of recorded nodes whose VM is not in the list. A retired node counts only while its Node exists: its VM
 * is checked once more before the engine destroys it.
 */
async function findHiddenVmids(
  pve: Proxmox,
  list: readonly ListedVm[],
  nodes: readonly Node[],
  records: readonly PoolRecord[],
): Promise<number[]> {
  const seen = new Set(list.map(({ vmid }) => vmid));
  const members = new Set(nodes.map(nameOf));
  const unseen = records
    .flatMap((record) => record.nodes)
    .filter(({ vmid, phase, name }) => !seen.has(vmid) && (phase !== "retired" || members.has(name)));
  return await findTaken(pve, [...new Set(unseen.map(({ vmid }) => vmid))]);
}

/** Finds the connection to the cluster of a stack. @returns undefined before its first server has joined */
export function findCluster(pve: Proxmox, config: Config, list: readonly ListedVm[]): Promise<Access | undefined> {
  return findAccess(pve, asTagged(list, config), { cluster: config.cluster, serverPool: SERVER_POOL, ...config.site });
}

/** The Nodes of this cluster's pools, and all others. */
function parted(all: readonly Node[], cluster: string): [ours: Node[], others: Node[]] {
  const isOurs = (node: Node) => node.metadata?.labels?.[labels.cluster] === cluster;
  return [all.filter(isOurs), all.filter((node) => !isOurs(node))];
}

function poolLabel(node: Node): string[] {
  const pool = node.metadata?.labels?.[labels.pool];
  return pool === undefined ? [] : [pool];
}

function poolName(of: string | { name: string } | ObservedVm): string {
  if (typeof of === "string") return of;
  return "pool" in of ? of.pool : of.name;
}

/** The identity of a VM that cannot be read, from the record or its Node. It suffices only to leave the VM alone. */
function fromMemory(vm: ObservedVm, nodes: readonly Node[], record: PoolRecord | undefined): ObservedVm {
  if (vm.unreachable === undefined) return vm;
  const own = record?.nodes.find(({ vmid, slot, generation }) => {
    return vmid === vm.vmid && slot === vm.slot && generation === vm.generation;
  });
  const name = own?.name ?? vm.name;
  const node = nodes.find((one) => nameOf(one) === name);
  return { ...vm, name, uuid: own?.uuid ?? (node && uuidOf(node)) ?? "" };
}

/** The current time by the cluster's clock, which the times in the record also come from. */
export const nowOf = ({ kubernetes }: Pick<ObservedCluster, "kubernetes">): Date => kubernetes?.now() ?? new Date();

/** The part of the observed state that concerns one pool. */
export function observedPool(observed: ObservedCluster, pool: string): ObservedPool {
  const ofPool = <T extends { pool: string }>(all: T[]): T[] => all.filter((one) => one.pool === pool);
  return {
    vms: ofPool(observed.vms),
    nodes: ofPool(observed.nodes),
    takenVmids: observed.takenVmids,
    hiddenVmids: observed.hiddenVmids,
    takenAddresses: takenAddresses(observed),
    ...(observed.registries && { outdated: observed.registries.outdated }),
  };
}

/**
 * Addresses of nodes that exist, also of those that are not ours. A range that moved, or that belongs to a pool with a new
 * name, gives a new VMID the address of another VMID of before.
 */
function takenAddresses({ records, otherAddresses = [], ...observed }: ObservedCluster): Set<string> {
  const recorded = [...records.values()].flatMap(({ nodes }) =>
    nodes.filter((one) => !confirmedDestroyed(one, observed)),
  );
  const known = recorded.flatMap(({ address = [], address6 = [] }) => [address, address6].flat());
  const shown = observed.nodes.flatMap(({ addresses = [] }) => addresses);
  return new Set([...known, ...shown, ...otherAddresses].map(usualSpelling));
}

/** Pools that still have VMs or Nodes but are not in the configuration any more. */
export function forgottenPools(observed: ObservedCluster, pools: readonly PoolSpec[]): string[] {
  const known = new Set(pools.map((pool) => pool.name));
  const alive = new Set([...observed.vms, ...observed.nodes].map((one) => one.pool));
  return [...alive].filter((pool) => !known.has(pool)).sort();
}

/** @throws UserErrors when the two APIs and the record contradict each other */
export function checkAgreement(observed: ObservedCluster, pools: readonly PoolSpec[]): void {
  if (observed.adoption.problems.length > 0) throw new UserErrors(observed.adoption.problems);
  const problems: Problem[] = pools.flatMap((pool) =>
    inconsistencies(
      pool.cluster,
      observedPool(observed, pool.name),
      observed.records.get(pool.name),
      generationOf(pool.node),
    ),
  );
  const { cluster = "" } = pools[0] ?? {};
  for (const pool of forgottenPools(observed, pools))
    problems.push(...inconsistencies(cluster, observedPool(observed, pool), observed.records.get(pool)));
  if (problems.length > 0) throw new UserErrors(problems);
}

/** RKE2 version by image, as the configuration needs it. */
export function catalogue(observed: ObservedCluster): ImageCatalogue {
  return new Map([...observed.images.values()].map(({ name, rke2 }) => [name, rke2]));
}

/** The template of an image that a plan names: the copy on the VM's host, or else the first copy. */
export function templateOf(observed: ObservedCluster, image: string, host: string): { vmid: number; host: string } {
  const copies = observed.images.get(image)?.templates ?? [];
  const found = copies.find((copy) => copy.host === host) ?? copies[0];
  if (found) return found;
  throw new UserError({
    what: `there is no template ${image}`,
    where: `templates that the token can see: ${[...observed.images.keys()].sort().join(", ") || "none"}`,
    todo: "bake or copy it, give it the tags eg-image and rke2-<version>, and put it into the pool of templates",
  });
}

/** Proxmox host of an existing VM of ours. */
export function hostOf({ vms }: Pick<ObservedCluster, "vms">, name: string): string | undefined {
  return vms.find((vm) => vm.name === name)?.host;
}

function images(list: readonly ListedVm[]): Map<string, Image> {
  const found = new Map<string, Image>();
  for (const vm of list) {
    const rke2 = vm.template ? rke2Of(vm.tags) : undefined;
    if (rke2 === undefined || vm.name === undefined) continue;
    const image: Image = found.get(vm.name) ?? { name: vm.name, rke2, templates: [] };
    refuseTwin(image, vm, rke2);
    found.set(vm.name, { ...image, templates: [...image.templates, { vmid: vm.vmid, host: vm.host }] });
  }
  return found;
}

/** Hosts with local storage each have a copy of a template, and all copies must have the same RKE2 version. */
function refuseTwin({ name, rke2, templates }: Image, vm: ListedVm, other: string): void {
  const twin = templates.find(({ host }) => host === vm.host) ?? (other === rke2 ? undefined : templates[0]);
  if (twin === undefined) return;
  const differ = other === rke2 ? `on one host, ${vm.host}` : `with different versions of RKE2, ${rke2} and ${other}`;
  throw new UserError({
    what: `two templates have the name ${name}, ${differ}`,
    where: `VM ${twin.vmid} on ${twin.host} and VM ${vm.vmid} on ${vm.host}`,
    todo: "remove one of them, or take the tag eg-image off it",
  });
}

/** VMs that the name of an image could mean: why they are not usable as templates, and what to do. */
function unusable(list: readonly ListedVm[]): UnusableImages {
  const found = new Map<string, Pick<Problem, "what" | "todo">>();
  for (const vm of list) {
    const title = `VM ${vm.vmid} on ${vm.host}`;
    if (vm.name === undefined || nodeTags(vm.tags)) continue;
    if (!vm.template)
      found.set(vm.name, {
        what: `${title} is called ${vm.name}, and is not a template`,
        todo: `shut it down and make it one (qm template ${vm.vmid}), or bake the image again`,
      });
    else if (rke2Of(vm.tags) === undefined)
      found.set(vm.name, {
        what: `the template ${vm.name} has not the tags of an image: it has ${vm.tags.join(", ") || "none"}`,
        todo: `give ${title} the tags eg-image and rke2-<version>, such as rke2-v1.34.4+rke2r1`,
      });
  }
  return found;
}

/** The RKE2 version in a template's tags; undefined when it is not tagged as an Evergreen image. */
export function rke2Of(tags: readonly string[]): string | undefined {
  if (!tags.includes(imageTags.image)) return undefined;
  return tags.find((tag) => tag.startsWith(imageTags.rke2))?.slice(imageTags.rke2.length);
}
