import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hasDeclared, noteDeclared, noteEngine, notedEngine } from "../../src/runtime/engine-notes.ts";

describe("notes of engines", () => {
  const before = process.env.TMPDIR;
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "evergreen-notes-"));
    process.env.TMPDIR = folder;
  });
  afterEach(() => {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
    rmSync(folder, { recursive: true });
  });

  it("of more than a week ago go when another engine is noted", () => {
    const engine = { pid: 4711, start: 1, scope: "0".repeat(16) };
    noteEngine(engine);
    const notes = join(folder, readdirSync(folder)[0] ?? "");
    const aged = (name: string, days: number) => {
      const file = join(notes, name);
      writeFileSync(file, "{}");
      const then = new Date(Date.now() - days * 24 * 3600 * 1000);
      utimesSync(file, then, then);
      return file;
    };
    const [old, young] = [aged("1.1.a.json", 8), aged("2.1.a.json", 6)];
    noteDeclared(engine, "demo");
    noteEngine({ ...engine, pid: 4712 });
    assert.deepEqual([existsSync(old), existsSync(young)], [false, true]);
    assert.ok(hasDeclared(engine, "demo"));
    assert.equal(notedEngine(4711, Date.now())?.pid, 4711);
  });
});
