import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Finding } from "../../tools/inspect.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { node24 } from "../../tools/paths.ts";
import { goTools, plugins, proxmoxStandIn } from "../../tools/pins.ts";
import { STAND_IN } from "../../src/runtime/stand-ins.ts";
import { Scratch } from "./fakes.ts";

const evergreen = join(projectRoot, "cli", "bin", "evergreen.mjs");

describe("the doctor", () => {
  let scratch: Scratch;
  beforeEach(() => (scratch = new Scratch()));
  afterEach(() => scratch[Symbol.dispose]());

  function doctor(args: string[], path: string) {
    const env = { PATH: path, EVERGREEN_CACHE: join(scratch.path, "cache") };
    return spawnSync(node24, [evergreen, "doctor", ...args], { env, encoding: "utf8" });
  }

  function findings(path: string): Map<string, Finding> {
    const list = JSON.parse(doctor(["--json"], path).stdout) as Finding[];
    return new Map(list.map((finding) => [finding.name, finding]));
  }

  it("names all that is missing on a bare machine, with how to get it, and fails", () => {
    const { status, stdout } = doctor([], "/nowhere");
    assert.equal(status, 1);
    assert.match(stdout, /^missing {3}go .*no program `go` on PATH\n {10}do: install Go 1\.26/m);
    assert.match(stdout, /^missing {3}git .*\n {10}do: install git$/m);
    assert.match(stdout, /^missing {3}setpriv .*\n {10}do: install util-linux 2\.33 or newer/m);
    for (const { name } of goTools.filter((tool) => tool !== proxmoxStandIn))
      assert.match(stdout, new RegExp(`^missing {3}${name} .*\\n {10}do: run \`npx evergreen setup\`$`, "m"));
    for (const { name } of plugins) assert.match(stdout, new RegExp(`^missing {3}plugin ${name} `, "m"));
    assert.match(stdout, /\d+ missing\n$/);
  });

  it("asks of a real site with a Pulumi CLI neither Go nor anything of the lab", () => {
    scratch.script("bin/pulumi", "echo v3.300.1");
    scratch.script("bin/pulumi-language-nodejs", "true");
    const names = (path: string) =>
      (JSON.parse(doctor(["--json", "--stack", "prod"], path).stdout) as Finding[]).map(({ name }) => name);
    const needed = ["pulumi", "pulumi-language-nodejs", "plugin command", "plugin proxmoxve", "steps"];
    assert.deepEqual(names(join(scratch.path, "bin")), ["node", "git", ...needed]);
    assert.deepEqual(names("/nowhere").slice(0, 8), ["node", "go", "git", ...needed], "a CLI has to be built");
  });

  it("changes nothing", () => {
    doctor([], "/nowhere");
    assert.deepEqual(readdirSync(scratch.path), []);
  });

  it("takes only a setpriv that can end a program with its parent", () => {
    scratch.script("old/setpriv", '[ "$1" != --pdeathsig ]');
    scratch.script("new/setpriv", 'echo "setpriv from util-linux 2.39.3"');
    assert.equal(findings(join(scratch.path, "old")).get("setpriv")?.state, "missing");
    const { version, state } = findings(join(scratch.path, "new")).get("setpriv") ?? assert.fail();
    assert.deepEqual({ version, state }, { version: "2.39.3", state: "ok" });
  });

  it("says where a Pulumi CLI of the machine came from", () => {
    const cli = scratch.script("bin/pulumi", "echo v3.300.1");
    scratch.script("bin/pulumi-language-nodejs", "true");
    const found = findings(join(scratch.path, "bin"));
    const { version, state, from } = found.get("pulumi") ?? assert.fail();
    assert.deepEqual({ version, state, from }, { version: "3.300.1", state: "ok", from: `PATH, ${cli}` });
    assert.equal(found.get("pulumi-language-nodejs")?.state, "ok");
  });

  function commandStandIn() {
    const directory = "cache/pulumi-home/plugins/resource-command-v1.2.1";
    scratch.file(`${directory}/pulumi-resource-command`, "");
    scratch.file(`${directory}/${STAND_IN}`, "");
  }

  it("calls a plugin missing when a real site has only its stand-in", () => {
    commandStandIn();
    const { status, stdout } = doctor(["--stack", "prod"], "/nowhere");
    assert.equal(status, 1);
    assert.match(stdout, /^missing {3}plugin command .*a stand-in is there, and only the lab may run on it/m);
    assert.match(stdout, /do: where .* can be reached, run `npx evergreen setup --stack prod`$/m);
    assert.doesNotMatch(stdout, /^stand-in/m);
  });

  it("says plainly what is a stand-in, and why", () => {
    commandStandIn();
    const at = new Date().toISOString();
    scratch.file("cache/official/command-1.2.1.json", JSON.stringify({ at, why: "no such host" }));
    const finding = findings("/nowhere").get("plugin command") ?? assert.fail();
    assert.equal(finding.state, "stand-in");
    assert.match(finding.from, new RegExp(`out of reach at ${at}: no such host`));
    assert.match(finding.todo ?? "", /good for the lab only/);
  });
});
