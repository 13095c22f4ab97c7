import assert from "node:assert/strict";
import { Deadline } from "../../../src/runtime/deadline.ts";
import type { Proxmox } from "../../../src/clients/proxmox/client.ts";
import { start, stopVm, turnOff } from "../../../src/clients/proxmox/power.ts";
import { awaitTask, TaskError } from "../../../src/clients/proxmox/task.ts";
import { fakeProxmox, upid, type Answer, type Seen } from "./fake.ts";

const vm = { vmid: 101, host: "pve1", name: "demo-workers-0-0a1b2c3d", uuid: "4c2a5f10-1111-4222-8333-944455566677" };
const config = { data: { name: vm.name, smbios1: `uuid=${vm.uuid}`, digest: "d" } };
const ended = (exitstatus: string): Answer => ({ data: { status: "stopped", exitstatus } });
const log = {
  data: [
    { n: 1, t: "starting" },
    { n: 2, t: "TASK ERROR: VM is locked (clone)" },
  ],
};

function tasks(endings: Answer[]): (seen: Seen, count: number) => Answer {
  return ({ path }, count) => {
    if (path.endsWith("/log")) return log;
    if (path.endsWith("/config")) return config;
    if (path.endsWith("/status/current")) return { data: { status: "stopped" } };
    if (path.endsWith("/status")) return endings[Math.min(count, endings.length) - 1] ?? "hang up";
    return { data: upid };
  };
}

describe("tasks", () => {
  const running: Answer = { data: { status: "running" } };

  it("are awaited on their own host until they end", async () => {
    await using pve = await fakeProxmox(tasks([running, running, ended("OK")]));
    await awaitTask(pve.client, upid, new Deadline("the start", 5));
    assert.deepEqual(new Set(pve.seen.map(({ path }) => path)), new Set([`/nodes/pve1/tasks/${upid}/status`]));
  });

  it("are looked at early and then not before their usual time", async () => {
    await using pve = await fakeProxmox(tasks([running, ended("OK")]));
    const began = performance.now();
    await awaitTask(pve.client, upid, new Deadline("the shutdown", 5), 1000);
    assert.ok(performance.now() - began >= 950);
    assert.equal(pve.seen.length, 2);
  });

  it("that fail carry exit status and the end of their log", async () => {
    await using pve = await fakeProxmox(tasks([ended("VM is locked (clone)")]));
    await assert.rejects(awaitTask(pve.client, upid, new Deadline("the start of x", 5)), (error: unknown) => {
      assert.ok(error instanceof TaskError);
      assert.equal(error.exitStatus, "VM is locked (clone)");
      assert.match(error.message, /the start of x failed: VM is locked/);
      assert.ok(error.message.includes(upid));
      assert.match(error.message, /\| TASK ERROR: VM is locked/);
      return true;
    });
  });

  it("with warnings have ended well", async () => {
    await using pve = await fakeProxmox(tasks([ended("WARNINGS: 1")]));
    await awaitTask(pve.client, upid, new Deadline("the start", 5));
  });

  it("that nobody knows yet are asked again, later not", async () => {
    const unknown: Answer = { status: 400, reason: "Parameter verification failed.", errors: { upid: "no such task" } };
    await using pve = await fakeProxmox(tasks([unknown, ended("OK")]));
    await awaitTask(pve.client, upid, new Deadline("the start", 5));
  });

  it("that do not end are given up by name", async () => {
    await using pve = await fakeProxmox(tasks([running]));
    await assert.rejects(
      awaitTask(pve.client, upid, new Deadline("the start", 0.3)),
      /waiting for the start.*still runs/s,
    );
  });

  it("are not believed without a task id", async () => {
    await using pve = await fakeProxmox(() => ({ data: null }));
    await assert.rejects(start(pve.client, vm), /null is not a task id/);
  });
});

