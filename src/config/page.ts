import { pathOf } from "./messages.ts";
import { code, configurationShape, unsetOf, valuesOf, type Shape } from "./shape.ts";

/*
 * docs/configuration.md: every key of the schema, in the words of its metadata. Tables have the form that Prettier gives
 * them.
 */

/** A key of the configuration. */
export interface Key {
  /** As an operator types it, with `[]` for every entry of a list: `evergreen:pools[].strategy.surge`. */
  path: string;
  description: string | undefined;
  /** What a change of the key does; a map with keys of its own may leave it to them. */
  change: string | undefined;
  values: string;
  /** The default, or what applies without the key. */
  unset: string | undefined;
  /** The keys of the map, or of each map of the list. Empty: the key has none. */
  keys: Key[];
}

/** All keys at the top of the configuration, each with the keys below it. */
export function configurationKeys(): Key[] {
  return keysOf(configurationShape(), (name) => pathOf([name]));
}

/** The keys of a map, each with the keys below it. */
export function keysOf({ properties = {}, required = [] }: Shape, pathFor: (name: string) => string): Key[] {
  return Object.entries(properties).map(([name, shape]) => {
    const path = pathFor(name);
    const [below, inside] = shape.items?.properties ? [shape.items, `${path}[]`] : [shape, path];
    return {
      path,
      description: shape.description,
      change: shape.change,
      values: valuesOf(shape),
      unset: required.includes(name) ? "required" : unsetOf(shape),
      keys: keysOf(below, (key) => `${inside}.${key}`),
    };
  });
}

/** A map that has keys of its own, in every place where it may stand: the page has one table of it. */
type Block = Key[];

/** The maps below these keys. One that may stand in several places comes where it may stand last. */
function blocksOf(keys: readonly Key[]): Block[] {
  const maps = keys.flatMap(withMapsBelow).toReversed();
  const alike = Map.groupBy(maps, ({ path, keys: own }) => JSON.stringify(own).replaceAll(path, ""));
  return [...alike.values()].map((block) => block.toReversed()).toReversed();
}

const withMapsBelow = (key: Key): Key[] => (key.keys.length === 0 ? [] : [key, ...key.keys.flatMap(withMapsBelow)]);

const headingOf = (block: Block): string => block.map(({ path }) => code(path)).join(" and ");

/** The link to a heading, as Markdown renderers make it. */
function anchorOf(heading: string): string {
  const kept = heading.toLowerCase().replace(/[^a-z0-9 -]/g, "");
  return `#${kept.replaceAll(" ", "-")}`;
}

/** A table in the form that Prettier gives it. */
export function table(rows: readonly (readonly string[])[]): string {
  const cells = rows.map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = (cells[0] ?? []).map((_, i) => Math.max(3, ...cells.map((row) => row[i]?.length ?? 0)));
  const lines = cells.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)));
  const [head = [], ...body] = lines;
  return [head, widths.map((width) => "-".repeat(width)), ...body].map((line) => `| ${line.join(" | ")} |`).join("\n");
}

/** @param same keys in several places that one row describes */
function row(same: readonly Key[], blocks: readonly Block[]): string[] {
  const paths = same.map(({ path }) => code(path)).join(", ");
  const { values = "", unset = "", description = "", change = "", keys = [] } = same[0] ?? {};
  const block = blocks.find((one) => one.some(({ path }) => path === same[0]?.path));
  const its = block && keys.length > 0 ? ` with [these keys](${anchorOf(headingOf(block))})` : "";
  return [paths, values + its, unset, description, change || (its && "As its keys say.")];
}

const HEAD = ["Key", "Values", "Default", "Meaning", "A change of it"];

/** The page, from the schema. */
export function configurationPage(keys: readonly Key[] = configurationKeys()): string {
  const blocks = blocksOf(keys);
  const sections = blocks.map((block) => {
    const [first] = block;
    const rows = (first?.keys ?? []).map((_, i) => block.flatMap((map) => map.keys[i] ?? []));
    const about = [first?.description ?? "", first?.unset === "required" ? "Required." : ""].filter(Boolean).join(" ");
    return `## ${headingOf(block)}\n\n${about}\n\n${table([HEAD, ...rows.map((same) => row(same, blocks))])}\n`;
  });
  const top = table([HEAD, ...keys.map((key) => row([key], blocks))]);
  return [INTRODUCTION, `## The keys at the top\n\n${top}\n`, ...sections].join("\n");
}

const INTRODUCTION = `# Configuration

<!-- Made by \`npm run docs\` from src/config/schema.ts: change the text there, and run it again. -->

All keys of a stack. They are in \`Pulumi.<stack>.yaml\`; \`Pulumi.prod.yaml\` is a complete example, and
[Production set-up](production.md) leads through it. Credentials are not among them: they come from
[the environment](production.md#5-tools-credentials-and-state). \`npx evergreen explain pools.strategy.surge\` prints what is said
here of a key; \`stack.schema.json\` beside this page has an editor complete and check them, with
\`# yaml-language-server: $schema=docs/stack.schema.json\` as first line of the file.

    config:
      evergreen:cluster: prod
      evergreen:pools:
        - name: workers             # evergreen:pools[].name
          strategy:
            surge: 2                # evergreen:pools[].strategy.surge

\`[]\` is every entry of a list. Messages have the number of the entry in its place, from 0:
\`evergreen:pools[1].strategy.surge\`. What a run refuses because two keys do not fit together is in
[What the messages mean](messages.md#configuration); the words of Evergreen are in the [glossary](glossary.md).

What a change does to a cluster that lives:

${table([
  ["A change of it", "What the next `pulumi up` does"],
  ["In place", "It uses the new value. No node is replaced."],
  ["New nodes", "The value counts for nodes that are made from now on. Existing nodes keep what they have."],
  ["New generation", "Every node of the pool is replaced, as the strategy of the pool says; servers one at a time."],
  ["Refused", "It stops before any node is touched, and says what to do."],
])}
`;
