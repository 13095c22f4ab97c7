import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Runner } from "../../cli/demo/runner.ts";
import { alive, identify } from "../../lab/processes.ts";
import { Deadline } from "../../src/runtime/deadline.ts";

/** Starts what waits for ever in a session of its own, as a rollback does with its engine, and waits for it. */
const command = `
  import { spawn } from "node:child_process";
  import { once } from "node:events";
  import { writeFileSync } from "node:fs";
  const engine = spawn(process.execPath, ["--eval", "setInterval(() => {}, 1e9)"], { detached: true, stdio: "inherit" });
  writeFileSync("pid", String(engine.pid));
  await once(engine, "exit");
`;

describe("a command of the demo", () => {
  let directory: string;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), "evergreen-runner-"));
    await mkdir(join(directory, "cli", "bin"), { recursive: true });
    await writeFile(join(directory, "cli", "bin", "evergreen.mjs"), command);
  });

  after(() => rm(directory, { recursive: true }));

  it("ends at Ctrl-C with all that it started, whatever its session", async () => {
    const abort = new AbortController();
    const runner = new Runner(directory, process.env, join(directory, "log"), abort.signal);
    const ran = assert.rejects(runner.run("evergreen", ["rollback"]), /Ctrl-C/);
    const engine = await new Deadline("the engine", 20).poll(20, async () => {
      const pid = await readFile(join(directory, "pid"), "utf8").catch(() => "");
      return pid === "" ? undefined : identify(Number(pid));
    });
    abort.abort(new Error("Ctrl-C"));
    await ran;
    assert.equal(alive(engine), false);
  });
});