describe("power", () => {
  it("a VM that runs already is started", async () => {
    await using pve = await fakeProxmox(tasks([ended("VM 101 already running")]));
    await start(pve.client, vm);
  });

  it("a failed shutdown is followed by a stop that overrules it", async () => {
    await using pve = await fakeProxmox(tasks([ended("VM quit/powerdown failed - got timeout"), ended("OK")]));
    await turnOff(pve.client, vm, 1);
    const posts = pve.seen.filter(({ method }) => method === "POST");
    assert.deepEqual(
      posts.map(({ path, parameters }) => [path.split("/").at(-1), parameters]),
      [
        ["shutdown", { timeout: "1", forceStop: "1" }],
        ["stop", { "overrule-shutdown": "1" }],
      ],
    );
  });

  it("a stop is asked for again while another task holds the VM", async () => {
    const held = ended("can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout");
    await using pve = await fakeProxmox(tasks([held, held, held, ended("OK")]));
    await turnOff(pve.client, vm, 1);
    const posts = pve.seen.filter(({ method }) => method === "POST").map(({ path }) => path.split("/").at(-1));
    assert.deepEqual(posts, ["shutdown", "stop", "stop", "stop"]);
  });

  it("a stop that another task holds up for too long names what to look for", async () => {
    const held = ended("can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout");
    await using pve = await fakeProxmox(tasks([held]));
    await assert.rejects(stopVm(pve.client, vm, { seconds: 0.5 }), /told to stop it: can't lock file/);
  });

  it("a stop that fails otherwise is not asked for again", async () => {
    await using pve = await fakeProxmox(tasks([ended("VM is locked (backup)")]));
    await assert.rejects(stopVm(pve.client, vm), /VM is locked \(backup\)/);
    assert.equal(pve.seen.filter(({ method }) => method === "POST").length, 1);
  });

  it("a stop overrules nothing where HA refuses that", async () => {
    const errors = { "overrule-shutdown": "Not applicable for HA resources." };
    await using pve = await fakeProxmox((seen, count) =>
      seen.parameters["overrule-shutdown"] !== undefined
        ? { status: 400, reason: "Parameter verification failed.", errors }
        : tasks([ended("OK")])(seen, count),
    );
    await stopVm(pve.client, vm);
    const posts = pve.seen.filter(({ method }) => method === "POST");
    assert.deepEqual(
      posts.map(({ parameters }) => parameters),
      [{ "overrule-shutdown": "1" }, {}],
    );
  });

  it("cuts no power when the number is another VM's by now", async () => {
    const other = { data: { ...config.data, smbios1: "uuid=00000000-1111-4222-8333-944455566677" } };
    await using pve = await fakeProxmox((seen, count) =>
      seen.path.endsWith("/config") ? other : tasks([ended("VM quit/powerdown failed - got timeout")])(seen, count),
    );
    await assert.rejects(turnOff(pve.client, vm, 1), /SMBIOS uuid 00000000/);
    assert.ok(!pve.seen.some(({ path }) => path.endsWith("/status/stop")));
  });

  it("a VM that still runs after both is an error", async () => {
    await using pve = await fakeProxmox((seen, count) =>
      seen.path.endsWith("/status/current") ? { data: { status: "running" } } : tasks([ended("OK")])(seen, count),
    );
    const aborted = AbortSignal.timeout(4000);
    await assert.rejects(turnOff(pve.client, vm, 1, aborted), /TimeoutError|aborted due to timeout/);
    assert.ok(pve.seen.some(({ path }) => path.endsWith("/status/stop")));
  });

  it("waits until a VM is off whose task ended at once, as that of a VM under HA does", async () => {
    await using pve = await fakeProxmox((seen, count) =>
      seen.path.endsWith("/status/current")
        ? { data: { status: count < 3 ? "running" : "stopped" } }
        : tasks([ended("OK")])(seen, count),
    );
    await turnOff(pve.client, vm, 30);
    assert.ok(!pve.seen.some(({ path }) => path.endsWith("/status/stop")));
  });

  it("does not ask for the task of a VM that is off after the usual time", async () => {
    await using pve = await fakeProxmox(tasks([{ data: { status: "running" } }]));
    await turnOff(pve.client, vm, 30);
    assert.deepEqual(
      pve.seen.map(({ path }) => path.split("/").at(-1)),
      ["shutdown", "status", "current"],
    );
  });

  it("cuts no power while a shutdown goes on and its host cannot be asked", async () => {
    const away: Answer = { status: 595, reason: "No route to host" };
    const endings = [...Array.from({ length: 5 }, () => away), ended("OK")];
    await using pve = await fakeProxmox(tasks(endings));
    await turnOff(pve.client, vm, 30);
    assert.ok(!pve.seen.some(({ path }) => path.endsWith("/status/stop")));
  });

  it("stops again when somebody else's shutdown held the VM", async () => {
    const held = ended("can't lock file '/var/lock/qemu-server/lock-101.conf' - got timeout");
    await using pve = await fakeProxmox((seen, count) =>
      seen.path.endsWith("/status/current")
        ? { data: { status: count < 2 ? "running" : "stopped" } }
        : tasks([held, held, ended("OK")])(seen, count),
    );
    await turnOff(pve.client, vm, 1);
    assert.equal(pve.seen.filter(({ path }) => path.endsWith("/status/stop")).length, 2);
  });

  for (const [what, act] of [
    ["a start", (pve: Proxmox, stop: AbortSignal) => start(pve, vm, stop)],
    ["a shutdown", (pve: Proxmox, stop: AbortSignal) => turnOff(pve, vm, 60, stop)],
  ] as const) {
    it(`leaves ${what} to Proxmox when the run is told to stop`, async () => {
      await using pve = await fakeProxmox(tasks([{ data: { status: "running" } }]));
      const told = new AbortController();
      const waits = act(pve.client, told.signal);
      told.abort(new Error("stopped at a safe point"));
      await assert.rejects(waits, /stopped at a safe point/);
      assert.ok(!pve.seen.some(({ path }) => path.endsWith("/status/stop")));
    });
  }
});
