/**
 * What a pool declares in a run, as data: its resources and what each of them waits for. The program turns it into Pulumi
 * resources (components/node-pool.ts); the simulation carries out the same.
 */
import type { BackupPolicy } from "../backup/snapshot.ts";
import { isAdopted } from "../model/generation.ts";
import { environmentOf, type Site, type Timeouts } from "../model/step-environment.ts";
import type { KeptVm, PlacedNode, PlacedPool, PlacedSlot } from "../model/types.ts";
import { order, type SlotOrder } from "./order.ts";
import { strandedIn } from "./unreachable.ts";

/** Stands, in `after`, for everything that the pool as a whole comes after. */
export const BEFORE_POOL = "(before the pool)";

export interface GraphArgs {
  cluster: string;
  plan: PlacedPool;
  /** What steps are told of the place that they work in. */
  site: Site;
  /** Whether `pulumi destroy` may take the cluster away, as of this update. */
  allowDestroy: boolean;
  /** Servers: what the etcd snapshot must be that is made before one of them leaves. */
  backup?: BackupPolicy;
}

/** What every resource of a pool has. */
interface Declared {
  /** Unique in a stack: the name of a node, or `<cluster>-<pool>-<what>`. */
  name: string;
  /** The slot that it is declared under. Absent: under the pool itself. */
  slot?: number;
  /** Names of resources that have to be there, or done, before; none comes later in the list. */
  after: string[];
}

/** The VM of a node. */
export interface VmResource extends Declared {
  kind: "vm";
  node: PlacedNode;
}

/** A VM that stays exactly as the state has it. */
export interface KeptVmResource extends Declared {
  kind: "keptVm";
  kept: KeptVm;
}

export type StepVerb = "rollout" | "snapshot" | "claim" | "retain" | "join" | "gate" | "handover" | "verify";
export type DeleteVerb = "release" | "retire";

/** A step that runs when it is new and when one of its inputs changes. */
export interface StepResource extends Declared {
  kind: "step";
  verb: StepVerb;
  /** What runs when it is declared no more. Absent: nothing. */
  deleteVerb?: DeleteVerb;
  environment: Record<string, string>;
  /** Name of the step whose output is `EVERGREEN_ROLLOUT`. Absent: the step is told none. */
  rollout?: string;
  /** Name of the VM whose number, once it is made, is `EVERGREEN_MADE_VMID`. Absent: the step is told none. */
  madeVm?: string;
  /** Longest time that the step takes, in seconds; the step says what it waited for. Absent: that of the engine. */
  limits?: { update: number; delete?: number };
  /** It stays as the state has it. */
  frozen?: true;
}

export type PoolResource = VmResource | KeptVmResource | StepResource;

/** Name of the step of a pool that ends when every slot of its plan serves. */
export const verifyOf = (cluster: string, pool: string): string => `${cluster}-${pool}-verify`;

/**
 * The resources of a pool, each after all that it waits for:
 *
 *     Rollout -> [Snapshot] -> VM(slot) -> Claim(slot) -> Join(slot) -> [Gate] -> Handover(slot) -> Verify
 *
 * Of a pool that left the configuration, and has nothing but VMs that are kept for their data, these alone.
 */
export function poolGraph(args: GraphArgs): PoolResource[] {
  const { plan } = args;
  const kept = plan.kept.filter((one) => !isAdopted(one)).flatMap((one) => keptResources(args, one));
  if (plan.kind === "remove" && plan.slots.length === 0) return kept;
  return [...rolled(args), ...kept];
}

function rolled(args: GraphArgs): PoolResource[] {
  const orders = order(args.plan);
  const rollout = poolStep(args, "rollout", [BEFORE_POOL]);
  const snapshot = snapshotOf(args);
  const begun = [rollout, ...snapshot].map(({ name }) => name);
  const arrivals = orders.map((one) => [
    ...arrivalOf(args, one, begun),
    ...(one.gate ? [] : [handoverOf(args, one, [])]),
  ]);
  const joins = orders.map(({ slot }) => joinName(slotOf(args, slot)));
  const gate = gateOf(args, joins);
  const gates = gate.map(({ name }) => name);
  const gated = orders.filter((one) => one.gate).map((one) => handoverOf(args, one, gates));
  const handovers = orders.map(({ slot }) => handoverName(args, slot));
  return [rollout, ...snapshot, ...arrivals.flat(), ...gate, ...gated, verify(args, [...joins, ...handovers])];
}

/** Declared for every pool of servers, so that it is never new; it acts where one leaves. */
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
    // Making it, reading it back, and looking whether an older one will do.
    limits: { update: 3 * site.timeouts.snapshot },
  };
  return [snapshot];
}

