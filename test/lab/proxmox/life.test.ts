import assert from "node:assert/strict";
import { seedSite, site } from "../../../lab/proxmox/site.ts";
import type { VmEvent } from "../../../lab/proxmox/model.ts";
import { Bench } from "./bench.ts";

const token = site.rolloutToken;

for (const [index, version] of (["8.4", "9.2"] as const).entries()) {
  describe(`life of a node VM as the provider leads it, ${version}`, () => {
    let bench: Bench;
    const events: VmEvent[] = [];

    before(async () => {
      bench = await Bench.start(28_110 + index, { version });
      await seedSite(bench.dc);
      bench.dc.on("vm", (event) => events.push(event));
    });

    after(async () => bench.stop());

    it("clones, configures, starts, answers by the agent, shuts down and goes", async () => {
      const vm = "nodes/pve1/qemu/1100";
      const clone = { newid: 1100, full: 0, name: "demo-workers-0-abcdef01", pool: site.nodes };
      assert.equal(await bench.task("POST", "nodes/pve1/qemu/9001/clone", clone, token), "OK");
      assert.equal((await bench.data<{ status: string }>("GET", `${vm}/status/current`, {}, token)).status, "stopped");
      const before = await bench.data<Record<string, unknown>>("GET", `${vm}/config`, {}, token);
      assert.equal(before.scsi0, "local:9001/base-9001-disk-0.qcow2/1100/vm-1100-disk-0.qcow2,size=10G");
      assert.equal(before.ide2, "local:1100/vm-1100-cloudinit.qcow2,media=cdrom,size=4M");
      await bench.data("PUT", `${vm}/config`, { delete: "ide2" }, token);
      await bench.data(
        "PUT",
        `${vm}/config`,
        {
          agent: "enabled=1,fstrim_cloned_disks=0,type=virtio",
          balloon: 0,
          boot: "order=scsi0;ide3",
          cores: 2,
          delete: "net1,net2,net31,serial1,serial2,serial3",
          ide2: "file=local:cloudinit,",
          ide3: "file=none,media=cdrom,",
          ipconfig0: "gw=127.40.0.1,ip=127.40.0.101/24",
          memory: 4096,
          net0: "model=virtio,bridge=vmbr0,firewall=0",
          numa: 0,
          onboot: 1,
          ostype: "l26",
          serial0: "socket",
          tags: "evergreen;eg-cluster-demo",
        },
        token,
      );
      const disk = "local:9001/base-9001-disk-0.qcow2/1100/vm-1100-disk-0.qcow2";
      await bench.data(
        "PUT",
        `${vm}/config`,
        { scsi0: `file=${disk},format=qcow2,size=10737418240,aio=io_uring,backup=1,iothread=0,ssd=0,discard=ignore` },
        token,
      );
      assert.equal(await bench.task("PUT", `${vm}/resize`, { disk: "scsi0", size: "20G" }, token), "OK");
      const config = await bench.data<Record<string, unknown>>("GET", `${vm}/config`, {}, token);
      assert.equal(config.scsi0, `${disk},aio=io_uring,backup=1,discard=ignore,format=qcow2,iothread=0,size=20G,ssd=0`);
      assert.equal(config.cores, 2);
      assert.equal(config.memory, "4096");
      assert.match(String(config.net0), /^virtio=BC:24:11:[0-9A-F:]{8},bridge=vmbr0,firewall=0$/);

      const early = await bench.call("POST", `${vm}/agent/ping`);
      assert.equal(early.reason, "VM 1100 is not running");
      assert.equal(await bench.task("POST", `${vm}/status/start`, { timeout: 1800 }, token), "OK");
      const status = await bench.data<Record<string, unknown>>("GET", `${vm}/status/current`, {}, token);
      assert.equal(status.status, "running");
      assert.equal("memhost" in status, version === "9.2");
      assert.equal((await bench.call("POST", `${vm}/agent/ping`)).status, 200);
      await bench.data("POST", `${vm}/agent/file-write`, { file: "/etc/x", content: "a: 1\n" }, token);
      const read = await bench.data("GET", `${vm}/agent/file-read`, { file: "/etc/x" }, token);
      assert.deepEqual(read, { content: "a: 1\n", "bytes-read": 5 });
      const machine = bench.host.guests.get(1100)?.machine;
      assert.equal(machine?.image.name, "ubuntu-24.04-rke2-v1.0.0");
      assert.equal(machine.cloudInit.address, "127.40.0.101");
      assert.equal(machine.cloudInit.hostname, "demo-workers-0-abcdef01");
      assert.equal(`uuid=${machine.uuid}`, config.smbios1);

      assert.equal(await bench.task("POST", `${vm}/status/shutdown`, { forceStop: 1, timeout: 60 }, token), "OK");
      const gone = await bench.task("DELETE", `${vm}/`, { "destroy-unreferenced-disks": 1, purge: 1 }, token);
      assert.equal(gone, "OK");
      assert.equal(
        (await bench.call("GET", `${vm}/status/current`, {}, token)).reason,
        "Permission check failed (/vms/1100, VM.Audit)",
      );
      assert.deepEqual(
        [...new Set(events.map((event) => `${event.kind} ${event.vmid} by ${event.token}`))],
        ["created", "configured", "started", "stopped", "destroyed"].map((kind) => `${kind} 1100 by ${token}`),
      );
    });
  });
}
