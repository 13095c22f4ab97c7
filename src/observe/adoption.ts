import { UserError, type Problem } from "../runtime/errors.ts";
import { adoptionsOf, type Config } from "../config/config.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { findNode, isServer, labelsOf, nameOf, relabel, uuidOf } from "../clients/kubernetes/nodes.ts";
import { writeFacts } from "../clients/kubernetes/record.ts";
import type { Node } from "../clients/kubernetes/types.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { mark, proveUnmarked, unmark } from "../clients/proxmox/marks.ts";
import { nodeTags, tagsOf, type NodeTags } from "../clients/proxmox/tags.ts";
import type { ListedVm } from "../clients/proxmox/vms.ts";
import { adoptionProblems, isOver, type Adoption, type AdoptionFacts } from "../domain/rollout/adoption.ts";
import { adoptedGeneration, isAdopted } from "../domain/model/generation.ts";
import type { ObservedVm, NodeRecord, PoolRecord } from "../domain/model/types.ts";
import { labels } from "../domain/model/formats.ts";

/** What an adopted node still lacks before every step treats it as one of Evergreen's nodes. */
interface Pending {
  record: NodeRecord;
  pool: string;
  host: string;
  /** Whether its Node has no Evergreen labels yet. */
  unlabelled: boolean;
  untagged: boolean;
  unremembered: boolean;
}

/** An adopted VM whose node has left the cluster: Evergreen does not manage it any more. */
interface Released {
  vm: ObservedVm;
  tagged: boolean;
}

/** The adoption entries of the configuration, compared with what both APIs report. */
export interface ObservedAdoption {
  problems: Problem[];
  pending: Pending[];
  released: Released[];
}

/** What was read, before the adoption entries are applied to it. */
interface Seen {
  list: readonly ListedVm[];
  vms: readonly ObservedVm[];
  /** All Nodes of the cluster, including those that Evergreen does not manage. */
  nodes: readonly Node[];
  records: ReadonlyMap<string, PoolRecord>;
  /** By the cluster's clock, as every time in the record. */
  now: Date;
}

const place = (cluster: string, { pool, slot, node }: Adoption): NodeTags => ({
  cluster,
  pool,
  slot,
  generation: adoptedGeneration(node),
});

/**
 * The list of VMs as it will be once adopted VMs have Evergreen's tags. Name and VMID identify an adopted VM here, as
 * name and tags identify any other: this is enough to read it. Its uuid is checked before anything is done to it.
 */
export function asTagged(list: readonly ListedVm[], config: Config): ListedVm[] {
  const entries = new Map(adoptionsOf(config).map((entry) => [entry.vmid, entry]));
  return list.map((vm) => {
    const entry = entries.get(vm.vmid);
    if (entry === undefined || vm.name !== entry.node || vm.template || nodeTags(vm.tags) !== undefined) return vm;
    return { ...vm, tags: [...vm.tags, ...tagsOf(place(config.cluster, entry))] };
  });
}

/** Applies the adoption entries to what was read: adopted nodes appear as they will be once they are taken over. */
export function withAdopted(
  config: Config,
  seen: Seen,
): Pick<Seen, "vms" | "nodes" | "records"> & { adoption: ObservedAdoption } {
  const entries = adoptionsOf(config).map((adoption) => factsOf(config, adoption, seen));
  const standing = entries.filter((facts) => !isOver(facts));
  const problems = [...standing.flatMap(adoptionProblems), ...strays(config, standing, seen)];
  const pending = problems.length > 0 ? [] : standing.flatMap(({ adoption }) => pendingOf(adoption, seen));
  const released = releasedOf(seen);
  const gone = new Set(released.map(({ vm }) => vm));
  return {
    vms: seen.vms.filter((vm) => !gone.has(vm) && !standsOver(vm, entries)),
    nodes: seen.nodes.map((node) => {
      const facts = standing.find(({ adoption }) => adoption.node === nameOf(node));
      return facts ? relabelled(node, place(config.cluster, facts.adoption)) : node;
    }),
    records: withMemory(seen.records, pending),
    adoption: { problems, pending, released },
  };
}

