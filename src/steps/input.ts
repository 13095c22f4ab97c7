// Not the whole of zod: a step is a process of its own, and its start has to be quick.
import * as z from "zod/mini";
import { UserErrors, type Problem } from "../runtime/errors.ts";
import { hide } from "../runtime/log.ts";
import {
  defaultTimeouts,
  variables,
  type Site,
  type StepPlan,
  type Timeouts,
} from "../domain/model/step-environment.ts";
import type { BackupPolicy } from "../domain/backup/snapshot.ts";
import { registrySecrets, type Registries } from "../domain/model/registries.ts";
import type { NodeHardware } from "../domain/model/hardware.ts";
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

/** Input of `registries`. */
export interface RegistriesInput extends PoolInput {
  /** Undefined: none are configured. */
  registries?: Registries;
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
  /** IPv6 address that the VM was made with; undefined: the network provides it, or there is none. */
  address6: string | undefined;
  /** Proxmox host that did not answer when the run was planned and has a VM of this slot; undefined: none. */
  unreachable: string | undefined;
  /** `join`: registries that the node pulls images through; undefined: those of its image. */
  registries?: Registries;
  generation: string;
  spec: NodeSpec;
  rollout: string;
}

export type StepInput = GuardInput | PoolInput | SlotInput;

type Environment = Record<string, string | undefined>;
type Name = keyof typeof variables;

/*
 * The variables of a step by their keys; an empty one counts as missing. The input of a delete is as old as the last
 * change of its resource: its objects may have keys that this version does not know, and lack newer ones.
 */

function text(pattern: RegExp) {
  const mismatch = ({ input }: { input?: unknown }) =>
    `is ${JSON.stringify(input)}, which does not match ${pattern.source}`;
  return z.string("is missing").check(z.refine((value) => pattern.test(value), { error: mismatch, abort: true }));
}

const number = z.pipe(text(/^\d+$/), z.transform(Number));

/** A variable with JSON in it. */
function json<T extends z.ZodMiniType>(type: T) {
  const parse = z.transform((value: string, context) => {
    try {
      return JSON.parse(value) as unknown;
    } catch {
      context.issues.push({ code: "custom", message: "is not JSON", input: value });
      return z.NEVER;
    }
  });
  return z.pipe(z.pipe(z.string("is missing"), parse), type);
}

const seconds = z.number().check(z.positive());
/** A wait that is newer than the input has its default. */
const wait = (name: keyof Timeouts) => z._default(seconds, defaultTimeouts[name]);
const timeouts = z.looseObject({
  agent: wait("agent"),
  join: wait("join"),
  storage: wait("storage"),
  drain: wait("drain"),
  volumes: wait("volumes"),
  shutdown: wait("shutdown"),
  lease: wait("lease"),
  gate: wait("gate"),
  snapshot: wait("snapshot"),
}) satisfies z.ZodMiniType<Timeouts>;
const site = z.looseObject({
  registrationAddress: z.string(),
  proxmoxPool: z.string(),
  serverPool: z.string(),
  topology: z.exactOptional(
    z.looseObject({
      zones: z.exactOptional(z.record(z.string(), z.string())),
      hostLabel: z.exactOptional(z.string()),
    }),
  ),
  timeouts,
}) satisfies z.ZodMiniType<Site>;

/** Checked in the configuration; no error may quote any of it. */
const registries = z.custom<Registries>((value) => value instanceof Object);

const strategy = z.looseObject({
  kind: z.enum(["blueGreen", "rolling"]),
  surge: z.number(),
  maxUnavailable: z.number(),
  canary: z.exactOptional(z.union([z.looseObject({ nodes: z.number() }), z.looseObject({ percent: z.number() })])),
  soakSeconds: z.number(),
  onFailure: z.enum(["hold", "rollback"]),
  replaceOnlyServer: z.exactOptional(z.literal(true)),
}) satisfies z.ZodMiniType<Strategy>;

const texts = z.exactOptional(z.array(z.string()));
const spec = z.looseObject({
  image: z.string(),
  rke2: z.string(),
  cores: z.number(),
  memoryMiB: z.number(),
  diskGiB: z.number(),
  labels: z.exactOptional(z.record(z.string(), z.string())),
  annotations: z.exactOptional(z.record(z.string(), z.string())),
  taints: texts,
  startupTaints: texts,
  rollout: z.exactOptional(z.number()),
  config: z.exactOptional(z.record(z.string(), z.json())),
  // No step reads it.
  hardware: z.exactOptional(z.custom<NodeHardware>()),
  incarnation: z.exactOptional(z.number()),
}) satisfies z.ZodMiniType<NodeSpec>;

const plan = z.looseObject({
  digest: z.string(),
  healing: z.exactOptional(z.string()),
  slots: z.array(
    z.looseObject({
      slot: z.number(),
      name: z.string(),
      vmid: z.number(),
      generation: z.string(),
      unreachable: z.exactOptional(z.string()),
    }),
  ),
}) satisfies z.ZodMiniType<StepPlan>;

const verdict = z.looseObject({
  generation: z.string(),
  state: z.enum(["soaking", "proved"]),
  watchSeconds: z.exactOptional(z.number()),
}) satisfies z.ZodMiniType<PlanVerdict>;

const backup = z.looseObject({
  leastBytes: z.number(),
  mostSeconds: z.number(),
  s3: z.exactOptional(
    z.looseObject({
      endpoint: z.string(),
      region: z.string(),
      bucket: z.string(),
      prefix: z.string(),
      pathStyle: z.boolean(),
      encryption: z.enum(["none", "AES256", "aws:kms"]),
      checkContent: z.boolean(),
      retentionDays: z.exactOptional(z.number()),
    }),
  ),
}) satisfies z.ZodMiniType<BackupPolicy>;

