import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { fast } from "../../../lab/profiles.ts";
import { seedSite, site } from "../../../lab/proxmox/site.ts";
import { stopVm } from "../../../src/clients/proxmox/power.ts";
import { isTaskRunning } from "../../../src/clients/proxmox/task.ts";
import { Bench } from "./bench.ts";

const token = site.rolloutToken;
type Status = { status: string; exitstatus?: string; tokenid?: string; user: string };

describe("tasks", () => {
  let bench: Bench;

  beforeEach(async () => {
    bench = await Bench.start(28_170, { profile: { ...fast, fullClone: 5000 } });
    await seedSite(bench.dc);
  });

  afterEach(async () => bench.stop());

  function clone(newid: number, full = 0): Promise<string> {
    return bench.data("POST", "nodes/pve1/qemu/9001/clone", { newid, full, pool: site.nodes }, token);
  }

  it("have an id that clients can take apart, a status and a log", async () => {
    const upid = await clone(1100);
    assert.match(upid, /^UPID:pve1:[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:qmclone:9001:evergreen@pve!rollout:$/);
    const path = `nodes/pve1/tasks/${upid}`;
    const early = await bench.data<Status>("GET", `${path}/status`, {}, token);
    assert.equal(early.status, "running");
    assert.ok(!("exitstatus" in early));
    assert.equal(await bench.ended(upid), "OK");
    const late = await bench.data<Status>("GET", `${path}/status`, {}, token);
    assert.deepEqual(
      [late.status, late.exitstatus, late.user, late.tokenid],
      ["stopped", "OK", "evergreen@pve", "rollout"],
    );
    const log = await bench.call("GET", `${path}/log`, { start: 1, limit: 2 }, token);
    assert.deepEqual(
      (log.body?.data as { n: number }[]).map((line) => line.n),
      [2, 3],
    );
    assert.equal(log.body?.total, bench.log(upid).length);
  });

  it("are found under every way to write their id", async () => {
    const upid = await clone(1100);
    for (const written of [upid, encodeURIComponent(upid), upid.replace("!", "%21"), upid.replaceAll(":", "%3A")]) {
      assert.equal((await bench.call("GET", `nodes/pve1/tasks/${written}/status`, {}, token)).status, 200, written);
    }
  });

  it("are nobody else's business", async () => {
    bench.dc.addToken("evergreen@pve!reader");
    bench.dc.addToken("other@pve!t");
    const upid = await clone(1100);
    const ask = (who: string) => bench.call("GET", `nodes/pve1/tasks/${upid}/status`, {}, who);
    for (const who of ["evergreen@pve!reader", "other@pve!t"]) {
      const other = await ask(who);
      assert.deepEqual([other.status, other.reason], [403, "Permission check failed (/nodes/pve1, Sys.Audit)"], who);
    }
    await bench.ended(upid);
    assert.deepEqual(await bench.data("GET", "nodes/pve1/tasks", {}, "other@pve!t"), []);
    bench.dc.grant("other@pve!t", "/nodes/pve1", ["Sys.Audit"]);
    assert.equal((await bench.data<unknown[]>("GET", "nodes/pve1/tasks", {}, "other@pve!t")).length, 1);
  });

  it("that clone are found on the template's host by the token that began them, and not in the list of all", async () => {
    bench.dc.addNode("pve2");
    bench.dc.addToken("evergreen@pve!reader");
    const upid = await clone(1100, 1);
    const hosts = [site.node, "pve2", site.node];
    assert.equal(await isTaskRunning(bench.client(token), hosts, "qmclone"), true);
    assert.equal(await isTaskRunning(bench.client(token), ["pve2"], "qmclone"), false);
    assert.equal(await isTaskRunning(bench.client("evergreen@pve!reader"), hosts, "qmclone"), false);
    assert.deepEqual(await bench.data("GET", "cluster/tasks", {}, token), []);
    assert.equal((await bench.data<unknown[]>("GET", "cluster/tasks")).length, 1);
    await bench.data("DELETE", `nodes/pve1/tasks/${upid}`, {}, token);
    await bench.ended(upid);
    assert.equal(await isTaskRunning(bench.client(token), hosts, "qmclone"), false);
    const node = bench.dc.nodes.get("pve2");
    if (node) node.reachable = false;
    await assert.rejects(
      isTaskRunning(bench.client(token), hosts, "qmclone"),
      "a host that cannot be asked may be cloning",
    );
  });

  it("overrule a shutdown that waits only when it is the token's own, and others' only by a right on the host", async () => {
    bench.dc.timing.second = 100;
    bench.dc.timing.lockWait = 50;
    await bench.ended(await clone(1100));
    const vm = "nodes/pve1/qemu/1100";
    const cases: [who: string, granted: boolean, shutdown: string, stop: RegExp][] = [
      [token, false, "received interrupt", /^OK$/],
      [
        "root@pam!lab",
        false,
        "VM quit/powerdown failed - got timeout",
        /^can't lock file '\S+\/lock-1100\.conf' - got timeout$/,
      ],
      ["root@pam!lab", true, "received interrupt", /^OK$/],
    ];
    for (const [who, granted, shutdown, stop] of cases) {
      if (granted) bench.dc.grant(token, "/nodes/pve1", ["Sys.Modify"]);
      if (!bench.dc.vms.get(1100)?.power) await bench.task("POST", `${vm}/status/start`);
      const guest = bench.host.guests.get(1100);
      assert.ok(guest);
      guest.deaf = true;
      const waits = await bench.data<string>("POST", `${vm}/status/shutdown`, { timeout: 5 }, who);
      await delay(20);
      assert.match(await bench.task("POST", `${vm}/status/stop`, { "overrule-shutdown": 1 }, token), stop, who);
      assert.equal(await bench.ended(waits), shutdown, who);
      assert.equal(bench.dc.vms.get(1100)?.power === undefined, shutdown === "received interrupt");
    }
  });

  it("that belong to somebody else are waited for by the product, which then cuts the power", async () => {
    bench.dc.timing.second = 100;
    bench.dc.timing.lockWait = 100;
    await bench.ended(await clone(1100));
    const vm = { vmid: 1100, host: "pve1", name: "", uuid: "" };
    await bench.task("POST", "nodes/pve1/qemu/1100/status/start");
    const guest = bench.host.guests.get(1100);
    assert.ok(guest);
    guest.deaf = true;
    const waits = await bench.data<string>("POST", "nodes/pve1/qemu/1100/status/shutdown", { timeout: 15 });
    await delay(20);
    await stopVm(bench.client(token), vm);
    assert.equal(bench.dc.vms.get(1100)?.power, undefined);
    assert.equal(await bench.ended(waits), "VM quit/powerdown failed - got timeout");
  });

  it("that are cancelled undo what they did", async () => {
    const upid = await clone(1100, 1);
    while (!bench.dc.vms.has(1100)) await delay(5);
    await bench.data("DELETE", `nodes/pve1/tasks/${upid}`, {}, token);
    assert.equal(await bench.ended(upid), "clone failed: received interrupt");
    assert.ok(!bench.dc.vms.has(1100));
    const left = [...(bench.dc.storages.get("local")?.volumes.values() ?? [])].filter((volume) => volume.vmid === 1100);
    assert.deepEqual(left, []);
  });

  it("fail on demand, with their text as exit status and last line", async () => {
    bench.dc.tasks.fault = (task) => (task.type === "qmstart" ? "start failed: QEMU exited with code 1" : undefined);
    await bench.ended(await clone(1100));
    const upid = await bench.data<string>("POST", "nodes/pve1/qemu/1100/status/start", {}, token);
    assert.equal(await bench.ended(upid), "start failed: QEMU exited with code 1");
    assert.equal(bench.log(upid).at(-1), "TASK ERROR: start failed: QEMU exited with code 1");
    assert.equal(bench.dc.vms.get(1100)?.power, undefined);
  });

  it("fail when the storage is full, and leave nothing behind", async () => {
    const storage = bench.dc.storages.get("local");
    assert.ok(storage);
    storage.total = 1;
    const upid = await clone(1100);
    assert.match(await bench.ended(upid), /^clone failed: .*No space left on device$/);
    assert.ok(!bench.dc.vms.has(1100));
  });
});

describe("faults on the wire", () => {
  let bench: Bench;

  beforeEach(async () => {
    bench = await Bench.start(28_171);
    await seedSite(bench.dc);
  });

  afterEach(async () => bench.stop());

  it("answer before or after the effect", async () => {
    for (const [moment, left] of [
      ["before", 0],
      ["after", 1],
    ] as const) {
      bench.dc.fault = (when, request) =>
        when === moment && request.endpoint === "pools"
          ? { answer: { status: 595, reason: "Connection timed out" } }
          : undefined;
      const reply = await bench.call("POST", "pools", { poolid: moment });
      assert.deepEqual([reply.status, reply.reason], [595, "Connection timed out"]);
      assert.equal(bench.dc.pools.has(moment) ? 1 : 0, left, moment);
    }
  });

  it("cut the connection after the effect", async () => {
    bench.dc.fault = (when) => (when === "after" ? { drop: true } : undefined);
    await assert.rejects(bench.call("POST", "pools", { poolid: "p" }), /socket hang up|ECONNRESET/);
    assert.ok(bench.dc.pools.has("p"));
  });

  it("delay", async () => {
    bench.dc.fault = () => ({ delay: 60 });
    const began = performance.now();
    assert.equal((await bench.call("GET", "version")).status, 200);
    assert.ok(performance.now() - began >= 118, "before and after");
  });
});