/**
 * True for a VM that only an adoption entry assigns to Evergreen, when that entry is over: it is not managed any more.
 */
function standsOver(vm: ObservedVm, entries: readonly AdoptionFacts[]): boolean {
  return entries.some(
    (facts) => facts.adoption.vmid === vm.vmid && facts.vm?.claims === undefined && isAdopted(vm) && isOver(facts),
  );
}

function factsOf({ cluster, site }: Config, adoption: Adoption, { list, vms, nodes, records }: Seen): AdoptionFacts {
  const wanted = place(cluster, adoption);
  const listed = list.find(({ vmid }) => vmid === adoption.vmid);
  const read = vms.find(({ vmid }) => vmid === adoption.vmid);
  const node = nodes.find((one) => nameOf(one) === adoption.node);
  const tags = listed && nodeTags(listed.tags);
  const own = node?.metadata?.labels ?? {};
  const ours = own[labels.cluster] !== undefined;
  const said = {
    cluster: own[labels.cluster],
    pool: own[labels.pool],
    slot: own[labels.slot],
    generation: own[labels.generation],
  };
  return {
    adoption,
    proxmoxPool: site.proxmoxPool,
    vm: listed && {
      // The list has no name of a VM whose host does not answer, or reports no statistics.
      name: listed.name ?? read?.name,
      uuid: read?.uuid === "" ? undefined : read?.uuid,
      template: listed.template,
      pool: listed.pool,
      claims: tags && claim(tags, wanted),
    },
    node: node && {
      uuid: uuidOf(node),
      role: isServer(node) ? "server" : "agent",
      ours,
      claims: ours ? claim(said, wanted) : undefined,
    },
    record: records.get(adoption.pool),
  };
}

type Said = { [Key in keyof NodeTags]: NodeTags[Key] | string | undefined };

function claim(said: Said, wanted: NodeTags): string | undefined {
  const text = ({ cluster, pool, slot, generation }: Said) =>
    `slot ${slot ?? "?"} of pool ${pool ?? "?"} in cluster ${cluster ?? "?"}, generation ${generation ?? "?"}`;
  return text(said) === text(wanted) ? undefined : text(said);
}

/** Servers without a slot would permanently stay beside the new ones, so either all servers are adopted or none. */
function strays({ cluster }: Config, standing: readonly AdoptionFacts[], { nodes }: Seen): Problem[] {
  const servers = standing.filter(({ adoption }) => adoption.role === "server");
  if (servers.length === 0) return [];
  const known = new Set(standing.map(({ adoption }) => adoption.node));
  const strangers = nodes.filter(
    (node) => isServer(node) && node.metadata?.labels?.[labels.cluster] !== cluster && !known.has(nameOf(node)),
  );
  if (strangers.length === 0) return [];
  return [
    {
      what: `servers of the cluster are in no slot: ${strangers.map(nameOf).join(", ")}`,
      where: "evergreen:controlPlane.adopt",
      todo: "adopt all servers, with controlPlane.servers as many as there are: `npx evergreen adopt` writes the entries",
    },
  ];
}

function pendingOf(adoption: Adoption, { list, nodes, records, now }: Seen): Pending[] {
  const { pool, slot, vmid, uuid, node: name } = adoption;
  const vm = list.find((one) => one.vmid === vmid);
  const node = nodes.find((one) => nameOf(one) === name);
  if (vm === undefined) return [];
  const pending = {
    pool,
    host: vm.host,
    record: {
      name,
      slot,
      generation: adoptedGeneration(name),
      vmid,
      uuid,
      phase: "handedOver" as const,
      since: now.toISOString(),
    },
    unlabelled: node !== undefined && node.metadata?.labels?.[labels.cluster] === undefined,
    untagged: nodeTags(vm.tags) === undefined,
    unremembered: records.get(pool)?.nodes.every((one) => one.uuid !== uuid) ?? true,
  };
  return pending.unlabelled || pending.untagged || pending.unremembered ? [pending] : [];
}

