import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { runChild } from "../../cli/run-child.ts";
import { projectRoot } from "../../src/runtime/project.ts";

/** Says which signals reach it, and ends 0.3 s after the first. */
const counting = `
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"])
  process.on(signal, () => {
    console.log("got " + signal);
    setTimeout(() => process.exit(7), 300);
  });
setInterval(() => undefined, 1000);
console.log("ready");`;

/** Sends signals to a command as somebody else would, to it alone or to its group. */
async function told(whom: "process" | "group", signals: NodeJS.Signals[], manner = ""): Promise<string[]> {
  const fixture = join(projectRoot, "test", "fixtures", "run-child.ts");
  const args = [fixture, counting, manner];
  const child = spawn(process.execPath, args, { detached: true, stdio: ["ignore", "pipe", "inherit"] });
  const { pid } = child;
  assert.ok(pid);
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
    if (text.includes("ready")) for (const signal of signals) process.kill(whom === "group" ? -pid : pid, signal);
  });
  await once(child, "close");
  return output.trim().split("\n");
}

describe("a program that a command stands before", () => {
  it("gets what is said to the command once, also when the whole group was told, and the command ends after it", async () => {
    for (const whom of ["process", "group"] as const)
      for (const signal of ["SIGINT", "SIGTERM"] as const)
        assert.deepEqual(await told(whom, [signal]), ["ready", `got ${signal}`, `{"code":7,"told":"${signal}"}`], whom);
  });

  it("gets one signal for those that come as echoes of one another", async () => {
    const [ready, got, ended, ...more] = await told("group", ["SIGINT", "SIGTERM"]);
    assert.deepEqual([ready, more.length], ["ready", 0]);
    assert.match(`${got ?? ""} ${ended ?? ""}`, /^got SIG(INT|TERM) \{"code":7,/);
  });

  it("that asks hears the Ctrl-C of its terminal once, and is told of a SIGTERM", async () => {
    assert.deepEqual(await told("group", ["SIGINT"], "asks"), ["ready", "got SIGINT", `{"code":7,"told":"SIGINT"}`]);
    assert.deepEqual(await told("process", ["SIGTERM"], "asks"), [
      "ready",
      "got SIGTERM",
      `{"code":7,"told":"SIGTERM"}`,
    ]);
  });

  it("is asked to stop when the terminal goes away: the engine would die of SIGHUP", async () => {
    assert.deepEqual(await told("process", ["SIGHUP"]), ["ready", "got SIGTERM", '{"code":7,"told":"SIGHUP"}']);
  });

  it("tells by its exit code how it ended, a signal included", async () => {
    assert.deepEqual(await runChild("/bin/sh", ["-c", "exit 3"], process.env), { code: 3, told: undefined });
    assert.deepEqual(await runChild("/bin/sh", ["-c", "kill -9 $$"], process.env), { code: 137, told: undefined });
    await assert.rejects(runChild("/nowhere/pulumi", [], process.env), /ENOENT/);
  });

  it("leaves no handler behind", async () => {
    const before = process.listenerCount("SIGTERM");
    await runChild("/bin/true", [], process.env);
    assert.equal(process.listenerCount("SIGTERM"), before);
  });
});
