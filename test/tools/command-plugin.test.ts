import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pb from "@pulumi/pulumi/proto/provider_pb.js";
import { Deadline } from "../../src/runtime/deadline.ts";
import { UNKNOWN, wrap } from "../../tools/command-plugin/values.ts";
import { PluginClient } from "./plugin-client.ts";

const { Kind } = pb.PropertyDiff;
const { DIFF_NONE, DIFF_SOME } = pb.DiffResponse.DiffChanges;

describe("the stand-in for the command plugin", () => {
  let plugin: PluginClient;
  let directory: string;

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), "command-plugin-"));
    plugin = await PluginClient.start({ AMBIENT: "from the engine" });
  });

  after(async () => {
    await plugin.stop();
    rmSync(directory, { recursive: true });
  });

  describe("introduces itself", () => {
    it("as the pinned version that takes secrets and previews", async () => {
      const hello = await plugin.handshake();
      const configured = await plugin.configure();
      assert.equal(hello.getAcceptSecrets(), true);
      assert.equal(configured.getAcceptsecrets(), true);
      assert.equal(configured.getSupportspreview(), true);
      assert.equal(await plugin.version(), "1.2.1");
    });
  });

  describe("check", () => {
    it("takes every input that a step uses, unchanged", async () => {
      const inputs = {
        create: "join",
        update: "join",
        delete: "retire",
        interpreter: ["./bin/step"],
        environment: { A: "1", SECRET: wrap("s3cret") },
        triggers: ["a"],
        logging: "stderr",
        addPreviousOutputInEnv: false,
      };
      assert.deepEqual(await plugin.check(inputs), { inputs, failures: [] });
    });

    it("refuses what it does not do, by property", async () => {
      const { failures } = await plugin.check({ create: "x", assetPaths: ["*"], archivePaths: ["*"] });
      assert.deepEqual(failures.map(([property]) => property).sort(), ["archivePaths", "assetPaths"]);
    });

    it("refuses other resources", async () => {
      const { failures } = await plugin.check({ create: "x" }, "command:remote:Command");
      assert.match(failures[0]?.[1] ?? "", /command:remote:Command is not in the stand-in/);
    });

    it("refuses wrong types and a wrong logging", async () => {
      const { failures } = await plugin.check({ create: 3, logging: "all" });
      assert.deepEqual(failures.map(([property]) => property).sort(), ["create", "logging"]);
    });
  });

  describe("diff", () => {
    it("finds nothing between equal inputs, whatever the order of keys", async () => {
      const answer = await plugin.diff(
        { create: "a", environment: { A: "1", B: "2" } },
        { environment: { B: "2", A: "1" }, create: "a" },
      );
      assert.equal(answer.changes, DIFF_NONE);
      assert.deepEqual(answer.details, {});
    });

    it("names the one variable that changed, and updates in place", async () => {
      const answer = await plugin.diff(
        { create: "a", environment: { A: "1", B: "2", C: "3" } },
        { create: "a", environment: { A: "1", B: "changed", D: "4" } },
      );
      assert.equal(answer.changes, DIFF_SOME);
      assert.deepEqual(answer.details, {
        "environment.B": Kind.UPDATE,
        "environment.C": Kind.DELETE,
        "environment.D": Kind.ADD,
      });
      assert.deepEqual(answer.diffs, ["environment"]);
      assert.deepEqual(answer.replaces, []);
    });

    it("replaces for a changed trigger only, and creates before it deletes", async () => {
      const answer = await plugin.diff({ create: "a", triggers: ["1"] }, { create: "b", triggers: ["2"] });
      assert.deepEqual(answer.replaces, ["triggers"]);
      assert.deepEqual(answer.details, { create: Kind.UPDATE, triggers: Kind.UPDATE_REPLACE });
      assert.equal(answer.deleteBeforeReplace, false);
    });

    it("sees that a secret value changed, and that a wrapping did not change a value", async () => {
      const olds = { create: "a", environment: { T: wrap("one") } };
      assert.equal((await plugin.diff(olds, { create: "a", environment: { T: wrap("two") } })).changes, DIFF_SOME);
      assert.equal((await plugin.diff(olds, { create: "a", environment: { T: "one" } })).changes, DIFF_NONE);
    });

    it("takes an unknown value for a change, and honours ignoreChanges", async () => {
      const news = { create: "b", environment: { A: UNKNOWN } };
      const answer = await plugin.diff({ create: "a", environment: { A: "1" } }, news, ["create"]);
      assert.deepEqual(answer.details, { "environment.A": Kind.UPDATE });
    });
  });

  describe("preview", () => {
    it("runs nothing and leaves the output unknown", async () => {
      const mark = join(directory, "previewed");
      const inputs = { create: `touch ${mark}`, update: `touch ${mark}` };
      const created = await plugin.create(inputs, { preview: true });
      const updated = await plugin.update({ ...inputs, stdout: "old", stderr: "" }, inputs, { preview: true });
      assert.deepEqual(created, { id: "", outputs: { ...inputs, stdout: UNKNOWN, stderr: UNKNOWN } });
      assert.equal(updated.stdout, UNKNOWN);
      assert.equal(existsSync(mark), false);
    });
  });

  describe("create", () => {
    it("runs the command in a shell and keeps what it printed, without the last line feed", async () => {
      const { id, outputs } = await plugin.create({ create: "printf 'a\\nb\\n'; echo warn >&2" });
      assert.match(id, /^w1[0-9a-f]{8}$/);
      assert.equal(outputs.stdout, "a\nb");
      assert.equal(outputs.stderr, "warn");
    });

    it("gives the command to the interpreter as its last argument, without a shell", async () => {
      const script = join(directory, "arguments");
      writeFileSync(script, '#!/bin/sh\nprintf "<%s>" "$@"\n', { mode: 0o755 });
      const inputs = { create: "join; $HOME", interpreter: ["./arguments", "first"], dir: directory };
      assert.equal((await plugin.create(inputs)).outputs.stdout, "<first><join; $HOME>");
    });

    it("adds the environment to the engine's own", async () => {
      const inputs = {
        create: 'printf "%s %s %s" "$AMBIENT" "$GIVEN" "$COUNT"',
        environment: { GIVEN: "x", COUNT: 3 },
      };
      assert.equal((await plugin.create(inputs)).outputs.stdout, "from the engine x 3");
    });

    it("gives standard input, and an empty one when there is none", async () => {
      assert.equal((await plugin.create({ create: "cat", stdin: "given" })).outputs.stdout, "given");
      assert.equal((await plugin.create({ create: "cat" })).outputs.stdout, "");
    });

    it("does nothing without a command", async () => {
      assert.equal((await plugin.create({ delete: "true" })).outputs.stdout, "");
    });

    it("gives the command secrets in the clear, and wraps inputs and text in the answer", async () => {
      const environment = { TOKEN: wrap("s3cret") };
      const { outputs } = await plugin.create({ create: 'printf "%s" "$TOKEN"', environment });
      assert.deepEqual(outputs.environment, environment);
      assert.deepEqual(outputs.stdout, wrap("s3cret"));
      assert.deepEqual(outputs.stderr, wrap(""));
    });

    it("fails with exit status, command and all that was printed", async () => {
      await assert.rejects(plugin.create({ create: "echo out; echo err >&2; exit 3" }), (error: Error) => {
        assert.match(error.message, /exit status 3: running "echo out; echo err >&2; exit 3":/);
        assert.match(error.message, /out\n/);
        assert.match(error.message, /err\n/);
        return true;
      });
    });

    it("fails when the interpreter does not exist", async () => {
      await assert.rejects(plugin.create({ create: "x", interpreter: ["./no-such"] }), /ENOENT.*running "x"/s);
    });

    it("kills the command when its time is over", async () => {
      const started = performance.now();
      await assert.rejects(
        plugin.create({ create: "exec sleep 30" }, { timeout: 1 }),
        /timed out after 1 s: signal: killed: running "exec sleep 30"/,
      );
      assert.ok(performance.now() - started < 10_000);
    });
  });

  describe("update", () => {
    it("runs update, else create, with what was printed before", async () => {
      const olds = { create: "x", stdout: "old out", stderr: "old err" };
      const command = 'printf "%s/%s" "$PULUMI_COMMAND_STDOUT" "$PULUMI_COMMAND_STDERR"';
      assert.equal((await plugin.update(olds, { create: "false", update: command })).stdout, "old out/old err");
      assert.equal((await plugin.update(olds, { create: command })).stdout, "old out/old err");
    });

    it("hides the previous text from a command that does not want it", async () => {
      const news = { create: 'printf "%s" "$PULUMI_COMMAND_STDOUT"', addPreviousOutputInEnv: false };
      assert.equal((await plugin.update({ stdout: "old" }, news)).stdout, "");
    });

    it("keeps what was printed when there is nothing to run", async () => {
      assert.equal((await plugin.update({ stdout: "old" }, { delete: "true" })).stdout, "old");
    });
  });

  describe("delete", () => {
    it("runs the stored command with the stored environment and the last output", async () => {
      const file = join(directory, "deleted");
      const command = 'printf "%s %s" "$GIVEN" "$PULUMI_COMMAND_STDOUT" > "$FILE"';
      await plugin.delete({ delete: command, environment: { GIVEN: wrap("x"), FILE: file }, stdout: wrap("joined") });
      assert.equal(readFileSync(file, "utf8"), "x joined");
    });

    it("fails as a create does", async () => {
      await assert.rejects(plugin.delete({ delete: "exit 4" }), /exit status 4/);
    });

    it("does nothing without a command", async () => {
      await plugin.delete({ create: "false" });
    });
  });
});

