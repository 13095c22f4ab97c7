/** Schemas of request parameters, and their verification. */
import { invalid } from "./answer.ts";

/** The schema of a parameter. */
export interface Spec {
  /** `list`: of texts, repeated by name; one alone is a list of one. */
  type: "string" | "integer" | "number" | "boolean" | "list";
  required?: boolean;
  enum?: readonly string[];
  pattern?: RegExp;
  /** Characters. */
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  /** Only root@pam itself may set it: no token may. */
  rootOnly?: boolean;
  /** @returns what is wrong, or undefined */
  format?: (value: string) => string | undefined;
}

export type Specs = Record<string, Spec>;

const text: Spec = { type: "string" };
const flag: Spec = { type: "boolean" };
const integer: Spec = { type: "integer" };
const rootFlag: Spec = { type: "boolean", rootOnly: true };

/** Shorthands for parameter tables. */
export const spec = { text, flag, integer, rootFlag };

export function vmidFormat(value: string): string | undefined {
  return /^[1-9][0-9]{2,8}$/.test(value) ? undefined : "invalid format - value does not look like a valid VM ID\n";
}

export function dnsName(value: string): string | undefined {
  const label = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?";
  return new RegExp(`^${label}(?:\\.${label})*$`).test(value)
    ? undefined
    : "invalid format - value does not look like a valid DNS name\n";
}

/** A VM's id, in a path or as a parameter. */
export const vmidSpec: Spec = { type: "integer", format: vmidFormat };

function wrongType(spec: Spec, value: string): boolean {
  if (spec.type === "integer") return !/^[+-]?\d+$/.test(value);
  if (spec.type === "number") return !/^[+-]?\d+(\.\d+)?$/.test(value);
  return spec.type === "boolean" && value !== "0" && value !== "1";
}

/** What is wrong with a value; undefined when it is valid. */
export function problemOf(spec: Spec, value: string): string | undefined {
  if (wrongType(spec, value)) return `type check ('${spec.type}') failed - got '${value}'`;
  const shape = spec.format?.(value);
  if (shape !== undefined) return shape;
  if (spec.pattern?.test(value) === false) return "value does not match the regex pattern";
  if (spec.maxLength !== undefined && value.length > spec.maxLength) {
    return `value may only be ${spec.maxLength} characters long`;
  }
  if (spec.minimum !== undefined && Number(value) < spec.minimum) {
    return `value must have a minimum value of ${spec.minimum}`;
  }
  if (spec.maximum !== undefined && Number(value) > spec.maximum) {
    return `value must have a maximum value of ${spec.maximum}`;
  }
  if (spec.enum && !spec.enum.includes(value)) {
    return `value '${value}' does not have a value in the enumeration '${spec.enum.join(", ")}'`;
  }
  return undefined;
}

const unknown = "property is not defined in schema and the schema does not allow additional properties";

/**
 * Checks the parameters of a request against its schema.
 * @param find the spec of a name; undefined: not in the schema
 * @throws ApiError 400 with a text per parameter
 */
export function verify(given: Params, find: (name: string) => Spec | undefined, required: readonly string[]): void {
  const errors: Record<string, string> = {};
  for (const [name, value] of given) {
    const found = find(name);
    const problem = found ? problemOf(found, value) : unknown;
    if (problem !== undefined) errors[name] = problem;
  }
  for (const name of given.unset) if (!find(name)) errors[name] = unknown;
  for (const name of given.lists.keys()) {
    const found = find(name);
    if (found?.type === "list") continue;
    errors[name] = found ? `type check ('${found.type}') failed - got ARRAY` : unknown;
  }
  for (const name of required) {
    if (!given.has(name) && !given.lists.has(name)) errors[name] = "property is missing and it is not optional";
  }
  if (Object.keys(errors).length > 0) throw invalid(errors);
  for (const [name, value] of given) {
    if (find(name)?.rootOnly && value === "1") throw invalid({ [name]: "Only root may use this option." });
  }
}

/** The parameters of a request, from path, query and body. */
export class Params extends Map<string, string> {
  /** Parameters without a value. */
  readonly unset = new Set<string>();
  /** Parameters that were given more than once. */
  readonly lists = new Map<string, readonly string[]>();

  /** @throws when the parameter is absent, since it was not verified as required: a defect of the emulator */
  text(name: string): string {
    const value = this.get(name);
    if (value === undefined) throw new Error(`parameter ${name} was not verified`);
    return value;
  }

  /** Empty when absent. */
  list(name: string): readonly string[] {
    const value = this.get(name);
    return value === undefined ? (this.lists.get(name) ?? []) : [value];
  }

  int(name: string): number {
    return Number(this.text(name));
  }

  /** False when absent. */
  flag(name: string): boolean {
    return this.get(name) === "1";
  }
}
