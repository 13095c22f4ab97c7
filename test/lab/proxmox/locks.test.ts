import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { fast } from "../../../lab/profiles.ts";
import { FileLock } from "../../../lab/proxmox/locks.ts";
import { seedSite, site } from "../../../lab/proxmox/site.ts";
import { Bench } from "./bench.ts";

const template = "nodes/pve1/qemu/9001";

function clone(bench: Bench, newid: number): Promise<string> {
  return bench.task("POST", `${template}/clone`, { newid, full: 0, pool: site.nodes }, site.rolloutToken);
}

/** Volume ids of a VM, on every storage. */
function volumesOf(bench: Bench, vmid: number): string[] {
  return [...bench.dc.storages.values()]
    .flatMap((storage) => [...storage.volumes.values()])
    .filter((volume) => volume.vmid === vmid)
    .map((volume) => volume.volid);
}

describe("a file lock", () => {
  it("lets readers in together and a writer alone, in the order of asking", async () => {
    const lock = FileLock.file("/x");
    const seen: string[] = [];
    const hold = (mode: "shared" | "exclusive", name: string) =>
      lock.hold(mode, 1000, async () => {
        seen.push(`+${name}`);
        await delay(5);
        seen.push(`-${name}`);
      });
    await Promise.all([hold("shared", "a"), hold("shared", "b"), hold("exclusive", "c"), hold("exclusive", "d")]);
    assert.deepEqual(seen, ["+a", "+b", "-a", "-b", "+c", "-c", "+d", "-d"]);
  });

  it("is free again after work that throws, and after a wait that was given up", async () => {
    const lock = FileLock.file("/x");
    await assert.rejects(
      lock.hold("exclusive", 10, () => Promise.reject(new Error("no"))),
      /no/,
    );
    const holding = lock.hold("exclusive", 10, () => delay(60));
    await assert.rejects(
      lock.hold("shared", 10, () => undefined),
      /can't lock file '\/x' - got timeout/,
    );
    await holding;
    assert.equal(await lock.hold("exclusive", 10, () => "in"), "in");
    assert.equal(lock.pressure, 0);
  });
});

describe("locks of the data centre", () => {
  let bench: Bench;

  beforeEach(async () => {
    bench = await Bench.start(28_140, {
      profile: { ...fast, cloneLock: 300, fullClone: 1000 },
      timing: { lockWait: 500, cloneLockWait: 50 },
    });
    await seedSite(bench.dc);
  });

  afterEach(async () => bench.stop());

  async function appeared(vmid: number): Promise<void> {
    while (!bench.dc.vms.has(vmid)) await delay(5);
  }

  it("give up clones that wait too long for the storage: a failed task, and the id is free again", async () => {
    const ids = [1100, 1101, 1102, 1103, 1104, 1105, 1106, 1107];
    const exits = await Promise.all(ids.map((id) => clone(bench, id)));
    const lost = "clone failed: can't lock file '/var/lock/pve-manager/pve-storage-local' - got timeout";
    assert.deepEqual(new Set(exits), new Set(["OK", lost]));
    for (const [index, id] of ids.entries()) {
      assert.equal(bench.dc.vms.has(id), exits[index] === "OK", `VM ${id}`);
      assert.equal((await bench.call("GET", "cluster/nextid", { vmid: id })).status, exits[index] === "OK" ? 400 : 200);
    }
  });

  it("let clones through one after the other", async () => {
    for (const id of [1100, 1101, 1102]) assert.equal(await clone(bench, id), "OK");
  });

  it("show `lock: clone` while a VM is being cloned, and refuse what is asked of it meanwhile", async () => {
    const cloning = bench.task("POST", `${template}/clone`, { newid: 1100, full: 1 });
    await appeared(1100);
    const status = await bench.data<{ lock?: string }>("GET", "nodes/pve1/qemu/1100/status/current");
    assert.equal(status.lock, "clone");
    const text = "can't lock file '/var/lock/qemu-server/lock-1100.conf' - got timeout";
    assert.equal(await bench.task("DELETE", "nodes/pve1/qemu/1100"), text);
    assert.equal(await cloning, "OK");
    assert.equal(await bench.task("DELETE", "nodes/pve1/qemu/1100"), "OK");
    assert.deepEqual(volumesOf(bench, 1100), []);
  });

  it("keep a template's configuration from changing under a clone", async () => {
    bench.dc.timing.lockWait = 100;
    const cloning = bench.task("POST", `${template}/clone`, { newid: 1100, full: 1 });
    await appeared(1100);
    const put = await bench.call("PUT", `${template}/config`, { memory: 512 });
    assert.equal(put.reason, "can't lock file '/var/lock/qemu-server/lock-9001.conf' - got timeout");
    assert.equal(put.status, 500);
    assert.equal(await cloning, "OK");
    assert.equal((await bench.call("PUT", `${template}/config`, { memory: 512 })).status, 200);
  });

  it("break a clone when the template is being written", async () => {
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const writing = bench.dc.configLock(9001).hold("exclusive", 10, () => held);
    assert.equal(await clone(bench, 1100), "can't lock file '/var/lock/qemu-server/lock-9001.conf' - got timeout");
    release();
    await writing;
    assert.equal(await clone(bench, 1100), "OK");
  });

  it("refuse to remove a template while linked clones stand on it", async () => {
    assert.equal(await clone(bench, 1100), "OK");
    const text = "base volume 'local:9001/base-9001-disk-0.qcow2' is still in use by linked cloned";
    assert.equal(await bench.task("DELETE", template), text);
    assert.ok(bench.dc.vms.has(9001));
    assert.equal(await bench.task("DELETE", "nodes/pve1/qemu/1100"), "OK");
    assert.equal(await bench.task("DELETE", template), "OK");
    assert.deepEqual(volumesOf(bench, 9001), []);
  });
});
