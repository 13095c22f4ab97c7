import { configurationShape, unsetOf, valuesOf, type Shape } from "./shape.ts";

/*
 * components/cluster-args.ts: the arguments of a cluster as TypeScript, with the words of the schema's metadata where an
 * editor shows them. The types that TypeScript infers from the schema have no comments.
 */

interface Interface {
  name: string;
  about: string;
  base?: string;
  /** The lines of each key. */
  keys: Map<string, string>;
}

/** Interfaces by name, in the order in which a reader meets them. */
type Interfaces = Map<string, Interface>;

/** The source of the arguments of a cluster. */
export function argumentsSource(shape: Shape = configurationShape()): string {
  const interfaces: Interfaces = new Map();
  declare(interfaces, "ClusterArgs", shape, ABOUT);
  const all = inherited([...interfaces.values()]);
  return [HEAD, ...all.map(sourceOf)].join("\n");
}

function sourceOf({ name, about, base, keys }: Interface): string {
  const head = `export interface ${name}${base === undefined ? "" : ` extends ${base}`} {`;
  return [...comment([about], ""), head, ...keys.values(), "}", ""].join("\n");
}

/** The interfaces, with what servers and pools have in common in one of its own, which extends that of the hardware. */
function inherited(interfaces: readonly Interface[]): Interface[] {
  const [hardware, servers, pool] = ["Defaults", "ControlPlane", "Pool"].map((of) =>
    interfaces.find(({ name }) => name === `Cluster${of}Args`),
  );
  if (hardware === undefined || servers === undefined || pool === undefined) return [...interfaces];
  const isIn = ({ keys }: Interface, [key, lines]: [string, string]) => keys.get(key) === lines;
  const without = ({ keys }: Interface, left: (one: [string, string]) => boolean) =>
    new Map([...keys].filter((one) => !left(one)));
  const node: Interface = {
    name: "ClusterNodeArgs",
    about: "What servers and pools of agents have in common.",
    base: hardware.name,
    keys: without(servers, (one) => !isIn(pool, one) || isIn(hardware, one)),
  };
  const heir = (of: Interface): Interface => ({
    ...of,
    base: node.name,
    keys: without(of, (one) => isIn(node, one) || isIn(hardware, one)),
  });
  return interfaces.flatMap((one) => {
    if (one === servers) return [node, heir(servers)];
    return [one === pool ? heir(pool) : one];
  });
}

/** @throws Error when two maps would have the same name and differ */
function declare(interfaces: Interfaces, name: string, { properties = {}, required = [] }: Shape, about: string): void {
  const before = interfaces.get(name);
  // Takes its place before those below it.
  if (before === undefined) interfaces.set(name, { name, about, keys: new Map() });
  const keys = Object.entries(properties).map(([key, shape]): [string, string] => {
    const isRequired = required.includes(key);
    const words = comment(wordsOf(shape, isRequired), "  ");
    return [key, [...words, `  ${key}${isRequired ? "" : "?"}: ${typeOf(interfaces, key, shape)};`].join("\n")];
  });
  const made = { name, about, keys: new Map(keys) };
  if (before !== undefined && sourceOf(before) !== sourceOf(made)) throw new Error(`two kinds of ${name}`);
  interfaces.set(name, made);
}

function typeOf(interfaces: Interfaces, key: string, shape: Shape): string {
  const { type, items, properties, additionalProperties, description = "" } = shape;
  if (shape.enum) return shape.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (items) return `${typeOf(interfaces, key.replace(/s$/, ""), { description, ...items })}[]`;
  if (properties) {
    const name = `Cluster${key.charAt(0).toUpperCase()}${key.slice(1)}Args`;
    declare(interfaces, name, shape, description);
    return name;
  }
  if (typeof additionalProperties === "object" && additionalProperties.properties)
    return `Record<string, ${typeOf(interfaces, key.replace(/s$/, ""), additionalProperties)}>`;
  if (type === "object") {
    const kind = typeof additionalProperties === "object" ? additionalProperties.type : undefined;
    return `Record<string, ${kind === "string" ? "string" : kind === "integer" ? "number" : "Json"}>`;
  }
  return [...new Set([type ?? "string"].flat().map((one) => (one === "integer" ? "number" : one)))].join(" | ");
}

/** The paragraphs and tags about a key. */
function wordsOf(shape: Shape, isRequired: boolean): string[] {
  const { description = "", change, type, items, properties } = shape;
  const isPlain = shape.values === undefined && type !== "integer" && type !== "number" && items?.values === undefined;
  const unset = isRequired || properties ? undefined : unsetOf(shape);
  return [
    description,
    ...(isPlain ? [] : [`Values: ${valuesOf(shape)}.`]),
    ...(change === undefined ? [] : [`A change of it: ${change}`]),
    ...(unset === undefined ? [] : [`@default ${unset.replace(/^`([^`]*)`$/, "$1")}`]),
  ];
}

/** A comment of 120 columns, with an empty line between paragraphs: editors show it as Markdown. */
function comment(paragraphs: readonly string[], indent: string): string[] {
  const lines = paragraphs.flatMap((paragraph, i) => [
    ...(i === 0 ? [] : [""]),
    ...wrapped(paragraph, 117 - indent.length),
  ]);
  const [only = ""] = lines;
  const oneLine = `${indent}/** ${only} */`;
  if (lines.length === 1 && oneLine.length <= 120) return [oneLine];
  return [`${indent}/**`, ...lines.map((line) => `${indent} * ${line}`.trimEnd()), `${indent} */`];
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = [""];
  for (const word of text.split(" ")) {
    const last = lines.at(-1) ?? "";
    if (last !== "" && last.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = last === "" ? word : `${last} ${word}`;
  }
  return lines;
}

const HEAD = `// Made by \`npm run docs\` from src/config/schema.ts: change the text there, and run it again.
import type { Json } from "../src/domain/model/canonical.ts";
`;

const ABOUT =
  "Arguments of a cluster: plain data, the keys of a stack's configuration without their namespace. What `In place`, `New nodes` and `New generation` mean, docs/configuration.md explains.";