describe("the end of the stand-in for the command plugin", () => {
  let plugin: PluginClient;
  let directory: string;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), "command-plugin-"));
    plugin = await PluginClient.start();
  });

  afterEach(async () => {
    await plugin.stop();
    rmSync(directory, { recursive: true });
  });

  /** Starts a command that says where it is, and waits until it runs. */
  async function startSleeper(
    interpreter: string[],
    command: string,
  ): Promise<{ pid: number; result: Promise<unknown> }> {
    const file = join(directory, "pid");
    const result = plugin.create({ create: command, interpreter, environment: { PID_FILE: file } });
    result.catch(() => undefined);
    const read = () => Promise.resolve(existsSync(file) ? Number(readFileSync(file, "utf8")) || undefined : undefined);
    return { pid: await new Deadline("the command", 60).poll(20, read), result };
  }

  function isAlive(pid: number): boolean {
    try {
      process.kill(pid, 0);
      return true;
    } catch {
      return false;
    }
  }

  async function gone(pid: number): Promise<void> {
    await new Deadline(`the end of process ${pid}`, 60).poll(20, () =>
      Promise.resolve(isAlive(pid) ? undefined : true),
    );
  }

  it("a cancel kills the command that the interpreter became, and refuses new ones", async () => {
    const { pid, result } = await startSleeper(
      ["/bin/sh", "-c"],
      "echo $$ > $PID_FILE; trap '' TERM INT; exec sleep 60",
    );
    await plugin.cancel();
    await assert.rejects(result, /cancelled: signal: killed/);
    assert.equal(isAlive(pid), false);
    await assert.rejects(plugin.create({ create: "true" }), /context canceled/);
  });

  it("a cancel does not reach the grandchild, as with the official plugin: it is waited for", async () => {
    const { result } = await startSleeper(["/bin/sh", "-c"], "sh -c 'echo $$ > $PID_FILE; sleep 1; echo late'; true");
    await plugin.cancel();
    await assert.rejects(result, /cancelled: signal: killed: .*late/s);
  });

  it("answers to SIGINT at once, also while a command runs", async () => {
    const { pid } = await startSleeper(["/bin/sh", "-c"], "echo $$ > $PID_FILE; exec sleep 60");
    const started = performance.now();
    plugin.process.kill("SIGINT");
    await once(plugin.process, "exit");
    assert.ok(performance.now() - started < 1000);
    process.kill(pid, "SIGKILL");
  });

  it("shares its process group with its commands, which the engine's signals are for", async () => {
    const { pid } = await startSleeper(["/bin/sh", "-c"], "echo $$ > $PID_FILE; exec sleep 60");
    assert.ok(plugin.process.pid);
    process.kill(-plugin.process.pid, "SIGINT");
    await gone(pid);
  });

  it("lets a command finish when the engine dies, then goes", async () => {
    const { result } = await startSleeper(["/bin/sh", "-c"], "echo $$ > $PID_FILE; sleep 0.5; echo finished");
    plugin.process.stdin?.end();
    const { outputs } = (await result) as { outputs: Record<string, unknown> };
    assert.equal(outputs.stdout, "finished");
    if (plugin.process.exitCode === null) await once(plugin.process, "exit");
    assert.equal(plugin.process.exitCode, 0);
  });
});
