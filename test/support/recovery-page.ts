/** The commands of docs/recovery.md, read from the page itself. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "../../src/runtime/project.ts";

const page = readFileSync(join(projectRoot, "docs", "recovery.md"), "utf8");

/** Values for the placeholder words in capitals. */
export type Words = Readonly<Record<string, string>>;

/** @returns the command of a section that starts with `beginning`, with its placeholders filled in */
export function commandOf(section: string, beginning: string, words: Words = {}): string {
  const commands = commandsOf(section);
  const found = commands.find((line) => line.startsWith(beginning));
  assert.ok(found !== undefined, `no command begins with "${beginning}" among: ${commands.join("; ")}`);
  return Object.entries(words).reduce((line, [word, value]) => line.replaceAll(word, value), found);
}

/** The commands of a section, as an operator reads them. */
function commandsOf(section: string): string[] {
  const [, text] = page.split(`\n## ${section}\n`);
  assert.ok(text !== undefined, `docs/recovery.md has no section ${section}`);
  const lines = (text.split("\n## ")[0] ?? "").split("\n");
  return lines.flatMap((line) => /^ {4,}(\S.*?)(?: +#.*)?$/.exec(line)?.[1] ?? []);
}
