import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, symlinkSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { allOnPath } from "../../tools/go.ts";
import { toolchain } from "../../tools/index.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { Scratch } from "./fakes.ts";

describe("a program under the real engine", function () {
  this.timeout(180_000);

  const directories = [...new Set(allOnPath("node").map((node) => dirname(node)))];
  const cases: [string, (path: string) => string][] = [
    ["the project's own Node first on PATH", (path) => path],
    // As with a bare `pulumi`: whatever the machine has stands before ours.
    ["the machine's Node first on PATH", (path) => [...directories.reverse(), path].join(delimiter)],
  ];

  for (const [name, pathOf] of cases) {
    it(`runs as TypeScript on Node 24 with ${name}`, async () => {
      using scratch = new Scratch();
      const tools = await toolchain({ parts: ["engine"], quiet: true });
      const state = join(scratch.path, "state");
      mkdirSync(state);
      const env = tools.environment({ PULUMI_BACKEND_URL: `file://${state}`, PULUMI_CONFIG_PASSPHRASE: "x" }, "none");
      env.PATH = pathOf(env.PATH ?? "");
      copyFileSync(join(projectRoot, "Pulumi.yaml"), join(scratch.path, "Pulumi.yaml"));
      for (const shared of ["node_modules", "tools"])
        symlinkSync(join(projectRoot, shared), join(scratch.path, shared));
      scratch.file("package.json", '{ "type": "module" }');
      scratch.file("index.ts", "export const node: string = process.versions.node;\n");

      const pulumi = (...args: string[]) => {
        const ran = spawnSync(tools.pulumi, [...args, "--non-interactive"], {
          cwd: scratch.path,
          env,
          encoding: "utf8",
        });
        assert.equal(ran.status, 0, ran.stdout + ran.stderr);
        return ran.stdout;
      };
      pulumi("stack", "init", "dev");
      pulumi("up", "--yes", "--skip-preview", "--stack", "dev");
      assert.match(pulumi("stack", "output", "node", "--stack", "dev"), /^24\./);
    });
  }
});
