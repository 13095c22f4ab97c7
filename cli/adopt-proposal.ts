import { SERVER_POOL, type Config } from "../src/config/config.ts";
import type { ObservedNode, Role } from "../src/domain/model/types.ts";
import { ipv6AloneProblems, missingFamilyProblems, rangeProblems } from "../src/domain/rollout/ip-families.ts";
import { UserErrors } from "../src/runtime/errors.ts";
import { withChanges } from "./stack-file.ts";

/** A VM that may be the machine of a Node. */
export interface CandidateVm {
  vmid: number;
  name: string;
  uuid: string;
  template: boolean;
  /** Proxmox pool. */
  pool: string | undefined;
  /** Whether its guest agent answers; read only for VMs that could be adopted. */
  answers: boolean;
}

/** A Node of the cluster. */
export interface CandidateNode {
  name: string;
  uuid: string;
  role: Role;
  /** ISO 8601. */
  created: string;
  /** Pool and slot, when Evergreen already manages it. */
  ours: { pool: string; slot: number } | undefined;
}

/** An entry under a pool's `adopt`. */
export interface Entry {
  slot: number;
  vmid: number;
  uuid: string;
  node: string;
}

export interface Proposal {
  /** New entries by pool, the servers first. */
  entries: Map<string, Entry[]>;
  /** Nodes that are not adopted, with the reason. */
  untouched: { node: string; why: string }[];
  /** What to correct before the next update. */
  notes: string[];
}

/** Proposes adoption entries: servers for the control plane, agents for one pool, the oldest first. */
export function propose(
  config: Config,
  nodes: readonly CandidateNode[],
  vms: readonly CandidateVm[],
  agentPool: string | undefined,
): Proposal {
  const proposal: Proposal = { entries: new Map(), untouched: [], notes: [] };
  const byAge = nodes.toSorted((a, b) => a.created.localeCompare(b.created) || a.name.localeCompare(b.name));
  const places = new Map(poolsOf(config).map((pool) => [pool.name, freeSlots(pool, nodes)]));
  const adopted = new Set(poolsOf(config).flatMap(({ adopt }) => adopt.map(({ node }) => node)));
  for (const node of byAge) {
    const pool = node.role === "server" ? SERVER_POOL : agentPool;
    const same = vms.filter(({ uuid }) => uuid === node.uuid);
    // A copy or a restored backup that is off has the same uuid.
    const answering = same.filter(({ answers }) => answers);
    const vm = answering.length === 1 ? answering[0] : same[0];
    const double = same.length > 1 && answering.length !== 1 ? doubleWords(same) : undefined;
    const why = adopted.has(node.name)
      ? "the configuration adopts it already"
      : (double ?? whyNot(config, node, vm, pool));
    const slot = why === undefined && pool !== undefined ? places.get(pool)?.shift() : undefined;
    if (why !== undefined || pool === undefined || vm === undefined || slot === undefined)
      proposal.untouched.push({
        node: node.name,
        why: why ?? `pool ${pool ?? ""} has no free slot: give it more slots`,
      });
    else
      proposal.entries.set(pool, [
        ...(proposal.entries.get(pool) ?? []),
        { slot, vmid: vm.vmid, uuid: vm.uuid, node: node.name },
      ]);
  }
  proposal.notes.push(...serverNotes(config, nodes));
  return proposal;
}

interface Place {
  name: string;
  slots: number;
  adopt: readonly Entry[];
}

function poolsOf({ controlPlane, pools }: Config): Place[] {
  return [{ name: SERVER_POOL, slots: controlPlane.servers, adopt: controlPlane.adopt }, ...pools];
}

function freeSlots({ name, slots, adopt }: Place, nodes: readonly CandidateNode[]): number[] {
  const taken = new Set([
    ...adopt.map(({ slot }) => slot),
    ...nodes.flatMap(({ ours }) => (ours?.pool === name ? [ours.slot] : [])),
  ]);
  return Array.from({ length: slots }, (_, slot) => slot).filter((slot) => !taken.has(slot));
}

function doubleWords(same: readonly CandidateVm[]): string {
  const names = same.map(({ vmid, name }) => `VM ${vmid} (${name || "no name"})`).join(" and ");
  return `${names} have its SMBIOS uuid, and one is a copy: do not start that one; give it another uuid (qm set VMID --smbios1 uuid=...), or delete it`;
}

