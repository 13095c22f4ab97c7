/**
 * The resources that a pool declares in a run and what each of them waits for, as data. The program turns them into
 * Pulumi resources (components/pool.ts); the simulation carries out the same data.
 */
import { learnerSeconds } from "../availability/quorum.ts";
import { startSeconds } from "../availability/starting.ts";
import type { BackupPolicy } from "../backup/snapshot.ts";
import { longestDying } from "../drain/drain.ts";
import { isAdopted } from "../model/generation.ts";
import { environmentOf, variables, type Site } from "../model/step-environment.ts";
import type { KeptVm, PlacedNode, PlacedPool, PlacedSlot } from "../model/types.ts";
import type { Registries } from "../model/registries.ts";
import { order, type SlotOrder } from "./order.ts";
import { strandedIn } from "./unreachable.ts";

/** Placeholder in `after` for everything that the whole pool comes after. */
export const BEFORE_POOL = "(before the pool)";

export interface GraphArgs {
  /** Name of the cluster. Another name is another cluster. */
  cluster: string;
  /** What this run does with the pool, and where its VMs are. Made anew by every run. */
  plan: PlacedPool;
  /**
   * What the steps need to know about the site: addresses, Proxmox pool, and the longest waits in seconds. A change of
   * it replaces no node.
   */
  site: Site;
  /** Whether `pulumi destroy` may tear the cluster down, as of this update. A change of it replaces no node. */
  allowDestroy: boolean;
  /**
   * Most VMs of the pool that are cloned at the same time.
   * @default as many as the strategy allows; all at once where nothing is replaced
   */
  clonesAtOnce?: number;
  /**
   * Servers: the requirements for the etcd snapshot that is made before a server leaves, or joins the only one.
   * @default none: no snapshot is made, as for agents
   */
  backup?: BackupPolicy;
  /**
   * Private registries and mirrors, with their credentials. A change of it replaces no node.
   * @default none: what the image has counts
   */
  registries?: Registries;
}

/** The fields that all resources of a pool have. */
interface Declared {
  /** Unique in a stack: the name of a node, or `<cluster>-<pool>-<what>`. */
  name: string;
  /** The slot that is its parent. Absent: its parent is the pool itself. */
  slot?: number;
  /** Names of resources that must exist or be done before; all of them come earlier in the list. */
  after: string[];
}

/** The VM of a node. */
export interface VmResource extends Declared {
  kind: "vm";
  node: PlacedNode;
}

/** A VM that stays exactly as it is in the engine's state. */
export interface KeptVmResource extends Declared {
  kind: "keptVm";
  kept: KeptVm;
}

export type StepVerb =
  "rollout" | "snapshot" | "registries" | "claim" | "retain" | "join" | "gate" | "handover" | "verify";
export type DeleteVerb = "release" | "retire";

/** A step that runs when it is new and when one of its inputs changes. */
export interface StepResource extends Declared {
  kind: "step";
  verb: StepVerb;
  /** The step that runs when this resource is deleted. Absent: none. */
  deleteVerb?: DeleteVerb;
  environment: Record<string, string>;
  /** Name of the step whose output becomes `EVERGREEN_ROLLOUT`. Absent: the variable is not set. */
  rollout?: string;
  /** Name of the VM whose VMID, once it is made, becomes `EVERGREEN_MADE_VMID`. Absent: the variable is not set. */
  madeVm?: string;
  /**
   * Longest duration of the step, in seconds; the step itself reports what it waited for. Absent: the engine's default.
   */
  limits?: { update: number; delete?: number };
  /** The resource stays as it is in the engine's state. */
  frozen?: true;
}

export type PoolResource = VmResource | KeptVmResource | StepResource;

/** Name of a pool's step that ends when every slot of its plan serves. */
export const verifyOf = (cluster: string, pool: string): string => `${cluster}-${pool}-verify`;

/**
 * The resources of a pool, each after everything that it waits for:
 *
 *     Rollout -> [Snapshot] -> [Registries] -> VM(slot) -> Claim(slot) -> Join(slot) -> [Gate] -> Handover(slot) -> [Registries] -> Verify
 *
 * A pool that was removed from the configuration and has only VMs that are kept for their data declares only these.
 */
export function poolGraph(args: GraphArgs): PoolResource[] {
  const { plan } = args;
  const kept = plan.kept.filter((one) => !isAdopted(one)).flatMap((one) => keptResources(args, one));
  if (plan.kind === "remove" && plan.slots.length === 0) return kept;
  return [...rolled(args), ...kept];
}

