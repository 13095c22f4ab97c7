import type { BackupPolicy } from "../backup/snapshot.ts";
import type { NodeSpec, PlanVerdict, PoolPlan, Role, SlotPlan, Strategy } from "./types.ts";

/**
 * The longest waits of a step, all in seconds. Each wait says what it waits for, and what blocks it when the time is
 * over.
 */
export interface Timeouts {
  /** From power on until the guest agent answers. */
  agent: number;
  /** From the write of the join data until the Node is Ready and passes its gates. */
  join: number;
  /** Until the Longhorn replicas of a node are rebuilt on other nodes, before its pods are evicted. */
  storage: number;
  /** Until all pods of a node are evicted. */
  drain: number;
  /** Until all volumes of a drained node are detached. */
  volumes: number;
  /** For an ACPI shutdown; after it the VM is powered off. */
  shutdown: number;
  /** For another step of the same slot to end, or for a free disruption lease of the pool. */
  lease: number;
  /** Until every planned node of a pool has passed its checks, in `gate` and `verify`; the soak is not included. */
  gate: number;
  /** Until an etcd snapshot is made, uploaded and published. */
  snapshot: number;
}

/** Defaults for a site with local NVMe storage or a Ceph pool that is not overloaded. */
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

/** Labels that say where in the data centre a node is. */
export interface Topology {
  /** Zone of each Proxmox host, for `topology.kubernetes.io/zone`. */
  zones?: Readonly<Record<string, string>>;
  /** Label that has the name of the Proxmox host. */
  hostLabel?: string;
}

/** What a step needs to know about the site that it works in. It contains no secrets and no paths. */
export interface Site {
  /** Name or IPv4 address in front of the ready servers: port 9345 (supervisor) and 6443 (API). No node owns it. */
  registrationAddress: string;
  /** Proxmox pool that holds the node VMs. */
  proxmoxPool: string;
  /** Name of the pool of servers; kubeconfig and server token are read from its VMs. */
  serverPool: string;
  /** @default nodes get no such labels */
  topology?: Topology;
  timeouts: Timeouts;
}

/** A slot of a plan, reduced to what stays the same after the plan was carried out. */
export interface PlannedSlot {
  slot: number;
  name: string;
  vmid: number;
  generation: string;
  /**
   * Proxmox host of the node, which did not answer when the run was planned: no request about the node is sent to it.
   */
  unreachable?: string;
}

/** The part of a plan that the steps of a pool receive. */
export interface StepPlan {
  digest: string;
  /** As in the plan: the last step of the pool records it. */
  healing?: string;
  slots: PlannedSlot[];
}

/**
 * The input that a step may get. Which verb needs which part is checked when the input is read (src/steps/input.ts).
 */
export interface StepFacts {
  cluster: string;
  site: Site;
  /** `snapshot`: the requirements for an etcd snapshot. */
  backup?: BackupPolicy;
  /** `guard`, `unguard`, and the deletes of a slot's steps: whether `pulumi destroy` may tear the cluster down. */
  allowDestroy?: boolean;
  pool?: string;
  role?: Role;
  strategy?: Strategy;
  /**
   * Pool steps: the generation that the pool moves to; default: the plan's target. Slot steps: the generation of their
   * node.
   */
  generation?: { id: string; spec: NodeSpec };
  plan?: PoolPlan;
  slot?: SlotPlan;
  /**
   * Id of the pool's rollout, when it is known already. Usually it is an output, which the caller adds as
   * `variables.rollout`.
   */
  rollout?: string;
}

/** Names of the environment variables that a step reads. */
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
  address6: "EVERGREEN_ADDRESS6",
  unreachable: "EVERGREEN_UNREACHABLE",
  rollout: "EVERGREEN_ROLLOUT",
  backup: "EVERGREEN_BACKUP",
  registries: "EVERGREEN_REGISTRIES",
  bake: "EVERGREEN_BAKE",
  proof: "EVERGREEN_PROOF",
  due: "EVERGREEN_DUE",
  imageKey: "EVERGREEN_IMAGE_KEY",
} as const;

/** Value of `variables.due` for an image with which a run has nothing to do: its steps then look at nothing and ask nobody. */
export const NOTHING_DUE = "never";

/** The variables whose values the engine keeps as secrets. */
export const secretVariables: ReadonlySet<string> = new Set([variables.registries, variables.imageKey]);

/**
 * The environment of a step. A slot's own generation takes precedence. Only values that stay the same after the run are
 * passed on (not which nodes are replaced, nor the words), so that a second run finds no change.
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
    address6: slot?.address6,
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
