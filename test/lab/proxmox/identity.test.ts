import assert from "node:assert/strict";
import { seedSite, seedVm, site } from "../../../lab/proxmox/site.ts";
import { Bench } from "./bench.ts";

const token = site.rolloutToken;
type Config = Record<string, string | number>;

describe("identity of VMs", () => {
  let bench: Bench;

  beforeEach(async () => {
    bench = await Bench.start(28_160);
    await seedSite(bench.dc);
  });

  afterEach(async () => bench.stop());

  async function clone(newid: number, template = 9001): Promise<Config> {
    const params = { newid, full: 0, pool: site.nodes, name: `n${newid}` };
    assert.equal(await bench.task("POST", `nodes/pve1/qemu/${template}/clone`, params, token), "OK");
    return bench.data<Config>("GET", `nodes/pve1/qemu/${newid}/config`, {}, token);
  }

  async function start(vmid: number): Promise<void> {
    assert.equal(await bench.task("POST", `nodes/pve1/qemu/${vmid}/status/start`, {}, token), "OK");
    await bench.data("POST", `nodes/pve1/qemu/${vmid}/agent/ping`, {}, token);
  }

  it("gives every clone its own uuid, generation id and MAC, and the template's tags", async () => {
    const configs = [
      await clone(1100),
      await clone(1101),
      await bench.data<Config>("GET", "nodes/pve1/qemu/9001/config"),
    ];
    for (const key of ["smbios1", "vmgenid"]) assert.equal(new Set(configs.map((config) => config[key])).size, 3, key);
    const macs = configs.map((config) => /virtio=([0-9A-F:]{17})/.exec(String(config.net0))?.[1]);
    assert.equal(new Set(macs).size, 3);
    for (const config of configs) assert.equal(config.tags, "eg-image;evergreen;rke2-v1.34.4+rke2r1");
    assert.ok(!("template" in (configs[0] ?? {})));
  });

  it("gives a guest the image of its template, and a disk that nobody else writes", async () => {
    await clone(1100);
    await clone(1101, 9002);
    await start(1100);
    await start(1101);
    assert.equal(bench.host.guests.get(1100)?.machine.image.name, "ubuntu-24.04-rke2-v1.0.0");
    assert.equal(bench.host.guests.get(1101)?.machine.image.name, "ubuntu-24.04-rke2-v1.1.0");
    const file = { file: "/etc/a", content: "1" };
    await bench.data("POST", "nodes/pve1/qemu/1100/agent/file-write", file, token);
    const other = await bench.call("GET", "nodes/pve1/qemu/1101/agent/file-read", { file: "/etc/a" }, token);
    assert.equal(other.reason, "Agent error: failed to open file '/etc/a' (mode: 'r'): No such file or directory");
  });

  it("keeps the disk over a power cycle and not over the VM's end", async () => {
    const first = await clone(1100);
    await start(1100);
    await bench.data("POST", "nodes/pve1/qemu/1100/agent/file-write", { file: "/etc/a", content: "1" }, token);
    assert.equal(await bench.task("POST", "nodes/pve1/qemu/1100/status/stop", {}, token), "OK");
    await start(1100);
    const read = () => bench.call("GET", "nodes/pve1/qemu/1100/agent/file-read", { file: "/etc/a" }, token);
    assert.deepEqual((await read()).body?.data, { content: "1", "bytes-read": 1 });
    assert.equal(await bench.task("POST", "nodes/pve1/qemu/1100/status/stop", {}, token), "OK");
    assert.equal(await bench.task("DELETE", "nodes/pve1/qemu/1100/", { purge: 1 }, token), "OK");
    const second = await clone(1100);
    assert.notEqual(second.smbios1, first.smbios1);
    await start(1100);
    assert.equal((await read()).status, 500);
  });

  it("touches nothing of a VM that has the id already", async () => {
    const stranger = seedVm(bench.dc, { vmid: 1100, name: "database", pool: site.nodes });
    const before = new Map(stranger.config);
    const params = { newid: 1100, full: 0, pool: site.nodes };
    const reply = await bench.call("POST", "nodes/pve1/qemu/9001/clone", params, token);
    assert.equal(reply.status, 500);
    assert.equal(reply.reason, "unable to create VM 1100: config file already exists");
    const created = await bench.call("POST", "nodes/pve1/qemu", { vmid: 1100, pool: site.nodes }, token);
    assert.equal(created.reason, "unable to create VM 1100 - VM 1100 already exists on node 'pve1'");
    assert.deepEqual(stranger.config, before);
  });

  it("tells what cloud-init says: name, address, gateway", async () => {
    await clone(1100);
    await bench.data(
      "PUT",
      "nodes/pve1/qemu/1100/config",
      { ipconfig0: "ip=127.40.0.101/24,gw=127.40.0.1", cores: 4, sockets: 2, memory: 8192 },
      token,
    );
    await start(1100);
    const machine = bench.host.guests.get(1100)?.machine;
    assert.deepEqual(machine?.cloudInit, { hostname: "n1100", address: "127.40.0.101", gateway: "127.40.0.1" });
    assert.deepEqual([machine.cores, machine.memoryMiB, machine.vmid, machine.name], [8, 8192, 1100, "n1100"]);
  });

  it("makes a template of a VM, with what is on its disk", async () => {
    await clone(1100);
    await bench.data("PUT", "nodes/pve1/qemu/1100/config", { name: "baked" }, token);
    const full = { newid: 1101, full: 1, name: "golden" };
    assert.equal(await bench.task("POST", "nodes/pve1/qemu/1100/clone", full), "OK");
    assert.equal(await bench.task("POST", "nodes/pve1/qemu/1101/template"), "OK");
    const config = await bench.data<Config>("GET", "nodes/pve1/qemu/1101/config");
    assert.equal(config.template, 1);
    assert.match(String(config.scsi0), /^local:1101\/base-1101-disk-0\.qcow2,/);
    assert.equal(await bench.task("POST", "nodes/pve1/qemu/1101/clone", { newid: 1102, full: 0 }), "OK");
    await bench.task("POST", "nodes/pve1/qemu/1102/status/start");
    assert.equal(bench.host.guests.get(1102)?.machine.image.name, "ubuntu-24.04-rke2-v1.0.0");
  });
});