function rolled(args: GraphArgs): PoolResource[] {
  const orders = order(args.plan, args.clonesAtOnce);
  const rollout = poolStep(args, "rollout", [BEFORE_POOL]);
  const snapshot = snapshotOf(args);
  const reload = registriesOf(args, "registries", []);
  const begun = [rollout, ...snapshot, ...reload].map(({ name }) => name);
  const arrivals = orders.map((one) => [
    ...arrivalOf(args, one, begun),
    ...(one.gate ? [] : [handoverOf(args, one, [])]),
  ]);
  const joins = orders.map(({ slot }) => joinName(slotOf(args, slot)));
  const gate = gateOf(args, joins);
  const gates = gate.map(({ name }) => name);
  const gated = orders.filter((one) => one.gate).map((one) => handoverOf(args, one, gates));
  const handovers = orders.map(({ slot }) => handoverName(args, slot));
  // Nodes that were off, or for which there was no room, are back.
  const rest = registriesOf(args, "registries-rest", [...joins, ...handovers]);
  return [
    rollout,
    ...snapshot,
    ...reload,
    ...arrivals.flat(),
    ...gate,
    ...gated,
    ...rest,
    // A pool without slots has no join that would wait for the servers.
    verify(args, [rollout.name, ...joins, ...handovers, ...rest.map(({ name }) => name)]),
  ];
}

/** Declared for every pool of servers, so that it is never a new resource; it acts only when a server leaves, or joins the only one. */
function snapshotOf(args: GraphArgs): StepResource[] {
  const { cluster, site, plan, backup } = args;
  if (backup === undefined) return [];
  const rollout = poolName(args, "rollout");
  const snapshot: StepResource = {
    kind: "step",
    name: poolName(args, "snapshot"),
    after: [rollout],
    verb: "snapshot",
    environment: environmentOf({ cluster, site, plan, backup }),
    rollout,
    // To make it, to read it back, and to check whether an older snapshot is good enough.
    limits: { update: 3 * site.timeouts.snapshot },
  };
  return [snapshot];
}

/**
 * Changes the registries of nodes that run: once before any node is replaced, so that what is evicted starts on nodes
 * that can pull its images, and once when all of them serve.
 */
function registriesOf(args: GraphArgs, what: string, after: readonly string[]): StepResource[] {
  const { cluster, site, plan, registries } = args;
  // Without any, it is for nodes whose RKE2 does not start with those that it was given before.
  if (registries === undefined && plan.reloads === undefined) return [];
  const { gate, join, lease } = site.timeouts;
  const rollout = poolName(args, "rollout");
  const environment = { ...environmentOf({ cluster, site, plan }), ...registriesIn(registries) };
  const nodes = Math.max(1, plan.slots.length + plan.leaving.length);
  const limits = { update: nodes * (lease + 2 * gate + 2 * join) };
  return [
    {
      kind: "step",
      name: poolName(args, what),
      after: [rollout, ...after],
      verb: "registries",
      environment,
      rollout,
      limits,
    },
  ];
}

const registriesIn = (registries: Registries | undefined): Record<string, string> =>
  registries === undefined ? {} : { [variables.registries]: JSON.stringify(registries) };

/** VM, claim and join of a slot's node, and of nodes in the slot that cannot be destroyed now. */
function arrivalOf(
  args: GraphArgs,
  { slot, clone, vm, join, joined = [] }: SlotOrder,
  begun: readonly string[],
): PoolResource[] {
  const planned = slotOf(args, slot);
  const beforeVm = [
    BEFORE_POOL,
    ...begun,
    ...clone.map((one) => slotOf(args, one).name),
    ...vm.map((one) => handoverName(args, one)),
  ];
  const beforeJoin = [
    ...join.map((one) => handoverName(args, one)),
    ...joined.map((one) => joinName(slotOf(args, one))),
  ];
  const stranded = strandedIn(planned).flatMap((one) => nodeResources(args, one, [], []));
  return [...nodeResources(args, planned, beforeVm, beforeJoin), ...stranded];
}

function nodeResources(args: GraphArgs, node: PlacedNode, beforeVm: string[], beforeJoin: string[]): PoolResource[] {
  const { allowDestroy, site, registries } = args;
  const { name, slot } = node;
  const { agent, gate, join, lease, shutdown } = site.timeouts;
  const rollout = poolName(args, "rollout");
  // Their deletes may be part of a destroy without a guard (components/guard.ts).
  const environment = environmentOf({ ...slotFacts(args, node), ...(allowDestroy ? { allowDestroy } : {}) });
  const common = { kind: "step" as const, slot, environment, rollout };
  return [
    { kind: "vm", name, slot, after: beforeVm, node },
    {
      // Records the identity of the VM. Its delete runs between those of the join and the VM: the last identity check.
      ...common,
      name: claimName(node),
      after: [name],
      verb: "claim",
      deleteVerb: "release",
      // The plan identifies VMs by names and tags, which a copy has too.
      madeVm: name,
      limits: claimLimits(args),
    },
    {
      // Its delete decommissions the node if it still is a member: scale-in, removed pool, leftover of a failed run.
      ...common,
      environment: { ...environment, ...registriesIn(registries) },
      name: joinName(node),
      after: [claimName(node), ...beforeJoin],
      verb: "join",
      deleteVerb: "retire",
      // A server's join turns off other servers that have join data already, decommissions a dead predecessor, and
      // waits for the control plane before and after its own join. An agent's waits until an incomplete one may go.
      limits: {
        update: lease + 2 * agent + shutdown + 4 * gate + join + retirementSeconds(args),
        // The control plane is healthy before, and what it evicts runs elsewhere then.
        delete: 2 * gate + retirementSeconds(args) + startSeconds(site.timeouts),
      },
    },
  ];
}

