import { UserErrors, type Problem } from "../runtime/errors.ts";
import { variables, type Site, type StepPlan } from "../domain/model/step-environment.ts";
import type { BackupPolicy } from "../domain/backup/snapshot.ts";
import type { Generation, NodeSpec, PlanVerdict, Role, Strategy } from "../domain/model/types.ts";

/** Input of every step. */
export interface ClusterInput {
  cluster: string;
  site: Site;
}

/** Input of `guard` and `unguard`. */
export interface GuardInput extends ClusterInput {
  allowDestroy: boolean;
}

/** Input of the steps of a pool: `rollout`, `gate`, `verify`. */
export interface PoolInput extends ClusterInput {
  pool: string;
  role: Role;
  strategy: Strategy;
  /** The generation that the pool moves to; undefined when the pool is held. */
  target: Generation | undefined;
  plan: StepPlan;
  /** The verdict that `verify` writes; undefined: none. */
  verdict: PlanVerdict | undefined;
  /** Id of the pool's rollout; empty in the step that makes it. */
  rollout: string;
}

/** Input of `snapshot`. */
export interface SnapshotInput extends PoolInput {
  backup: BackupPolicy;
}

/** Input of the steps of a slot: `claim`, `retain`, `release`, `join`, `retire`, `handover`. */
export interface SlotInput extends ClusterInput {
  pool: string;
  role: Role;
  strategy: Strategy;
  slot: number;
  /** VM, Node and host name. */
  node: string;
  vmid: number;
  /** VMID that the engine made; undefined except in `claim`. */
  madeVmid: number | undefined;
  /** Whether `pulumi destroy` may tear the cluster down, as of the last update. */
  allowDestroy: boolean;
  /** IPv4 address that the VM was made with; undefined: DHCP. */
  address: string | undefined;
  /** Proxmox host that did not answer when the run was planned and has a VM of this slot; undefined: none. */
  unreachable: string | undefined;
  generation: string;
  spec: NodeSpec;
  rollout: string;
}

export type StepInput = GuardInput | PoolInput | SlotInput;

type Environment = Record<string, string | undefined>;
type Name = keyof typeof variables;

/** Reads variables and collects all problems with them, so that one error reports all of them. */
class Reader {
  private readonly environment: Environment;
  private readonly problems: Problem[] = [];

  constructor(environment: Environment) {
    this.environment = environment;
  }

  private wrong(name: Name, what: string): void {
    this.problems.push({
      what: `${variables[name]} ${what}`,
      where: "the environment of the step",
      todo: "run it through pulumi up; if you did, this is a defect of the component that declares the step",
    });
  }

  text(name: Name, pattern = /^\S+$/): string {
    const value = this.environment[variables[name]] ?? "";
    if (value === "") this.wrong(name, "is missing");
    else if (!pattern.test(value))
      this.wrong(name, `is ${JSON.stringify(value)}, which does not match ${pattern.source}`);
    return value;
  }

  optional(name: Name): string {
    return this.environment[variables[name]] ?? "";
  }

  number(name: Name): number {
    return Number(this.text(name, /^\d+$/));
  }

  /** Reads a JSON object and requires all `keys`. Its producer is typed, so nested fields are not checked again. */
  object<T extends object>(name: Name, keys: readonly (keyof T & string)[]): T {
    const text = this.text(name, /^/);
    const value = text === "" ? {} : parse(text);
    if (typeof value !== "object" || value === null) this.wrong(name, "is not a JSON object");
    else if (text !== "") {
      const missing = keys.filter((key) => !(key in value));
      if (missing.length > 0) this.wrong(name, `lacks ${missing.join(", ")}`);
    }
    return (value ?? {}) as T;
  }

  done<T>(input: T): T {
    if (this.problems.length > 0) throw new UserErrors(this.problems);
    return input;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const label = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/;
const generationId = /^[0-9a-f]{8}$/;

function cluster(reader: Reader): ClusterInput {
  const site = reader.object<Site>("site", ["registrationAddress", "proxmoxPool", "serverPool", "timeouts"]);
  return { cluster: reader.text("cluster", label), site };
}

function pool(reader: Reader) {
  return {
    ...cluster(reader),
    pool: reader.text("pool", label),
    role: reader.text("role", /^(server|agent)$/) as Role,
    strategy: reader.object<Strategy>("strategy", ["kind", "surge", "maxUnavailable", "soakSeconds", "onFailure"]),
    rollout: rolloutId(reader.optional("rollout")),
  };
}

function planned(reader: Reader): PoolInput {
  const verdict = reader.optional("verdict");
  return {
    ...pool(reader),
    target: reader.optional("generation") === "" ? undefined : generation(reader),
    plan: reader.object<StepPlan>("plan", ["digest", "slots"]),
    verdict: verdict === "" ? undefined : reader.object<PlanVerdict>("verdict", ["generation", "state"]),
  };
}

function generation(reader: Reader): Generation {
  return { id: reader.text("generation", generationId), spec: reader.object<NodeSpec>("spec", ["image", "rke2"]) };
}

/** Returns the rollout id, also when the variable holds the whole JSON output of the step that made it. */
function rolloutId(text: string): string {
  const value = parse(text);
  if (typeof value !== "object" || value === null || !("rollout" in value)) return text;
  return String(value.rollout);
}

/**
 * Reads the input of `guard` and `unguard`.
 * @throws UserErrors that names every variable that is missing or malformed
 */
export function readGuardInput(environment: Environment): GuardInput {
  const reader = new Reader(environment);
  return reader.done({
    ...cluster(reader),
    allowDestroy: reader.text("allowDestroy", /^(true|false)$/) === "true",
  });
}

/**
 * Reads the input of the steps of a pool.
 * @throws UserErrors that names every variable that is missing or malformed
 */
export function readPoolInput(environment: Environment): PoolInput {
  const reader = new Reader(environment);
  return reader.done(planned(reader));
}

/**
 * Reads the input of `snapshot`.
 * @throws UserErrors that names every variable that is missing or malformed
 */
export function readSnapshotInput(environment: Environment): SnapshotInput {
  const reader = new Reader(environment);
  return reader.done({
    ...planned(reader),
    backup: reader.object<BackupPolicy>("backup", ["leastBytes", "mostSeconds"]),
  });
}

/**
 * Reads the input of the steps of a slot.
 * @throws UserErrors that names every variable that is missing or malformed
 */
export function readSlotInput(environment: Environment): SlotInput {
  const reader = new Reader(environment);
  const { id, spec } = generation(reader);
  const address = reader.optional("address");
  const made = reader.optional("madeVmid");
  const unreachable = reader.optional("unreachable");
  return reader.done({
    ...pool(reader),
    generation: id,
    spec,
    address: address === "" ? undefined : address,
    unreachable: unreachable === "" ? undefined : unreachable,
    allowDestroy: reader.optional("allowDestroy") === "true",
    slot: reader.number("slot"),
    node: reader.text("node", label),
    vmid: reader.number("vmid"),
    madeVmid: made === "" ? undefined : reader.number("madeVmid"),
  });
}
