import type { z } from "zod";
import type { Problem } from "../runtime/errors.ts";
import { schema } from "./schema.ts";

/** The path of a key as messages show it: `evergreen:pools[1].strategy.surge`. */
export function pathOf(path: readonly PropertyKey[]): string {
  const [first = "", ...rest] = path;
  const tail = rest.map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`));
  return `evergreen:${String(first)}${tail.join("")}`;
}

/** The schema's findings as problems for the operator: for each place the first, for the others follow from it. */
export function schemaProblems(error: z.ZodError, raw: unknown): Problem[] {
  const all = error.issues.flatMap((issue) =>
    issue.code === "unrecognized_keys" ? unknown(issue) : [wrong(issue, raw)],
  );
  return all.filter(({ where }, index) => all.findIndex((one) => one.where === where) === index);
}

type Issue = z.core.$ZodIssue;

/** Keys with secrets in them: no message quotes their values. */
const SECRET: ReadonlySet<string> = new Set(["registries"]);

/** Keys that somebody may look for, and why there are none. */
const REFUSED: Readonly<Record<string, Omit<Problem, "where">>> = {
  ha: {
    what: "no VM is put under Proxmox HA: a token needs Sys.Console on / for its resources and rules, which opens a shell on every host",
    todo: "remove the key. Nodes need no HA; VMs that an administrator puts under it are stopped through it (docs/sites.md)",
  },
};

function unknown({ path, keys }: z.core.$ZodIssueUnrecognizedKeys): Problem[] {
  const known = keysAt(path);
  const isSecret = SECRET.has(String(path[0]));
  return keys.map((key) => {
    const refused = Object.hasOwn(REFUSED, key) ? REFUSED[key] : undefined;
    if (refused) return { ...refused, where: pathOf([...path, key]) };
    const meant = known.toSorted((a, b) => distance(key, a) - distance(key, b))[0];
    const near = meant !== undefined && distance(key, meant) <= Math.max(2, key.length / 3);
    // Without a blank after its colon, `password:...` in braces is a key.
    if (isSecret && !/^[a-z_]+$/i.test(key))
      return { what: "a key is unknown", where: pathOf(path), todo: `use one of: ${known.join(", ")}` };
    return {
      what: `the key "${key}" is unknown`,
      where: pathOf([...path, key]),
      todo: near ? `did you mean "${meant}"?` : `use one of: ${known.join(", ")}`,
    };
  });
}

function wrong(issue: Issue, raw: unknown): Problem {
  const value = valueAt(raw, issue.path);
  const where = pathOf(issue.path);
  if (issue.code === "invalid_key") {
    const wanted = issue.issues.map(wantedOf).join(", ");
    // `user:password@host` is one that is not possible.
    if (SECRET.has(String(issue.path[0])))
      return { what: "a key is not possible", where: pathOf(issue.path.slice(0, -1)), todo: wanted };
    const key = String(issue.path.at(-1));
    return {
      what: `the key ${JSON.stringify(key)} is not possible`,
      where,
      todo: wanted,
    };
  }
  if (value === undefined) return { what: "a value is missing", where, todo: `set it: ${wantedOf(issue)}` };
  const shown = SECRET.has(String(issue.path[0])) ? "" : ` ${JSON.stringify(value)}`;
  return { what: `the value${shown} is not possible`, where, todo: wantedOf(issue) };
}

function wantedOf(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return `it must be ${article(issue.expected)}`;
    case "too_small":
      return issue.origin === "string" || issue.origin === "array"
        ? "it must not be empty"
        : `it must be at least ${String(issue.minimum)}`;
    case "too_big":
      return `it must be at most ${String(issue.maximum)}`;
    case "invalid_value":
      return `it must be one of: ${issue.values.map(String).join(", ")}`;
    default:
      return `it ${issue.message.startsWith("must") ? "" : "must be right: "}${issue.message}`;
  }
}

function article(type: string): string {
  const words: Record<string, string> = { int: "a whole number", array: "a list", object: "a map", record: "a map" };
  return words[type] ?? `a ${type}`;
}

function valueAt(raw: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      typeof value === "object" && value !== null ? (value as Record<PropertyKey, unknown>)[key] : undefined,
    raw,
  );
}

/** The keys that the schema defines at a path. */
function keysAt(path: readonly PropertyKey[]): string[] {
  let at: unknown = schema;
  for (const key of path) {
    const inner = bare(at);
    at = typeof key === "number" ? inner.element : (inner.shape?.[String(key)] ?? inner.valueType);
  }
  return Object.keys(bare(at).shape ?? {});
}

interface Bare {
  shape?: Record<string, unknown>;
  element?: unknown;
  /** Of a map whose names are free. */
  valueType?: unknown;
}

/** A schema without its default and its optionality. */
function bare(of: unknown): Bare {
  const wrapped = of as Bare & { unwrap?: () => unknown };
  return wrapped.unwrap && [wrapped.shape, wrapped.element, wrapped.valueType].every((one) => one === undefined)
    ? bare(wrapped.unwrap())
    : wrapped;
}

/** Number of mistyped letters (Levenshtein distance). */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (const [i, left] of Array.from(a).entries()) {
    const next = [i + 1];
    for (const [k, right] of Array.from(b).entries()) {
      const swap = (row[k] ?? 0) + (left === right ? 0 : 1);
      next.push(Math.min(swap, (row[k + 1] ?? 0) + 1, (next[k] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