function whyNot(
  { site }: Config,
  node: CandidateNode,
  vm: CandidateVm | undefined,
  pool: string | undefined,
): string | undefined {
  if (node.ours !== undefined) return `it is ours already: pool ${node.ours.pool}, slot ${node.ours.slot}`;
  if (vm === undefined)
    return `no VM that the token sees has its SMBIOS uuid (${node.uuid || "not reported"}): move its VM into the pool ${site.proxmoxPool}, if it is one`;
  if (vm.template) return `VM ${vm.vmid} is a template`;
  if (vm.pool !== site.proxmoxPool) return `VM ${vm.vmid} is not in the pool ${site.proxmoxPool}: move it there`;
  if (vm.name !== node.name)
    return `VM ${vm.vmid} has the name ${vm.name || "(none)"}: VM and Node must have one name, so rename the VM`;
  if (!vm.answers) return `the guest agent of VM ${vm.vmid} does not answer: install and start qemu-guest-agent there`;
  return pool === undefined
    ? "the configuration has several pools of agents, or none: name one with --pool"
    : undefined;
}

function serverNotes({ controlPlane }: Config, nodes: readonly CandidateNode[]): string[] {
  const servers = nodes.filter(({ role }) => role === "server");
  if (servers.some(({ ours }) => ours !== undefined) || servers.length === controlPlane.servers) return [];
  return [
    `the cluster has ${servers.length} servers and controlPlane.servers is ${controlPlane.servers}: they have to be as many`,
  ];
}

/** What is known of the addresses of a cluster's nodes, and of its networks. */
export type AddressedNode = Pick<ObservedNode, "name" | "addresses" | "lifelongKeys">;

/**
 * What a cluster with IPv6 needs in the configuration before its nodes are replaced.
 * @throws UserErrors when it has IPv6 alone, or first: nothing can be configured for that
 */
export function familyNotes({ controlPlane, pools, site }: Config, nodes: readonly AddressedNode[]): string[] {
  const [foreign] = nodes.flatMap(({ lifelongKeys = {} }) => rangeProblems(lifelongKeys));
  const refused = [
    ...ipv6AloneProblems(nodes),
    ...(foreign === undefined
      ? []
      : [
          {
            ...foreign,
            where: "the arguments of RKE2 on its servers",
            todo: "leave the cluster out of Evergreen for now: its networks stay as they are for its whole life",
          },
        ]),
  ];
  if (refused.length > 0) throw new UserErrors(refused);
  const owners = [
    { ...controlPlane, name: SERVER_POOL, path: "evergreen:controlPlane" },
    ...pools.map((pool, i) => ({ ...pool, path: `evergreen:pools[${i}]` })),
  ].map(({ name, path, firstAddress6, addresses6, ip6 }) => ({
    ...{ name, path, isMade: true, nodes: [] },
    isTold: [firstAddress6, addresses6, ip6].some((key) => key !== undefined),
  }));
  const cluster = { config: controlPlane.config, registrationAddress: site.registrationAddress, nodes };
  return missingFamilyProblems(cluster, owners).map(({ what, where, todo }) => `${where}: ${todo} (${what})`);
}

/** The entries as YAML for a stack's file. */
export function shown({ entries }: Proposal): string {
  return [...entries]
    .map(([pool, list]) =>
      [
        `# ${pool === SERVER_POOL ? "evergreen:controlPlane" : `pool ${pool}`}`,
        "adopt:",
        ...list.map((entry) => `  - ${inFlow(entry)}`),
      ].join("\n"),
    )
    .join("\n");
}

function inFlow({ slot, vmid, uuid, node }: Entry): string {
  return `{ slot: ${slot}, vmid: ${vmid}, uuid: ${uuid}, node: ${node} }`;
}

/** The text of a stack's file with the entries in it. @throws UserError when a pool is not a map of YAML there */
export function withEntries(text: string, config: Config, { entries }: Proposal, file: string): string {
  return withChanges({ text, file }, config, entries, (pool, list) => {
    for (const entry of list) pool.append("adopt", entry);
  });
}