const label = text(/^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/);
const generationId = text(/^[0-9a-f]{8}$/);
const yesOrNo = z.pipe(
  text(/^(true|false)$/),
  z.transform((value) => value === "true"),
);

const ofCluster = { cluster: label, site: json(site) };
const ofPool = {
  ...ofCluster,
  pool: label,
  role: z.pipe(text(/^(server|agent)$/), z.enum(["server", "agent"])),
  strategy: json(strategy),
  rollout: z.pipe(z._default(z.string(), ""), z.transform(rolloutId)),
};
const ofPlan = {
  ...ofPool,
  generation: z.optional(generationId),
  spec: z.optional(json(spec)),
  plan: json(plan),
  verdict: z.optional(json(verdict)),
};
const ofSlot = {
  ...ofPool,
  generation: generationId,
  spec: json(spec),
  slot: number,
  node: label,
  vmid: number,
  madeVmid: z.optional(number),
  address: z.optional(z.string()),
  address6: z.optional(z.string()),
  unreachable: z.optional(z.string()),
  allowDestroy: z._default(yesOrNo, false),
  registries: z.optional(json(registries)),
};
const guardInput = z.object({ ...ofCluster, allowDestroy: yesOrNo });
const poolInput = z.object(ofPlan);
const snapshotInput = z.object({ ...ofPlan, backup: json(backup) });
const registriesInput = z.object({ ...ofPlan, registries: z.optional(json(registries)) });
const slotInput = z.object(ofSlot);

/** Returns the rollout id, also when the variable holds the whole JSON output of the step that made it. */
function rolloutId(given: string): string {
  try {
    const { rollout } = JSON.parse(given) as { rollout?: unknown };
    return typeof rollout === "string" ? rollout : given;
  } catch {
    return given;
  }
}

/** @throws UserErrors that names every variable that is missing or malformed */
function read<T extends z.ZodMiniType>(type: T, environment: Environment): z.output<T> {
  const given = Object.entries(variables).flatMap(([name, variable]) => {
    const value = environment[variable] ?? "";
    return value === "" ? [] : [[name, value] as const];
  });
  const { data, error } = z.safeParse(type, Object.fromEntries(given), { reportInput: true });
  if (error) throw new UserErrors(problemsOf(error.issues));
  return data;
}

function problemsOf(issues: readonly z.core.$ZodIssue[]): Problem[] {
  return [...Map.groupBy(issues, ({ path }) => path[0] as Name)].map(([name, all]) => {
    const [missing, wrong] = [all.filter(isMissing), all.filter((issue) => !isMissing(issue))];
    const keys = missing.map(({ path }) => path.slice(1).join("."));
    const lacks = keys.length === 0 ? [] : [`lacks ${keys.join(", ")}`];
    return problem(name, [...lacks, ...wrong.map(sayIssue)].join("; "));
  });
}

function problem(name: Name, what: string): Problem {
  return {
    what: `${variables[name]} ${what}`,
    where: "the environment of the step",
    todo: "run it through pulumi up; if you did, this is a defect of the component that declares the step",
  };
}

const isMissing = ({ path, input }: z.core.$ZodIssue): boolean => path.length > 1 && input === undefined;

function sayIssue(issue: z.core.$ZodIssue): string {
  const [, ...inside] = issue.path;
  if (issue.code !== "invalid_type") return inside.length === 0 ? issue.message : `${inside.join(".")} is not valid`;
  if (inside.length > 0) return `${inside.join(".")} is not of type ${issue.expected}`;
  return issue.expected === "object" ? "is not a JSON object" : issue.message;
}

/**
 * Reads the input of `guard` and `unguard`.
 * @throws UserErrors that names every variable that is missing or malformed
 */
export function readGuardInput(environment: Environment): GuardInput {
  return read(guardInput, environment);
}

/**
 * Reads the input of the steps of a pool.
 * @throws UserErrors that names every variable that is missing or malformed
 */
export function readPoolInput(environment: Environment): PoolInput {
  return planned(read(poolInput, environment));
}

/**
 * Reads the input of `snapshot`.
 * @throws UserErrors that names every variable that is missing or malformed
 */
export function readSnapshotInput(environment: Environment): SnapshotInput {
  const { backup: policy, ...input } = read(snapshotInput, environment);
  return { ...planned(input), backup: policy };
}

/**
 * Reads the input of `registries`.
 * @throws UserErrors that names every variable that is missing or malformed
 */
export function readRegistriesInput(environment: Environment): RegistriesInput {
  const { registries: secret, ...input } = read(registriesInput, environment);
  return { ...planned(input), ...(secret && { registries: keepSecret(secret, environment) }) };
}

/** Neither a message, nor a process that this one starts, nor a dump of its environment is to have it. */
function keepSecret(registries: Registries, environment: Environment): Registries {
  Reflect.deleteProperty(environment, variables.registries);
  for (const secret of registrySecrets(registries)) hide(secret);
  return registries;
}

function planned({ generation: id, spec: its, ...input }: z.output<typeof poolInput>): PoolInput {
  if (id !== undefined && its === undefined) throw new UserErrors([problem("spec", "is missing")]);
  return {
    ...input,
    verdict: input.verdict,
    target: id === undefined || its === undefined ? undefined : { id, spec: its },
  };
}

/**
 * Reads the input of the steps of a slot.
 * @throws UserErrors that names every variable that is missing or malformed
 */
export function readSlotInput(environment: Environment): SlotInput {
  const { madeVmid, address, address6, unreachable, registries, ...input } = read(slotInput, environment);
  return {
    ...input,
    madeVmid,
    address,
    address6,
    unreachable,
    ...(registries && { registries: keepSecret(registries, environment) }),
  };
}
