import type { BackupPolicy } from "../backup/snapshot.ts";
import type { NodeSpec, PlanVerdict, PoolPlan, Role, SlotPlan, Strategy } from "./types.ts";

/** How long a step waits, all in seconds. Each wait says what it waits for, and what blocks it when the time is over. */
export interface Timeouts {
  /** Power on until the guest agent answers. */
  agent: number;
  /** Join data written until the Node is Ready and passes its gates. */
  join: number;
  /** The Longhorn replicas of a node rebuilt elsewhere, before its pods are evicted. */
  storage: number;
  /** All pods of a node evicted. */
  drain: number;
  /** All volumes of a drained node detached. */
  volumes: number;
  /** ACPI shutdown; after it the power is cut. */
  shutdown: number;
  /** Another step of the same slot, or a free ticket of the pool. */
  lease: number;
  /** Every planned node of a pool proved, in `gate` and `verify`, beside the soak. */
  gate: number;
  /** An etcd snapshot made, uploaded and published. */
  snapshot: number;
}

/** Fits a site with local NVMe storage or a Ceph pool that is not overloaded. */
export const defaultTimeouts: Timeouts = {
  agent: 300,
  join: 600,
  storage: 1800,
  drain: 900,
  volumes: 300,
  shutdown: 120,
  lease: 1800,
  gate: 300,
  snapshot: 600,
};

/** What a step needs to know of the place that it works in. Nothing of it is secret, nothing a path. */
export interface Site {
  /** Name or IPv4 address in front of the ready servers: port 9345 (supervisor) and 6443 (API). No node owns it. */
  registrationAddress: string;
  /** Proxmox pool that holds the node VMs. */
  proxmoxPool: string;
  /** Name of the pool of servers, in whose VMs the kubeconfig and the server token are found. */
  serverPool: string;
  timeouts: Timeouts;
}

/** A slot of a plan, reduced to what stays the same once the plan is carried out. */
export interface PlannedSlot {
  slot: number;
  name: string;
  vmid: number;
  generation: string;
  /** Proxmox host of its node, which did not answer when the run was planned: nothing is asked of it. */
  unreachable?: string;
}

/** A plan as the steps of a pool see it. */
export interface StepPlan {
  digest: string;
  /** As in the plan: what the last step of the pool remembers. */
  healing?: string;
  slots: PlannedSlot[];
}

/** What a step may be told; which verb needs what is checked when it is read (src/steps/input.ts). */
export interface StepFacts {
  cluster: string;
  site: Site;
  /** `snapshot`: what a snapshot must be. */
  backup?: BackupPolicy;
  /** `guard`, `unguard`, and what a slot deletes: whether `pulumi destroy` may take the cluster away. */
  allowDestroy?: boolean;
  pool?: string;
  role?: Role;
  strategy?: Strategy;
  /** Pool steps: the generation that the pool is going to; default: the plan's target. Slot steps: that of their node. */
  generation?: { id: string; spec: NodeSpec };
  plan?: PoolPlan;
  slot?: SlotPlan;
  /** Id of the pool's rollout, when it is known already: mostly it is an output and is added by the caller as `variables.rollout`. */
  rollout?: string;
}

/** Names of the environment variables of a step. */
export const variables = {
  cluster: "EVERGREEN_CLUSTER",
  site: "EVERGREEN_SITE",
  allowDestroy: "EVERGREEN_ALLOW_DESTROY",
  pool: "EVERGREEN_POOL",
  role: "EVERGREEN_ROLE",
  strategy: "EVERGREEN_STRATEGY",
  generation: "EVERGREEN_GENERATION",
  spec: "EVERGREEN_SPEC",
  plan: "EVERGREEN_PLAN",
  verdict: "EVERGREEN_VERDICT",
  slot: "EVERGREEN_SLOT",
  node: "EVERGREEN_NODE",
  vmid: "EVERGREEN_VMID",
  madeVmid: "EVERGREEN_MADE_VMID",
  address: "EVERGREEN_ADDRESS",
  unreachable: "EVERGREEN_UNREACHABLE",
  rollout: "EVERGREEN_ROLLOUT",
  backup: "EVERGREEN_BACKUP",
} as const;

/**
 * The environment of a step. A slot brings its own generation. Only what stays the same after the run is passed on (not
 * which nodes are replaced, nor the words), so that a second run finds nothing changed.
 */
export function environmentOf(facts: StepFacts): Record<string, string> {
  const { plan, slot } = facts;
  const generation = slot?.generation ?? facts.generation ?? plan?.target;
  const values: Partial<Record<keyof typeof variables, string | undefined>> = {
    cluster: facts.cluster,
    site: JSON.stringify(facts.site),
    allowDestroy: facts.allowDestroy === undefined ? undefined : String(facts.allowDestroy),
    pool: facts.pool ?? plan?.pool,
    role: facts.role ?? plan?.role,
    strategy: json(facts.strategy ?? plan?.strategy),
    generation: generation?.id,
    spec: json(generation?.spec),
    plan: plan && json(stepPlan(plan)),
    verdict: json(plan?.verdict satisfies PlanVerdict | undefined),
    slot: slot && String(slot.slot),
    node: slot?.name,
    vmid: slot && String(slot.vmid),
    address: slot?.address,
    unreachable: slot?.unreachable?.host,
    rollout: facts.rollout,
    backup: json(facts.backup),
  };
  return Object.fromEntries(
    Object.entries(values).flatMap(([key, value]) =>
      value === undefined ? [] : [[variables[key as keyof typeof variables], value]],
    ),
  );
}

function stepPlan({ digest, healing, slots }: PoolPlan): StepPlan {
  return { digest, ...(healing === undefined ? {} : { healing }), slots: slots.map(planned) };
}

function planned({ slot, name, vmid, generation, unreachable }: SlotPlan): PlannedSlot {
  return {
    slot,
    name,
    vmid,
    generation: generation.id,
    ...(unreachable?.own === true ? { unreachable: unreachable.host } : {}),
  };
}

function json(value: object | undefined): string | undefined {
  return value === undefined ? undefined : JSON.stringify(value);
}
