/** Reads the order of a bake, and of a proof, from the environment of its step. */
import * as z from "zod/mini";
import type { BakeOrder } from "../../domain/images/bake.ts";
import type { ProofOrder } from "../../domain/images/proof.ts";
import { variables } from "../../domain/model/step-environment.ts";
import { UserErrors, type Problem } from "../../runtime/errors.ts";

const hex64 = z.string().check(z.regex(/^[0-9a-f]{64}$/));
const vmid = z.int().check(z.minimum(100), z.maximum(999_999_999));
/** A name that goes into a request, and in some into a list of options. */
const name = z.string().check(z.regex(/^[a-zA-Z0-9][\w.-]*$/));
const count = z.int().check(z.positive());
const file = z.looseObject({ path: z.string(), sha256: hex64, mode: z.string() });
const texts = z.array(z.string());

const order = z.looseObject({
  // Whether it is right says its digest.
  definition: z.looseObject({
    name: z.string(),
    version: z.string(),
    diskGiB: count,
    files: z.array(file),
    scripts: z.array(file),
    tests: z.array(file),
    rke2: z.looseObject({ version: z.string(), cni: texts, artefacts: z.array(z.looseObject({})) }),
    kernel: z.looseObject({ parameters: texts, modules: texts }),
    services: z.looseObject({ enable: texts, mask: texts }),
    packages: texts,
    hold: texts,
  }),
  digest: hex64,
  folder: z.string(),
  shell: z.string(),
  sources: z.looseObject({ snapshots: z.string(), snapshotKey: z.optional(z.string()), rke2: z.string() }),
  vmid,
  range: z.looseObject({ first: vmid, last: vmid }),
  base: z.string().check(z.regex(/^[a-zA-Z0-9][\w.-]*:import\/[\w.+-]+$/)),
  place: z.looseObject({
    host: name,
    pool: name,
    storage: name,
    imageStorage: name,
    bridge: name,
    vlan: z.optional(z.int().check(z.minimum(1), z.maximum(4094))),
    address: z.optional(z.looseObject({ cidr: z.string(), gateway: z.string(), nameservers: texts })),
    cores: count,
    memoryMiB: count,
  }),
  evidence: z.string(),
});

const proof = z.looseObject({
  bake: order,
  uuid: z.string(),
  vmid,
  records: z.string(),
  builder: z.looseObject({ stack: z.string(), version: z.string() }),
});

/** @throws UserErrors that names every part that is missing or malformed */
export function readBakeOrder(environment: Record<string, string | undefined>): BakeOrder {
  return read(order, variables.bake, environment) as BakeOrder;
}

/** @throws UserErrors that names every part that is missing or malformed */
export function readProofOrder(environment: Record<string, string | undefined>): ProofOrder {
  return read(proof, variables.proof, environment) as ProofOrder;
}

function read(schema: z.ZodMiniType, variable: string, environment: Record<string, string | undefined>): unknown {
  const text = environment[variable] ?? "";
  const fault = (path: string, what: string): Problem => problem(variable, path === "" ? what : `${path}: ${what}`);
  const given = parse(text);
  if (given === undefined) throw new UserErrors([fault("", text === "" ? "is missing" : "is not JSON")]);
  const { data, error } = z.safeParse(schema, given);
  if (error) throw new UserErrors(error.issues.map(({ path, message }) => fault(path.map(String).join("."), message)));
  return data;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

function problem(variable: string, what: string): Problem {
  return {
    what: `${variable} is not the order of a bake or of a proof: ${what}`,
    where: "the environment of the step",
    todo: "run it through pulumi up; if you did, this is a defect of the component that declares the step",
  };
}
