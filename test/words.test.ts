import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { projectRoot } from "../src/runtime/project.ts";

/** Words that were private to this program, and what the field calls them (docs/glossary.md). */
const retired: [word: RegExp, standard: string][] = [
  [/half-?made/i, "incomplete"],
  [/\bunwell\b/i, "unhealthy"],
  [/\bleavers?(Of)?\b/i, "departing nodes"],
  [/\btickets\b/i, "disruption leases"],
  [/\bfleets?\b/i, "cluster"],
  [/\bscenes?\b/i, "connection, or what is given"],
  [/\bill ?everywhere\b/i, "ready nowhere"],
];

const rooms = ["cli", "components", "lab", "src", "test", "tools"];

describe("names, comments, messages and pages", () => {
  it("use no word that was retired for a standard one", () => {
    const files = [
      ...rooms.flatMap((room) => globSync(join(projectRoot, room, "**/*.ts"))),
      ...globSync(join(projectRoot, "{*.md,index.ts,docs/*.md}")),
    ].filter((file) => !/node_modules|CHANGELOG\.md$|words\.test\.ts$/.test(file));
    assert.ok(files.length > 300, "the files are found");
    const found = files.flatMap((file) =>
      readFileSync(file, "utf8")
        .split("\n")
        .flatMap((line, index) =>
          retired
            .filter(([word]) => word.test(line))
            .map(([, standard]) => `${relative(projectRoot, file)}:${index + 1}: ${line.trim()} (say: ${standard})`),
        ),
    );
    assert.deepEqual(found, []);
  });

  it("are few: the glossary fits on a screen", () => {
    const page = readFileSync(join(projectRoot, "docs/glossary.md"), "utf8");
    const words = page.split("\n").filter((line) => /^\| (?!word |-)/.test(line));
    assert.ok(words.length > 10 && words.length < 25, `${words.length} words`);
  });
});
