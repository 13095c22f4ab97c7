import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Deadline } from "../../src/runtime/deadline.ts";
import { allOnPath } from "../../tools/go.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { node24 } from "../../tools/paths.ts";
import { Scratch } from "./fakes.ts";

const evergreen = join(projectRoot, "cli", "bin", "evergreen.mjs");
const pulumi = join(projectRoot, "cli", "bin", "pulumi.mjs");

/** A Node that cannot strip types, when the machine has one. */
const oldNode = allOnPath("node").find((node) => {
  const version = /^v(\d+)\./.exec(spawnSync(node, ["--version"], { encoding: "utf8" }).stdout)?.[1];
  return version !== undefined && Number(version) < 24;
});

const nodes: [string, string | undefined][] = [
  ["Node 24", node24],
  ["an older Node", oldNode],
];

for (const [name, node] of nodes) {
  describe(`the launchers under ${name}`, () => {
    let scratch: Scratch;
    let env: Record<string, string>;

    before(function () {
      if (node === undefined) this.skip();
    });

    beforeEach(() => {
      scratch = new Scratch();
      // A machine with a Pulumi CLI that can reach its releases, and without Go.
      scratch.script(
        "bin/pulumi",
        `case $1 in
version) echo v3.300.0 ;;
plugin) [ ! -e ${scratch.path}/offline ] || { echo 'dial tcp: no such host' >&2; exit 1; }
  d=$PULUMI_HOME/plugins/resource-$4-v$5; /bin/mkdir -p $d; echo > $d/pulumi-resource-$4 ;;
env) /usr/bin/env ;;
args) shift; for a in "$@"; do echo "<$a>"; done ;;
fail) exit $2 ;;
cat) /bin/cat ;;
wait) trap 'echo terminated; exit 7' TERM; trap 'echo interrupted; exit 8' INT
  echo $$ > ${scratch.path}/pid; while :; do /bin/sleep 0.05; done ;;
die) kill -9 $$ ;;
esac`,
      );
      scratch.script("bin/pulumi-language-nodejs", "true");
      env = { PATH: join(scratch.path, "bin"), HOME: scratch.path, EVERGREEN_CACHE: join(scratch.path, "cache") };
    });

    afterEach(() => scratch[Symbol.dispose]());

    const run = (launcher: string, args: string[], input = "") =>
      spawnSync(node ?? "", [launcher, ...args], { env, encoding: "utf8", input });

    it("pass arguments, input and exit code through", () => {
      assert.equal(run(pulumi, ["args", "two words", "--", "$HOME", ""]).stdout, "<two words>\n<-->\n<$HOME>\n<>\n");
      assert.equal(run(pulumi, ["fail", "9"]).status, 9);
      assert.equal(run(pulumi, ["cat"], "typed").stdout, "typed");
      assert.equal(run(pulumi, ["args", "x"]).stderr.includes("Warning"), false);
    });

    it("give the CLI its own home and our Node, and leave the user's home alone", () => {
      const lines = run(pulumi, ["env", "--stack", "prod"]).stdout.split("\n");
      assert.ok(lines.includes(`PULUMI_HOME=${scratch.path}/cache/pulumi-home`));
      assert.ok(lines.some((line) => line.startsWith(`PATH=${projectRoot}/node_modules/.bin:`)));
      assert.equal(existsSync(join(scratch.path, ".pulumi")), false);
    });

    it("hand SIGTERM to the CLI, and its exit code back", async () => {
      const { child, pid } = await start();
      child.kill("SIGTERM");
      assert.deepEqual(await once(child, "exit"), [7, null]);
      assert.equal(alive(pid), false);
    });

    it("leave SIGINT of a terminal to the CLI: it gets it once, and decides", async () => {
      const { child } = await start();
      let printed = "";
      child.stdout?.setEncoding("utf8").on("data", (text: string) => (printed += text));
      process.kill(-(child.pid ?? 0), "SIGINT");
      assert.deepEqual(await once(child, "close"), [8, null]);
      assert.equal(printed, "interrupted\n");
    });

    it("end as a killed CLI ends", () => {
      const { status, signal } = run(pulumi, ["die"]);
      assert.ok(signal === "SIGKILL" || status === 137, `${String(status)} ${String(signal)}`);
    });

    it("print what the user can act on as three lines, without a stack", () => {
      const { status, stderr } = run(evergreen, ["setup"]);
      assert.equal(status, 1);
      assert.match(stderr, /^(?:.*\.\.\.\n.*: done.*\n)*Go is missing: .*\n {2}where: .*\n {2}do: {4}install Go .*\n$/);
    });

    it("set a real site up without Go, whatever failed before, and with nothing that stands in", () => {
      const offline = scratch.file("offline", "");
      const plugins = () => readdirSync(join(scratch.path, "cache", "pulumi-home", "plugins"));
      const first = run(evergreen, ["setup", "--stack", "prod"]);
      assert.equal(first.status, 1, first.stderr);
      assert.match(
        first.stderr,
        /the official plugin command 1\.2\.1 cannot be installed: dial tcp: no such host\n {2}where: pulumi plugin install .*stack prod.*\n {2}do: {4}run `npx evergreen setup --stack prod`/,
      );
      assert.throws(plugins, /ENOENT/);
      const update = run(pulumi, ["up", "--stack", "prod"]);
      assert.equal(update.status, 1, update.stderr);
      assert.match(update.stderr, /cannot be installed/);
      assert.equal(run(pulumi, ["config", "--stack", "prod"]).status, 0, "a configuration needs no plugin");
      rmSync(offline);
      const again = run(evergreen, ["setup", "--stack", "prod"]);
      assert.equal(again.status, 0, again.stderr);
      assert.deepEqual(plugins(), ["resource-command-v1.2.1", "resource-proxmoxve-v8.6.0"]);
      assert.equal(existsSync(join(scratch.path, "cache", "tools")), false, "nothing was built");
    });

    it("say so when the cache cannot be written", () => {
      env.EVERGREEN_CACHE = join(scratch.file("occupied", ""), "cache");
      const { status, stderr } = run(pulumi, ["args"]);
      assert.equal(status, 1);
      assert.match(stderr, /the cache cannot be written\n {2}where: .*occupied.*\n {2}do: /);
    });

    it("refuse what they do not know", () => {
      const { status, stderr } = run(evergreen, ["setup", "--no-such-option"]);
      assert.equal(status, 1);
      assert.match(stderr, /unknown option '--no-such-option'/);
    });

    it("print an environment that a shell can take", () => {
      const { stdout, status } = run(evergreen, ["env", "--stack", "prod"]);
      assert.equal(status, 0);
      const shell = spawnSync("/bin/sh", ["-c", `eval "$0"; echo "$PULUMI_HOME"; pulumi args ok`, stdout], {
        env,
        encoding: "utf8",
      });
      assert.equal(shell.stdout, `${scratch.path}/cache/pulumi-home\n<ok>\n`);
    });

    it("do nothing while npm installs packages that call `pulumi plugin install`", () => {
      env.npm_lifecycle_event = "install";
      assert.equal(run(pulumi, ["fail", "9"]).status, 0);
      assert.equal(existsSync(join(scratch.path, "cache")), false);
    });

    async function start(): Promise<{ child: ChildProcess; pid: number }> {
      const child = spawn(node ?? "", [pulumi, "wait"], { env, stdio: ["ignore", "pipe", "pipe"], detached: true });
      const file = join(scratch.path, "pid");
      const read = () =>
        Promise.resolve(existsSync(file) ? Number(readFileSync(file, "utf8")) || undefined : undefined);
      return { child, pid: await new Deadline("the CLI to start", 60).poll(20, read) };
    }
  });
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe("a defect", () => {
  it("ends with its stack and 70", () => {
    const report = join(projectRoot, "cli", "report.ts");
    const script = `import { fail } from ${JSON.stringify(report)}; fail(new TypeError("broken"))`;
    const { status, stderr } = spawnSync(node24, ["--input-type=module", "-e", script], { encoding: "utf8" });
    assert.equal(status, 70);
    assert.match(stderr, /^TypeError: broken\n {4}at /);
  });
});
