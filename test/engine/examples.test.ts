import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Workspace } from "../../cli/demo/workspace.ts";
import { toolchain } from "../../tools/index.ts";
import { Scratch } from "../tools/fakes.ts";

/** As far as they come without a Proxmox VE: the tests of components/ hold what they declare. */
describe("the examples under the real engine", function () {
  this.timeout(180_000);

  for (const example of ["two-clusters", "node-pool"])
    it(`${example} is a project of its own, whose arguments are right`, async () => {
      using scratch = new Scratch();
      const tools = await toolchain({ parts: ["engine"], quiet: true });
      const { directory } = await Workspace.create(join(scratch.path, "checkout"), "127.69");
      const state = join(scratch.path, "state");
      mkdirSync(state);
      const env = {
        ...tools.environment({}, "none"),
        PULUMI_BACKEND_URL: `file://${state}`,
        PULUMI_CONFIG_PASSPHRASE: "x",
        PROXMOX_VE_ENDPOINT: "https://127.69.0.99:8006",
        PROXMOX_VE_API_TOKEN: "evergreen@pve!test=00000000-0000-0000-0000-000000000000",
      };
      const cwd = join(directory, "examples", example);
      const pulumi = (...args: string[]) =>
        spawnSync(tools.pulumi, [...args, "--non-interactive"], { cwd, env, encoding: "utf8" });
      assert.equal(pulumi("stack", "init", "test").status, 0);
      const { status, stdout, stderr } = pulumi("preview", "--stack", "test");
      assert.notEqual(status, 0);
      assert.match(stdout + stderr, /error: Proxmox does not answer \(ECONNREFUSED/);
      assert.doesNotMatch(stdout + stderr, /unhandled|cannot be used/);
      const step = spawnSync("./bin/step", ["unknown"], { cwd, env, encoding: "utf8" });
      assert.match(step.stdout + step.stderr, /unknown/);
    });
});
