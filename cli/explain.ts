import type { Command } from "commander";
import { configurationKeys, type Key } from "../src/config/page.ts";
import { UserError } from "../src/runtime/errors.ts";

/** `evergreen explain`: prints what a key of the configuration means, as docs/configuration.md does. */
export function explainCommand(program: Command): void {
  program
    .command("explain")
    .description("explain a key of a stack's configuration, such as pools.strategy.surge; all of them without a key")
    .argument("[key]", "the key, with or without evergreen: and [] of lists")
    .action((key: string | undefined) => {
      process.stdout.write(`${(key === undefined ? contents(configurationKeys()) : explained(key)).join("\n")}\n`);
    });
}

/** `evergreen:pools[0].slots` as `pools.slots`. */
const plain = (path: string): string => path.replace(/^evergreen:/, "").replace(/\[\d*\]/g, "");

const all = (keys: readonly Key[]): Key[] => keys.flatMap((key) => [key, ...all(key.keys)]);

/**
 * What a key means, line by line.
 * @throws UserError when there is no such key
 */
export function explained(path: string): string[] {
  const keys = all(configurationKeys());
  const key = keys.find((one) => plain(one.path) === plain(path));
  if (key === undefined) {
    const last = plain(path).split(".").at(-1) ?? "";
    const alike = keys.filter((one) => plain(one.path).split(".").at(-1) === last).map((one) => plain(one.path));
    throw new UserError({
      what: `the configuration has no key ${plain(path)}`,
      where: "evergreen explain",
      todo: alike.length > 0 ? `did you mean ${alike.join(", ")}?` : "npx evergreen explain lists all of them",
    });
  }
  const facts = [
    ["values", key.values],
    ["unset", key.unset],
    ["change", key.change],
  ].flatMap(([name = "", value]) => (value === undefined ? [] : [`  ${`${name}:`.padEnd(8)} ${unquoted(value)}`]));
  return [
    key.path,
    ...(key.description === undefined ? [] : [`  ${unquoted(key.description)}`]),
    ...facts,
    ...contents(key.keys),
  ];
}

/** Keys with the first sentence about each. */
function contents(keys: readonly Key[]): string[] {
  const listed = all(keys);
  const width = Math.max(0, ...listed.map(({ path }) => path.length));
  return listed.map(({ path, description = "" }) => `  ${path.padEnd(width)}  ${firstSentence(unquoted(description))}`);
}

const firstSentence = (text: string): string => /^.*?\.(?= |$)/.exec(text)?.[0] ?? text;

/** Without the links and code marks of Markdown. */
const unquoted = (text: string): string => text.replace(/\[([^\]]+)\]\([^)]*\)/g, "$1").replaceAll("`", "");
