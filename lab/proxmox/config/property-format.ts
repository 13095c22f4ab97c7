/** Property strings: `model=virtio,bridge=vmbr0`, a small object in the value of an option, with its own schema. */
import type { Spec } from "../params.ts";
import { problemOf } from "../params.ts";

export interface Property extends Spec {
  /** The property that a part without a key sets. */
  isDefault?: boolean;
  /** The key whose value this key sets, and the key that gets this key's name: `virtio=MAC`. */
  alias?: { value: string; name: string };
  /** A key that must be present too. */
  requires?: string;
}

export type Properties = Readonly<Record<string, Property>>;

/** Normalises a boolean of a property string. */
function flagOf(value: string): string {
  if (/^(1|on|yes|true)$/i.test(value)) return "1";
  return /^(0|off|no|false)$/i.test(value) ? "0" : value;
}

/** @throws Unreadable */
function readProperties(properties: Properties, value: string): Map<string, string> {
  const found = new Map<string, string>();
  const put = (key: string, content: string) => {
    if (found.has(key)) throw new Unreadable(`duplicate key in comma-separated list property: ${key}`);
    found.set(key, properties[key]?.type === "boolean" ? flagOf(content) : content);
  };
  for (const part of value.split(",").filter((each) => each.trim() !== "")) {
    const [, key = "", content = ""] = /^([^=]+)=(.+)$/.exec(part) ?? [];
    if (key === "") {
      if (part.includes("=")) throw new Unreadable("missing key in comma-separated list property");
      const fallback = Object.keys(properties).find((name) => properties[name]?.isDefault);
      if (fallback === undefined) throw new Unreadable("value without key, but schema does not define a default key");
      put(fallback, part);
      continue;
    }
    const property = Object.hasOwn(properties, key) ? properties[key] : undefined;
    if (!property) throw new Unreadable(`invalid key in comma-separated list property: ${key}`);
    if (property.alias) put(property.alias.name, key);
    put(property.alias?.value ?? key, content);
  }
  return found;
}

class Unreadable extends Error {}

function problems(properties: Properties, path: string, found: ReadonlyMap<string, string>): string[] {
  const at = (key: string) => (path === "" ? key : `${path}.${key}`);
  return Object.entries(properties).flatMap(([key, property]) => {
    const value = found.get(key);
    if (value === undefined) return property.required ? [`${at(key)}: property is missing and it is not optional`] : [];
    const problem = problemOf(property, value);
    const lacks = property.requires !== undefined && !found.has(property.requires) ? property.requires : undefined;
    return [
      ...(problem === undefined ? [] : [`${at(key)}: ${problem.trimEnd()}`]),
      ...(lacks === undefined ? [] : [`${at(lacks)}: missing property required by '${at(key)}'`]),
    ];
  });
}

/**
 * What is wrong with a property string; undefined when it is valid.
 * @param path prefix of the keys: the option's name
 * @param check checks the whole when its parts are valid
 */
export function propertyProblem(
  properties: Properties,
  path: string,
  value: string,
  check?: (found: ReadonlyMap<string, string>) => string | undefined,
): string | undefined {
  try {
    const read = readProperties(properties, value);
    const found = problems(properties, path, read);
    if (found.length > 0) return `invalid format - format error\n${found.join("\n")}\n`;
    const problem = check?.(read);
    return problem === undefined ? undefined : `invalid format - ${problem}\n`;
  } catch (error) {
    if (error instanceof Unreadable) return `invalid format - ${error.message}\n`;
    throw error;
  }
}