/** VM, claim and join of a slot's node, and those of nodes in it that nobody can destroy now. */
function arrivalOf(args: GraphArgs, { slot, clone, vm, join }: SlotOrder, begun: readonly string[]): PoolResource[] {
  const planned = slotOf(args, slot);
  const beforeVm = [
    BEFORE_POOL,
    ...begun,
    ...clone.map((one) => slotOf(args, one).name),
    ...vm.map((one) => handoverName(args, one)),
  ];
  const beforeJoin = join.map((one) => handoverName(args, one));
  const stranded = strandedIn(planned).flatMap((one) => nodeResources(args, one, [], []));
  return [...nodeResources(args, planned, beforeVm, beforeJoin), ...stranded];
}

function nodeResources(args: GraphArgs, node: PlacedNode, beforeVm: string[], beforeJoin: string[]): PoolResource[] {
  const { allowDestroy, site } = args;
  const { name, slot } = node;
  const { agent, gate, join, lease, shutdown } = site.timeouts;
  const rollout = poolName(args, "rollout");
  // Their deletes may be part of a destroy that meets no guard (components/guard.ts).
  const environment = environmentOf({ ...slotFacts(args, node), ...(allowDestroy ? { allowDestroy } : {}) });
  const common = { kind: "step" as const, slot, environment, rollout };
  return [
    { kind: "vm", name, slot, after: beforeVm, node },
    {
      // Records whose VM it is. Its delete comes between that of the join and that of the VM: the last look at whose it is.
      ...common,
      name: claimName(node),
      after: [name],
      verb: "claim",
      deleteVerb: "release",
      // The plan goes by names and tags, which a copy has too.
      madeVm: name,
      limits: claimLimits(site.timeouts),
    },
    {
      // Its delete retires the node if it still is a member: scale-in, a removed pool, what a failed run left.
      ...common,
      name: joinName(node),
      after: [claimName(node), ...beforeJoin],
      verb: "join",
      deleteVerb: "retire",
      // A server holds back who was told before it, takes a dead predecessor out, and waits for the others before and after it.
      limits: {
        update: lease + 2 * agent + shutdown + 3 * gate + join + retirementSeconds(site.timeouts),
        delete: gate + retirementSeconds(site.timeouts),
      },
    },
  ];
}

/** The step that gives a slot to its node, retires every other node of it, and waits for what was evicted. */
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
    limits: { update: leaving * (timeouts.gate + retirementSeconds(timeouts)) + timeouts.gate },
  };
}

/**
 * Blue-green: nobody leaves before everybody has come, also who replaces nobody: the gate looks at every slot, and must not
 * wait for a join that is still under way. Declared also when nothing moves, so that it is never new.
 */
function gateOf(args: GraphArgs, joins: readonly string[]): StepResource[] {
  const { plan, site } = args;
  if (plan.role !== "agent" || plan.strategy.kind !== "blueGreen") return [];
  const gate = poolStep(args, "gate", [poolName(args, "rollout"), ...joins]);
  return [{ ...gate, limits: { update: site.timeouts.gate } }];
}

function verify(args: GraphArgs, after: string[]): StepResource {
  const { plan, site } = args;
  // Slots that go may hold half-made nodes, which leave one after the other.
  const leaving = plan.leaving.length * (site.timeouts.gate + retirementSeconds(site.timeouts));
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
 * The VM and the claim of a node that leaves or has left with data on its disks alone. Declared as the state has them, so that
 * the engine does nothing to them; it deletes both when they are declared no more. Its join is not: the delete of that retires
 * the node if it has no slot any more.
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
      // A node of a time without claims gets one that claims nothing.
      verb: "retain",
      deleteVerb: "release",
      environment: planned ? environmentOf(slotFacts(args, planned)) : {},
      limits: claimLimits(args.site.timeouts),
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

function claimLimits(timeouts: Timeouts): { update: number; delete: number } {
  return { update: timeouts.agent + timeouts.lease, delete: timeouts.gate + retirementSeconds(timeouts) };
}

/** Longest time that it takes to take a node out, in seconds. */
function retirementSeconds({ lease, gate, storage, drain, volumes, shutdown }: Timeouts): number {
  // Only where Longhorn is: another node to be open for replicas, the replicas to be there, and the node to be forgotten.
  const longhorn = gate + storage + gate;
  // A lock of Proxmox on the VM, before the node is disturbed and before it is turned off.
  const locks = gate + drain;
  return lease + locks + longhorn + drain + volumes + shutdown;
}
