import type { z } from "zod";
import type { Problem } from "../runtime/errors.ts";
import { schema } from "./schema.ts";
import { secretIn } from "./secrets.ts";

/** The path of a key as messages show it: `evergreen:pools[1].strategy.surge`. */
export function pathOf(path: readonly PropertyKey[]): string {
  const [first = "", ...rest] = path;
  const tail = rest.map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`));
  return `evergreen:${String(first)}${tail.join("")}`;
}

/** The findings of the stack's schema as problems for the operator: for each place the first, others follow from it. */
export function schemaProblems(error: z.ZodError, raw: unknown): Problem[] {
  const all = schemaFindings(schema, error, raw, STACK).map(({ path, what, todo }) => ({
    what,
    where: pathOf(path),
    todo,
  }));
  return all.filter(({ where }, index) => all.findIndex((one) => one.where === where) === index);
}

/** What a schema has against a value. */
export interface Finding extends Omit<Problem, "where"> {
  path: readonly PropertyKey[];
  /** Whether the key itself is meant, and not its value. */
  isOfKey?: boolean;
}

/** What else is to be said of keys, by the first one of their path. */
interface Wording {
  /** Keys with secrets in them: no message quotes their values. */
  secret: ReadonlySet<string>;
  /** Keys that somebody may look for, and why there are none. */
  refused: Readonly<Record<string, Omit<Problem, "where">>>;
}

const STACK: Wording = {
  secret: new Set(["registries"]),
  refused: {
    ha: {
      what: "no VM is put under Proxmox HA: a token needs Sys.Console on / for its resources and rules, which opens a shell on every host",
      todo: "remove the key. Nodes need no HA; VMs that an administrator puts under it are stopped through it (docs/sites.md)",
    },
  },
};

const PLAIN: Wording = { secret: new Set(), refused: {} };

/**
 * The findings of a schema in the words of an operator.
 * @param of the schema: an unknown key is compared with those that it has in the same place
 */
export function schemaFindings(of: z.ZodType, error: z.ZodError, raw: unknown, wording: Wording = PLAIN): Finding[] {
  return error.issues.flatMap((issue) =>
    issue.code === "unrecognized_keys" ? unknown(of, issue, wording) : [wrong(issue, raw, wording)],
  );
}

type Issue = z.core.$ZodIssue;

function unknown(of: z.ZodType, { path, keys }: z.core.$ZodIssueUnrecognizedKeys, wording: Wording): Finding[] {
  const known = keysAt(of, path);
  const isSecret = wording.secret.has(String(path[0]));
  return keys.map((key) => {
    const refused = Object.hasOwn(wording.refused, key) ? wording.refused[key] : undefined;
    if (refused) return { ...refused, path: [...path, key], isOfKey: true };
    const meant = nearest(key, known);
    // Without a blank after its colon, `password:...` in braces is a key.
    if (isSecret && !/^[a-z_]+$/i.test(key))
      return { what: "a key is unknown", path, todo: `use one of: ${known.join(", ")}` };
    return {
      what: `the key "${key}" is unknown`,
      path: [...path, key],
      isOfKey: true,
      todo: meant === undefined ? `use one of: ${known.join(", ")}` : `did you mean "${meant}"?`,
    };
  });
}

/** The name that a mistyped one was meant to be; undefined when it is like none. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const meant = known.toSorted((a, b) => distance(name, a) - distance(name, b))[0];
  return meant !== undefined && distance(name, meant) <= Math.max(2, name.length / 3) ? meant : undefined;
}

function wrong(issue: Issue, raw: unknown, { secret }: Wording): Finding {
  const value = valueAt(raw, issue.path);
  const { path } = issue;
  const isSecret = secret.has(String(path[0]));
  if (issue.code === "invalid_key") {
    const wanted = issue.issues.map(wantedOf).join(", ");
    // `user:password@host` is one that is not possible.
    if (isSecret) return { what: "a key is not possible", path: path.slice(0, -1), todo: wanted };
    return {
      what: `the key ${JSON.stringify(String(path.at(-1)))} is not possible`,
      path,
      isOfKey: true,
      todo: wanted,
    };
  }
  if (value === undefined) return { what: "a value is missing", path, todo: `set it: ${wantedOf(issue)}` };
  const text = JSON.stringify(value);
  const shown = isSecret || secretIn(text) ? "" : ` ${shortened(text)}`;
  return { what: `the value${shown} is not possible`, path, todo: wantedOf(issue) };
}

/** Enough of a value to find it by. */
const shortened = (text: string): string => (text.length > 200 ? `${text.slice(0, 200)}...` : text);

function wantedOf(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return `it must be ${article(issue.expected)}`;
    case "too_small":
      return issue.origin === "string" || issue.origin === "array"
        ? "it must not be empty"
        : `it must be at least ${String(issue.minimum)}`;
    case "too_big":
      if (issue.origin === "string") return `it must have at most ${String(issue.maximum)} characters`;
      if (issue.origin === "array") return `it must have at most ${String(issue.maximum)} entries`;
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

/** The keys that a schema defines at a path. */
function keysAt(of: z.ZodType, path: readonly PropertyKey[]): string[] {
  let at: unknown = of;
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
