import { configurationShape, unsetOf, valuesOf, type Shape } from "./shape.ts";

/*
 * components/cluster-args.ts: the arguments of a cluster as TypeScript, with the words of the schema's metadata where an
 * editor shows them. The types that TypeScript infers from the schema have no comments.
 */

/** Interfaces by name, in the order in which a reader meets them. */
type Interfaces = Map<string, string>;

/** The source of the arguments of a cluster. */
export function argumentsSource(shape: Shape = configurationShape()): string {
  const interfaces: Interfaces = new Map();
  declare(interfaces, "ClusterArgs", shape, ABOUT);
  return [HEAD, ...interfaces.values()].join("\n");
}

/** @throws Error when two maps would have the same name and differ */
function declare(interfaces: Interfaces, name: string, { properties = {}, required = [] }: Shape, about: string): void {
  const before = interfaces.get(name);
  // Takes its place before those below it.
  interfaces.set(name, before ?? "");
  const lines = Object.entries(properties).flatMap(([key, shape]) => [
    ...comment(wordsOf(shape, required.includes(key)), "  "),
    `  ${key}${required.includes(key) ? "" : "?"}: ${typeOf(interfaces, key, shape)};`,
  ]);
  const source = [...comment([about], ""), `export interface ${name} {`, ...lines, "}", ""].join("\n");
  if (before !== undefined && before !== source) throw new Error(`two kinds of ${name}`);
  interfaces.set(name, source);
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