/**
 * The step that hands a slot over to its node, decommissions every other node of the slot, and waits for the evicted
 * pods.
 */
function handoverOf(args: GraphArgs, { slot, handover }: SlotOrder, gates: readonly string[]): StepResource {
  const { timeouts } = args.site;
  const node = slotOf(args, slot);
  const leaving = Math.max(1, node.replaces.length);
  return {
    kind: "step",
    name: handoverName(args, slot),
    slot,
    after: [joinName(node), ...gates, ...handover.map((one) => handoverName(args, one))],
    verb: "handover",
    environment: environmentOf(slotFacts(args, node)),
    rollout: poolName(args, "rollout"),
    // Before each the control plane is healthy; what was evicted finds a place, and starts.
    limits: {
      update: leaving * (2 * timeouts.gate + retirementSeconds(args)) + timeouts.gate + startSeconds(timeouts),
    },
  };
}

/**
 * Blue-green: no node leaves before every new node has joined, including those that replace none. The gate checks every
 * slot and must not wait for a join that is still running. It is declared also when nothing moves, so that it is never
 * a new resource.
 */
function gateOf(args: GraphArgs, joins: readonly string[]): StepResource[] {
  const { plan, site } = args;
  if (plan.role !== "agent" || plan.strategy.kind !== "blueGreen") return [];
  const gate = poolStep(args, "gate", [poolName(args, "rollout"), ...joins]);
  return [{ ...gate, limits: { update: site.timeouts.gate } }];
}

function verify(args: GraphArgs, after: string[]): StepResource {
  const { plan, site } = args;
  // Slots that are given up may hold incomplete nodes, which leave one after the other.
  const leaving = plan.leaving.length * (3 * site.timeouts.gate + retirementSeconds(args));
  return {
    ...poolStep(args, "verify", after),
    limits: { update: site.timeouts.gate + plan.strategy.soakSeconds + leaving },
  };
}

function poolStep(args: GraphArgs, verb: "rollout" | "gate" | "verify", after: string[]): StepResource {
  const { cluster, site, plan } = args;
  const environment = environmentOf({ cluster, site, plan });
  const told = verb === "rollout" ? {} : { rollout: poolName(args, "rollout") };
  return { kind: "step", name: poolName(args, verb), after, verb, environment, ...told };
}

/**
 * The VM and the claim of a node that leaves or has left while its disks hold the only copy of some data. They are
 * declared as they are in the engine's state, so that the engine does not change them; it deletes both when they are no
 * longer declared. The join is not declared: its delete decommissions the node if it has no slot any more.
 */
function keptResources(args: GraphArgs, kept: KeptVm): PoolResource[] {
  const { slot, name, vmid, generation: id, spec } = kept;
  const planned = spec && { slot, name, vmid, generation: { id, spec }, creates: false, replaces: [] };
  return [
    { kind: "keptVm", name, slot, after: [], kept },
    {
      kind: "step",
      name: claimName(kept),
      slot,
      after: [name, BEFORE_POOL],
      // A node that was made before there were claims gets a claim that changes nothing.
      verb: "retain",
      deleteVerb: "release",
      environment: planned ? environmentOf(slotFacts(args, planned)) : {},
      limits: claimLimits(args),
      frozen: true,
    },
  ];
}

function slotFacts<S>({ cluster, site, plan: { pool, role, strategy } }: GraphArgs, slot: S) {
  return { cluster, site, pool, role, strategy, slot };
}

function slotOf({ plan }: GraphArgs, slot: number): PlacedSlot {
  const found = plan.slots.find((candidate) => candidate.slot === slot);
  if (!found) throw new Error(`the order names slot ${slot} of ${plan.pool}, which the plan does not have`);
  return found;
}

const poolName = ({ cluster, plan }: GraphArgs, what: string): string => `${cluster}-${plan.pool}-${what}`;
const claimName = ({ name }: { name: string }): string => `${name}-claim`;
const joinName = ({ name }: { name: string }): string => `${name}-join`;
const handoverName = (args: GraphArgs, slot: number): string => poolName(args, `${slot}-handover`);

function claimLimits(args: GraphArgs): { update: number; delete: number } {
  const { timeouts } = args.site;
  return {
    update: timeouts.agent + timeouts.lease,
    delete: timeouts.gate + retirementSeconds(args) + startSeconds(timeouts),
  };
}

/** Longest time to decommission a node, in seconds. */
function retirementSeconds({ site, plan: { role } }: GraphArgs): number {
  const { lease, gate, storage, drain, volumes, shutdown } = site.timeouts;
  // Only with Longhorn: until another node takes replicas, until they are rebuilt, and until Longhorn's node is
  // deleted.
  const longhorn = gate + storage + gate;
  // A lock of Proxmox on the VM: before the node is disturbed, and before it is powered off.
  const locks = gate + drain;
  // A voter that does not serve gets the time to; and the join of a server without a Node ends before it is turned off, and
  // after that.
  const vote = gate + (role === "server" ? 2 * (learnerSeconds + gate) : 0);
  return lease + longestDying + locks + vote + longhorn + drain + volumes + shutdown;
}
