import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { projectRoot } from "../../src/runtime/project.ts";

describe("evergreen whose reader has gone", () => {
  it("ends as it would have ended, and not with a stack trace", async () => {
    const program = join(projectRoot, "cli", "bin", "evergreen.mjs");
    const child = spawn(process.execPath, [program, "doctor", "--stack", "prod", "--json"], { cwd: projectRoot });
    child.stdout.destroy();
    const [said, [code]] = await Promise.all([text(child.stderr), once(child, "close") as Promise<[number]>]);
    assert.equal(said, "");
    // 1: on this machine a tool of a real site is missing.
    assert.ok(code === 0 || code === 1, String(code));
  });
});
