import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { VM_TYPE } from "../../src/recovery/engine-state.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { node24 } from "../../tools/paths.ts";
import { Scratch } from "../tools/fakes.ts";

/** The command as it is, with an engine that only notes what it was told, where, and of which commit. */
describe("evergreen rollback", function () {
  this.timeout(180_000);
  let scratch: Scratch;
  let repository: string;
  let first: string;

  const notes = (file: string) => {
    const path = join(scratch.path, file);
    return existsSync(path) ? readFileSync(path, "utf8").trim() : "";
  };
  const env = () => ({
    PATH: `${join(scratch.path, "bin")}:${process.env.PATH ?? ""}`,
    HOME: scratch.path,
    EVERGREEN_CACHE: join(scratch.path, "cache"),
    PULUMI_BACKEND_URL: `file://${scratch.path}/backend`,
  });
  const git = (...args: string[]) => {
    const identity = ["-c", "user.name=ops", "-c", "user.email=ops@example.org"];
    const { status, stdout, stderr } = spawnSync("git", [...identity, ...args], {
      cwd: repository,
      env: env(),
      encoding: "utf8",
    });
    assert.equal(status, 0, stderr);
    return stdout.trim();
  };
  const commit = (passphrase: string): string => {
    scratch.file(
      "site/Pulumi.dev.yaml",
      `encryptionsalt: ${passphrase}\nconfig:\n  evergreen:cluster: ${passphrase}\n`,
    );
    git("add", "Pulumi.yaml", "Pulumi.dev.yaml");
    git("commit", "-qm", passphrase);
    return git("rev-parse", "HEAD");
  };
  const rollback = (...args: string[]) =>
    spawnSync(
      node24,
      [join(repository, "cli", "bin", "evergreen.mjs"), "rollback", "--stack", "dev", "--to", first, ...args],
      { cwd: repository, env: env(), encoding: "utf8" },
    );

  before(() => {
    scratch = new Scratch();
    repository = join(scratch.path, "site");
    // What is in the repository, or will be: other tests leave files of seconds in this one meanwhile.
    const listed = [
      "ls-files",
      "-z",
      "--cached",
      "--others",
      "--exclude-standard",
      "--",
      ":!test",
      ":!docs",
      ":!bench",
    ];
    const files = spawnSync("git", listed, { cwd: projectRoot, encoding: "utf8" }).stdout.split("\0").filter(Boolean);
    for (const file of files.filter((one) => existsSync(join(projectRoot, one))))
      cpSync(join(projectRoot, file), join(repository, file), { recursive: true, verbatimSymlinks: true });
    symlinkSync(join(projectRoot, "node_modules"), join(repository, "node_modules"));
    git("init", "-q");
    first = commit("salt-of-then");
    commit("salt-of-today");
    scratch.script("bin/pulumi-language-nodejs", "true");
    const note = (file: string) => `> ${scratch.path}/${file}`;
    scratch.script(
      "bin/pulumi",
      `case $1 in
version) echo v3.300.0 ;;
plugin) d=$PULUMI_HOME/plugins/resource-$4-v$5; mkdir -p $d; echo > $d/pulumi-resource-$4 ;;
up|preview) echo "$@" ${note("told")}; pwd ${note("where")}; git rev-parse HEAD ${note("commit")}
  cat Pulumi.dev.yaml ${note("stack")}; exit $(cat ${scratch.path}/code) ;;
esac`,
    );
  });
  after(() => scratch[Symbol.dispose]());
  beforeEach(() => {
    for (const file of ["told", "where", "commit", "stack"]) scratch.file(file, "");
    scratch.file("code", "0");
  });

  it("updates from the commit in a work tree that goes again, and ends as the engine does", () => {
    scratch.file("code", "1");
    assert.equal(rollback("--yes").status, 1);
    assert.equal(notes("told"), "up --yes --skip-preview --stack dev --message evergreen rollback");
    assert.equal(notes("commit"), first);
    assert.notEqual(notes("where"), repository);
    assert.equal(existsSync(notes("where")), false);
    assert.equal(git("worktree", "list").split("\n").length, 1);
  });

  it("asks for what the stack was then, encrypted as it is today", () => {
    const { status, stderr } = rollback("--yes");
    // The stack of this test has no site.
    assert.match(stderr, /the update has succeeded, and what it has brought back cannot be seen:\n.*evergreen:/s);
    assert.equal(status, 1);
    assert.equal(notes("stack"), "encryptionsalt: salt-of-today\nconfig:\n  evergreen:cluster: salt-of-then");
  });

  it("takes what --to names for a commit, also when it looks like an option", () => {
    git("update-ref", "refs/tags/--then", first);
    assert.equal(rollback("--preview", "--to=--then").status, 0);
    assert.equal(notes("commit"), first);
  });

  for (const { what, initErrors, said } of [
    {
      what: "a VM that its run could not configure",
      initErrors: ["can't lock file"],
      said: /has made a VM and could not configure it; what it left is repaired first/,
    },
    {
      what: "a VM that nothing has claimed",
      initErrors: [],
      said: /has a VM that nothing has claimed; what it left is repaired first/,
    },
  ])
    describe(`with ${what} in the state`, () => {
      const state = () => join(scratch.path, "backend/.pulumi/stacks/evergreen/dev.json");
      before(() => {
        const outputs = { name: "demo-workers-0-0a1b2c3d", vmId: 1100, nodeName: "pve1" };
        const vm = {
          type: VM_TYPE,
          urn: `urn:pulumi:dev::evergreen::${VM_TYPE}::demo-workers-0-0a1b2c3d`,
          initErrors,
          outputs,
        };
        const checkpoint = { latest: { resources: [vm] } };
        scratch.file("backend/.pulumi/stacks/evergreen/dev.json", JSON.stringify({ checkpoint }));
        const prod = readFileSync(join(projectRoot, "Pulumi.prod.yaml"), "utf8");
        scratch.file("site/Pulumi.dev.yaml", prod.replace("evergreen:cluster: prod", "evergreen:cluster: demo"));
        git("commit", "-qam", "a whole configuration");
      });
      after(() => {
        rmSync(state());
        commit("salt-of-today");
      });

      it("has that repaired first, and begins nothing when it cannot be", () => {
        const { status, stdout } = rollback("--yes");
        assert.match(stdout, said);
        assert.deepEqual([status, notes("told")], [1, ""]);
      });
    });

  describe("while the engine of another update may live", () => {
    before(() => {
      const lock = { pid: process.pid, hostname: hostname(), username: "ops", timestamp: new Date().toISOString() };
      scratch.file("backend/.pulumi/locks/organization/evergreen/dev/1.json", JSON.stringify(lock));
    });

    it("begins no update", () => {
      const { status, stderr } = rollback("--yes");
      assert.match(stderr, /an update of stack dev is running/);
      assert.deepEqual([status, notes("told")], [1, ""]);
    });

    it("shows all the same what would be done", () => {
      rollback("--preview");
      assert.equal(notes("told"), "preview --stack dev --message evergreen rollback");
    });
  });
});