/** Adopted VMs whose node was decommissioned and has left the cluster: Evergreen does not manage them any more. */
function releasedOf({ list, vms, nodes, records }: Seen): Released[] {
  return vms.flatMap((vm) => {
    const record = records.get(vm.pool)?.nodes.find(({ uuid }) => uuid === vm.uuid);
    const member = nodes.some(
      (node) => nameOf(node) === vm.name && node.metadata?.labels?.[labels.cluster] !== undefined,
    );
    if (!isAdopted(vm) || record?.phase !== "retired" || member) return [];
    return [{ vm, tagged: nodeTags(list.find(({ vmid }) => vmid === vm.vmid)?.tags ?? []) !== undefined }];
  });
}

function relabelled(node: Node, as: NodeTags): Node {
  return { ...node, metadata: { ...node.metadata, labels: { ...labelsOf(as), ...node.metadata?.labels } } };
}

function withMemory(records: ReadonlyMap<string, PoolRecord>, pending: readonly Pending[]): Map<string, PoolRecord> {
  const all = new Map(records);
  for (const { pool, record, unremembered } of pending) {
    const known = all.get(pool) ?? { pool, generations: [], nodes: [] };
    if (unremembered) all.set(pool, { ...known, nodes: [...known.nodes, record] });
  }
  return all;
}

/** Lines about a pool's adopted VMs that have left the cluster. */
export function releasedWords({ released }: ObservedAdoption, pool: string): string[] {
  return released
    .filter(({ vm }) => vm.pool === pool)
    .map(
      ({ vm }) =>
        `  ${vm.name} has left the cluster: VM ${vm.vmid} is ${vm.running ? "on again" : "off"} and yours to delete`,
    );
}

/**
 * Takes over the nodes that the configuration adopts: the record first, then the labels, then the tags, each after a
 * check that the VM is the one that the entry names. What a killed run has done already is not repeated. After that an
 * adopted node is decommissioned like any other node. Evergreen's tags are removed from VMs that have left the cluster.
 * @returns a line for each node that was taken over or released
 */
export async function adoptNodes(
  pve: Proxmox,
  kubernetes: Kubernetes | undefined,
  cluster: string,
  { pending, released }: ObservedAdoption,
): Promise<string[]> {
  if (kubernetes === undefined) return [];
  const said: string[] = [];
  for (const one of pending) {
    await takeOverOne(pve, kubernetes, cluster, one);
    const { name, vmid, slot } = one.record;
    said.push(`${name} (VM ${vmid}) is taken over as ${one.pool} slot ${slot}`);
  }
  for (const { vm, tagged } of released) {
    if (!tagged) continue;
    const { vmid, name, uuid, host } = vm;
    await unmark(pve, host, { vmid, name, uuid, tags: [] });
    said.push(`${name} has left: our tags are off VM ${vmid}`);
  }
  return said;
}

async function takeOverOne(pve: Proxmox, kubernetes: Kubernetes, cluster: string, pending: Pending): Promise<void> {
  const { pool, record, host } = pending;
  const { name, slot, generation, vmid, uuid } = record;
  const as = { cluster, pool, slot, generation };
  const expected = { vmid, name, uuid, tags: [] };
  await proveUnmarked(pve, host, expected, as);
  const node = await findNode(kubernetes, name);
  if (node !== undefined && uuidOf(node) !== uuid)
    throw new UserError({
      what: `Node ${name} became another machine while it was taken over: its SMBIOS uuid is ${uuidOf(node)}`,
      where: `pool ${pool}, slot ${slot}; the configuration says ${uuid}`,
      todo: "nothing was done to it; look at that node, then run again",
    });
  if (pending.unremembered) await writeFacts(kubernetes, pool, { nodes: [record] });
  if (pending.unlabelled && node !== undefined) await relabel(kubernetes, node, labelsOf(as));
  if (pending.untagged) await mark(pve, host, expected, as);
}
