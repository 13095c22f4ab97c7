import assert from "node:assert/strict";
import { Deadline } from "../../src/runtime/deadline.ts";
import type { OutsideOrder } from "../../lab/control.ts";
import { happen } from "../../lab/outside.ts";
import { labImage, seedSite, seedVm, site } from "../../lab/proxmox/site.ts";
import { Bench } from "./proxmox/bench.ts";

const vm = "nodes/pve1/qemu/1100";
const token = site.rolloutToken;

describe("what happens from outside", () => {
  let bench: Bench;

  beforeEach(async () => {
    bench = await Bench.start(28_195, { timing: { ha: 30, statusInterval: 0, lockWait: 200, second: 10 } });
    await seedSite(bench.dc, { hosts: ["pve1", "pve2"] });
    seedVm(bench.dc, {
      vmid: 1100,
      name: "n",
      pool: site.nodes,
      image: labImage("1.0.0", "v1"),
      config: { onboot: 1 },
    });
    seedVm(bench.dc, { vmid: 1101, name: "off", pool: site.nodes });
    await bench.task("POST", `${vm}/status/start`);
    await bench.data("POST", `${vm}/agent/ping`);
  });

  afterEach(async () => bench.stop());

  const order = (what: OutsideOrder) =>
    happen(bench.dc, what, (id) => {
      const found = bench.dc.vms.get(Number(id));
      assert.ok(found);
      return found;
    });

  const said = async (method: string, path: string, params: Record<string, string | number> = {}) => {
    const { status, reason, body } = await bench.call(method, path, params, token);
    return typeof body?.data === "string" && body.data.startsWith("UPID:")
      ? await bench.ended(body.data)
      : `${status} ${reason}`;
  };

  async function row(vmid: number, list = "cluster/resources?type=vm"): Promise<Record<string, unknown> | undefined> {
    const rows = await bench.data<Record<string, unknown>[]>("GET", list, {}, token);
    return rows.find((each) => each.vmid === vmid);
  }

  for (const state of ["paused", "prelaunch", "io-error", "inmigrate", "save-vm"] as const) {
    it(`shows ${state} in the list of the cluster, and that the VM runs everywhere else`, async () => {
      const vmid = state === "prelaunch" ? 1101 : 1100;
      const { undo } = await order({ kind: "vm-state", vm: vmid, state });
      assert.equal((await row(vmid))?.status, state);
      assert.equal((await row(vmid, "nodes/pve1/qemu"))?.status, "running");
      const current = await bench.data<Record<string, unknown>>("GET", `nodes/pve1/qemu/${vmid}/status/current`);
      assert.deepEqual([current.status, current.qmpstatus], ["running", state]);
      if (vmid === 1100) assert.equal(await said("POST", `${vm}/agent/ping`), "500 QEMU guest agent is not running");
      undo?.();
      assert.equal((await row(vmid))?.status, vmid === 1101 ? "stopped" : "running");
    });
  }

  it("cuts the power of a paused VM at once by force, and does not shut it down without", async () => {
    await order({ kind: "vm-state", vm: 1100, state: "paused" });
    assert.equal(await said("POST", `${vm}/status/shutdown`, { timeout: 1 }), "500 VM is paused - cannot shutdown");
    assert.equal(await said("POST", `${vm}/status/shutdown`, { timeout: 60, forceStop: 1 }), "OK");
  });

  it("refuses a locked VM what Proxmox does, at once or in the task", async () => {
    await order({ kind: "lock-vm", vm: 1100, lock: "backup" });
    assert.equal((await row(1100))?.lock, "backup");
    const locked = "VM is locked (backup)";
    const cases: [method: string, path: string, params: Record<string, string | number>, answer: string][] = [
      ["PUT", "/config", { onboot: 0 }, `500 ${locked}`],
      ["PUT", "/resize", { disk: "scsi0", size: "20G" }, locked],
      ["POST", "/status/shutdown", { timeout: 1 }, locked],
      ["POST", "/status/stop", {}, locked],
      ["POST", "/template", {}, `500 ${locked}`],
      ["POST", "/agent/ping", {}, "200 OK"],
      ["GET", "/config", {}, "200 OK"],
    ];
    for (const [method, path, params, answer] of cases)
      assert.equal(await said(method, vm + path, params), answer, path);
    await order({ kind: "lock-vm", vm: 1100 });
    assert.equal(await said("POST", `${vm}/status/stop`), "OK");
    await order({ kind: "lock-vm", vm: 1100, lock: "snapshot" });
    assert.equal(await said("POST", `${vm}/status/stop`), "OK", "nothing is to be stopped");
    assert.equal(await said("POST", `${vm}/status/start`), "VM is locked (snapshot)");
    assert.equal(await said("DELETE", vm, { purge: 1 }), "VM is locked (snapshot)");
  });

  it("leaves the old path of a VM that was migrated, and lets it run on", async () => {
    await order({ kind: "migrate-vm", vm: 1100, host: "pve2" });
    assert.equal((await row(1100))?.node, "pve2");
    const gone = "500 Configuration file 'nodes/pve1/qemu-server/1100.conf' does not exist";
    assert.equal(await said("GET", `${vm}/config`), gone);
    assert.equal(
      await said("POST", `${vm}/status/stop`),
      "unable to find configuration file for VM 1100 on node 'pve1'",
    );
    assert.equal(await said("POST", "nodes/pve2/qemu/1100/agent/ping"), "200 OK");
  });

  it("migrates a VM by the API for those who may", async () => {
    const path = `${vm}/migrate`;
    const params = { target: "pve2", online: 1, "with-local-disks": 1 };
    assert.equal(await said("POST", path, params), "403 Permission check failed (/vms/1100, VM.Migrate)");
    bench.dc.grant(token, "/vms/1100", ["VM.Migrate", "VM.Audit"]);
    assert.equal(await said("POST", path, { target: "pve3" }), "500 no such cluster node 'pve3'");
    assert.equal(await said("POST", path, { target: "pve1" }), "400 Parameter verification failed.");
    assert.equal(await said("POST", path, { target: "pve2" }), "500 can't migrate running VM without --online");
    assert.equal(await said("POST", path, params), "OK");
    assert.equal((await row(1100))?.node, "pve2");
  });

  it("lets HA act by itself after the task that asked it has ended", async () => {
    await order({ kind: "ha-vm", vm: 1100, managed: true });
    const ha = async () => (await bench.data<{ ha: object }>("GET", `${vm}/status/current`)).ha;
    assert.deepEqual(await ha(), { managed: 1, state: "started" });
    const refused = await bench.call("POST", `${vm}/status/stop`, { "overrule-shutdown": 1 }, token);
    assert.deepEqual(refused.body?.errors, { "overrule-shutdown": "Not applicable for HA resources." });
    const upid = await bench.data<string>("POST", `${vm}/status/stop`, {}, token);
    assert.match(upid, /:hastop:1100:/);
    assert.equal(await bench.ended(upid), "OK");
    assert.ok(bench.dc.vms.get(1100)?.power, "HA has not acted yet");
    await new Deadline("HA to stop the VM", 60).poll(5, () =>
      Promise.resolve(bench.dc.vms.get(1100)?.power ? undefined : true),
    );
    assert.equal(
      await said("DELETE", vm),
      "500 unable to remove VM 1100 - used in HA resources and purge parameter not set.",
    );
    assert.equal(await said("DELETE", vm, { purge: 1 }), "OK");
  });

  it("answers 595 for all of a host that is off, knows no status of its VMs, and boots them with it", async () => {
    const { undo } = await order({ kind: "host-off", host: "pve1" });
    for (const path of ["nodes/pve1/qemu", `${vm}/config`, `${vm}/status/current`, "nodes/pve1/storage/local/status"])
      assert.equal(await said("GET", path), "595 Network is unreachable", path);
    assert.equal(await said("POST", `${vm}/status/start`), "595 Network is unreachable");
    const unknown = await row(1100);
    assert.deepEqual([unknown?.status, unknown?.node, unknown?.name], ["unknown", "pve1", undefined]);
    const nodes = await bench.data<{ node: string; status: string }[]>("GET", "nodes");
    assert.deepEqual(
      nodes.map(({ node, status }) => [node, status]),
      [
        ["pve1", "offline"],
        ["pve2", "online"],
      ],
    );
    assert.equal(await said("GET", "cluster/nextid", { vmid: 1100 }), "400 Parameter verification failed.");
    undo?.();
    await new Deadline("the VM to start with its host", 60).poll(5, () =>
      Promise.resolve(bench.dc.vms.get(1100)?.power ? true : undefined),
    );
    assert.equal(bench.dc.vms.get(1101)?.power, undefined);
  });

  it("reads and does not write without a quorum, and still cuts power", async () => {
    const { undo } = await order({ kind: "no-quorum" });
    assert.equal(await said("GET", `${vm}/config`), "200 OK");
    assert.equal(await said("POST", `${vm}/agent/ping`), "200 OK");
    const file = (vmid: number) =>
      new RegExp(
        `unable to open file '/etc/pve/nodes/pve1/qemu-server/${vmid}\\.conf\\.tmp\\.\\d+' - Permission denied$`,
      );
    assert.match(await said("PUT", `${vm}/config`, { onboot: 0 }), file(1100));
    assert.match(await said("DELETE", "nodes/pve1/qemu/1101", { purge: 1 }), file(1101));
    const clone = { newid: 1105, full: 0, pool: site.nodes };
    for (const [path, params] of [
      ["nodes/pve1/qemu/1101/status/start", {}],
      ["nodes/pve1/qemu/9001/clone", clone],
      ["nodes/pve1/qemu", { vmid: 1105, pool: site.nodes }],
    ] as const)
      assert.equal(await said("POST", path, params), "500 cluster not ready - no quorum?", path);
    assert.equal(await said("POST", `${vm}/status/stop`), "OK");
    undo?.();
    assert.equal(await said("PUT", `${vm}/config`, { onboot: 0 }), "200 OK");
  });

  it("hides a VM that left the pool from the token, and its number is still taken", async () => {
    await order({ kind: "pool-vm", vm: 1100 });
    assert.equal(await row(1100), undefined);
    assert.equal(await said("GET", `${vm}/config`), "403 Permission check failed (/vms/1100, VM.Audit)");
    assert.equal(await said("GET", "cluster/nextid", { vmid: 1100 }), "400 Parameter verification failed.");
    await order({ kind: "pool-vm", vm: 1100, pool: site.nodes });
    assert.equal((await row(1100))?.pool, site.nodes);
  });

  it("has a template of the same name on each host with a storage of its own, and clones only where it lies", async () => {
    const templates = [...bench.dc.vms.values()].filter(({ config }) => config.get("template") === 1);
    assert.deepEqual(
      templates.map(({ vmid, node, config }) => [vmid, node, config.get("name")]),
      [
        [9001, "pve1", "ubuntu-24.04-rke2-v1.0.0"],
        [9002, "pve1", "ubuntu-24.04-rke2-v1.1.0"],
        [9011, "pve2", "ubuntu-24.04-rke2-v1.0.0"],
        [9012, "pve2", "ubuntu-24.04-rke2-v1.1.0"],
      ],
    );
    const clone = { newid: 1105, full: 0, pool: site.nodes };
    assert.equal(
      await said("POST", "nodes/pve1/qemu/9001/clone", { ...clone, target: "pve2" }),
      "500 can't clone VM to node 'pve2' (VM uses local storage)",
    );
    assert.equal(await said("POST", "nodes/pve2/qemu/9011/clone", clone), "OK");
    assert.equal((await row(1105))?.node, "pve2");
  });

  it("names what is there when an order names no host", async () => {
    await assert.rejects(order({ kind: "host-off", host: "pve9" }), /there is no host pve9/);
  });
});
