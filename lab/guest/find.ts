/** `find` as far as checks of images ask for it. */
import type { GuestFiles } from "./files.ts";

interface Entry {
  path: string;
  kind: "f" | "d";
  depth: number;
  bytes: number;
}

/**
 * Entries that match, in order.
 * @param words paths, then tests: -type, -name, -path, -mindepth, -maxdepth, -size +N; `!` turns the next one
 * @returns undefined for a test that is not among these
 */
export function findEntries(files: GuestFiles, words: readonly string[]): string[] | undefined {
  const first = words.findIndex((word) => /^[-!]/.test(word));
  const roots = first < 0 ? words : words.slice(0, first);
  const tests = first < 0 ? [] : testsOf(words.slice(first));
  if (tests === undefined) return undefined;
  const found = roots.flatMap((root) => entriesOf(files, root)).filter((entry) => tests.every((test) => test(entry)));
  return found.map(({ path }) => path).toSorted();
}

type Test = (entry: Entry) => boolean;

function testsOf(words: readonly string[]): Test[] | undefined {
  const tests: Test[] = [];
  for (let at = 0; at < words.length; at += 1) {
    const isTurned = words[at] === "!";
    if (isTurned) at += 1;
    const test = testOf(words[at] ?? "", words[at + 1] ?? "");
    if (test === undefined) return undefined;
    tests.push(isTurned ? (entry) => !test(entry) : test);
    at += 1;
  }
  return tests;
}

function testOf(name: string, value: string): Test | undefined {
  const number = Number(value);
  switch (name) {
    case "-type":
      return ({ kind }) => kind === value;
    case "-name":
      return ({ path }) => patternOf(value).test(path.split("/").at(-1) ?? "");
    case "-path":
      return ({ path }) => patternOf(value).test(path);
    case "-mindepth":
      return ({ depth }) => depth >= number;
    case "-maxdepth":
      return ({ depth }) => depth <= number;
    case "-size":
      return ({ bytes }) => bytes > number;
    default:
      return undefined;
  }
}

/** The pattern of a shell as one of ours. */
function patternOf(pattern: string): RegExp {
  const source = pattern
    .replace(/[.+^${}()|\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`);
}

/** A path and all below it; directories are those that files lie in. */
function entriesOf(files: GuestFiles, root: string): Entry[] {
  const entries = new Map<string, Entry>();
  for (const path of files.below(root)) {
    const parts = path.slice(root.length).split("/").filter(Boolean);
    for (let depth = 0; depth < parts.length; depth += 1) {
      const directory = [root, ...parts.slice(0, depth)].join("/");
      entries.set(directory, { path: directory, kind: "d", depth, bytes: 4096 });
    }
    entries.set(path, { path, kind: "f", depth: parts.length, bytes: files.get(path)?.length ?? 0 });
  }
  return [...entries.values()];
}
