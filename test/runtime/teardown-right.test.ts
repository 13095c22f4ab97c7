import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { noteDeclared } from "../../src/runtime/engine-notes.ts";
import { identify, type ProcessIdentity } from "../../src/runtime/process-identity.ts";
import { mayTearDown } from "../../src/runtime/refused-flags.ts";

/** A process that was started as `sh COMMAND --yes`, until `work` has ended. */
async function withEngine(command: string, work: (engine: ProcessIdentity) => void): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "eg-right-"));
  await writeFile(join(directory, command), "read line\n");
  const child = spawn("sh", [command, "--yes"], { cwd: directory, stdio: ["pipe", "ignore", "ignore"] });
  await once(child, "spawn");
  try {
    const engine = identify(child.pid ?? 0);
    assert.ok(engine);
    work(engine);
  } finally {
    child.kill("SIGKILL");
    await once(child, "exit");
    await rm(directory, { recursive: true });
  }
}

describe("the right to take a whole cluster away", () => {
  for (const command of ["destroy", "down", "dn"])
    it(`is that of an engine that runs \`${command}\`, whatever its program declares`, async () => {
      await withEngine(command, (engine) => {
        assert.equal(mayTearDown(engine, "demo"), true);
        noteDeclared(engine, "demo");
        assert.equal(mayTearDown(engine, "demo"), true);
      });
    });

  for (const command of ["up", "update", "watch"])
    it(`is that of \`${command}\` for the clusters alone that its program does not declare`, async () => {
      await withEngine(command, (engine) => {
        noteDeclared(engine, "demo");
        assert.equal(mayTearDown(engine, "demo"), false);
        assert.equal(mayTearDown(engine, "former"), true);
      });
    });

  it("is nobody's once the engine has ended", () => {
    assert.equal(mayTearDown(undefined, "demo"), false);
  });
});
