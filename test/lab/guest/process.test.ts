import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Deadline } from "../../../src/runtime/deadline.ts";
import { Processes } from "../../../lab/process.ts";
import { alive, identify } from "../../../lab/processes.ts";
import type { ProcessId } from "../../../lab/processes.ts";

const sleeper = { name: "sleeper", command: "/bin/sleep", args: ["1000"] };

describe("processes of guests", function () {
  this.timeout(180_000);
  let directory: string;

  beforeEach(() => (directory = mkdtempSync(join(tmpdir(), "evergreen-process-"))));
  afterEach(() => rmSync(directory, { recursive: true }));

  const until = (what: string, condition: () => boolean, seconds = 5) =>
    new Deadline(what, seconds).poll(10, () => Promise.resolve(condition() ? true : undefined));

  /** A process that starts a sleeper, as the daemon starts etcd. */
  async function daemon(): Promise<{ pid: number; child: ProcessId }> {
    const module = JSON.stringify(new URL("../../../lab/process.ts", import.meta.url).href);
    const script = `import { Processes } from ${module};
      console.log(new Processes(${JSON.stringify(directory)}).start(${JSON.stringify(sleeper)}).pid);
      setInterval(() => {}, 1000);`;
    const parent = spawn(process.execPath, ["--input-type=module", "-e", script], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const [line] = (await once(createInterface(parent.stdout), "line")) as [string];
    const child = identify(Number(line));
    assert.ok(parent.pid !== undefined && alive(child));
    return { pid: parent.pid, child };
  }

  it("end with the daemon, even when it is killed", async () => {
    const { pid, child } = await daemon();
    process.kill(pid, "SIGKILL");
    await until("the child to end", () => !alive(child));
  });

  it("are started again when they end by themselves, until they are killed", async () => {
    const child = new Processes(directory).start({ ...sleeper, restart: true });
    const first = child.pid ?? 0;
    process.kill(first, "SIGTERM");
    await until("a new process", () => child.pid !== undefined && child.pid !== first);
    const second = identify(child.pid ?? 0);
    await child.kill();
    assert.equal(alive(second), false);
  });

  it("stay away when they are killed while they wait for their next start", async () => {
    const child = new Processes(directory).start({ ...sleeper, restart: true });
    process.kill(child.pid ?? 0, "SIGTERM");
    await until("the first end", () => child.pid === undefined);
    await child.kill();
    await assert.rejects(until("a process that must not come", () => child.pid !== undefined, 1));
  });

  it("do not get the daemon's credentials", async () => {
    process.env.PROXMOX_VE_API_TOKEN = "root@pam!x=secret";
    const child = new Processes(directory).start({ ...sleeper, env: { GOGC: "50" } });
    delete process.env.PROXMOX_VE_API_TOKEN;
    await until("the program", () => readFileSync(`/proc/${child.pid ?? 0}/comm`, "utf8").trim() === "sleep");
    const environment = readFileSync(`/proc/${child.pid ?? 0}/environ`, "utf8");
    assert.doesNotMatch(environment, /secret/);
    assert.match(environment, /GOGC=50/);
    await child.kill();
  });
});
