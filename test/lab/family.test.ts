import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { Family } from "../../lab/family.ts";
import { alive, identify } from "../../lab/processes.ts";

/** Starts a process in a session of its own, says its pid, and ends. */
const parent = `
  const { spawn } = require("node:child_process");
  const child = spawn(process.execPath, ["--eval", "setInterval(() => {}, 1e9)"], { detached: true, stdio: "ignore" });
  child.unref();
  console.log(child.pid);
`;

describe("the processes of a family", () => {
  const family = new Family();

  afterEach(() => family.kill());

  async function startOrphan(env: NodeJS.ProcessEnv) {
    const child = spawn(process.execPath, ["--eval", parent], { env, stdio: ["ignore", "pipe", "inherit"] });
    const [[said]] = (await Promise.all([once(child.stdout, "data"), once(child, "exit")])) as [[Buffer], unknown[]];
    return identify(Number(said.toString()));
  }

  it("are also those in another session whose parent has ended", async () => {
    const orphan = await startOrphan({ ...process.env, ...family.env });
    assert.deepEqual(family.pids, [orphan.pid]);
    await family.kill();
    assert.equal(alive(orphan), false);
    assert.deepEqual(family.pids, []);
  });

  it("are none of another one's", async () => {
    const other = new Family();
    const orphan = await startOrphan({ ...process.env, ...other.env });
    await family.kill();
    assert.equal(alive(orphan), true);
    await other.kill();
    assert.equal(alive(orphan), false);
  });
});
