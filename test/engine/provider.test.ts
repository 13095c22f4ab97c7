import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { NodeVmArgs } from "../../components/vm.ts";
import { addTemplate, labImage, seedSite, seedVm, site } from "../../lab/proxmox/site.ts";
import { hardwareOf } from "../../src/domain/images/hardware.ts";
import type { NodeHardware } from "../../src/domain/model/hardware.ts";
import { generationOf } from "../../src/domain/model/generation.ts";
import { Bench } from "../lab/proxmox/bench.ts";
import { Engine } from "../support/engine.ts";

const port = 28_200;
const name = "demo-workers-0-abcdef01";

function vm(changes: Partial<NodeVmArgs["node"]["vm"]> = {}, vmid = 1100, diskGiB = 10): NodeVmArgs {
  const spec = { image: "ubuntu-v1.0.0", rke2: "v1.34.4+rke2r1", cores: 2, memoryMiB: 4096, diskGiB };
  const template = { vmid: 9001, host: site.node };
  return {
    node: {
      generation: generationOf(spec),
      name,
      vmid,
      address: "127.0.0.101",
      vm: { host: site.node, template, tags: ["evergreen", "eg-cluster-demo"], ...changes },
    },
    site: {
      proxmoxPool: site.nodes,
      storage: site.storage,
      bridge: site.bridge,
      gateway: "127.0.0.1",
      prefixLength: 8,
      dnsServers: ["127.0.0.1"],
    },
  };
}

/** What the design expects of the real Proxmox provider under the real engine, against the emulated API. */
describe("provider facts", function () {
  this.timeout(300_000);
  let bench: Bench;
  let engine: Engine;

  beforeEach(async () => {
    bench = await Bench.start(port);
    await seedSite(bench.dc);
    engine = await Engine.create(join(import.meta.dirname, "../fixtures/provider"));
    const trust = join(engine.world, "trust");
    await mkdir(trust);
    await writeFile(join(trust, "ca.pem"), bench.ca);
    engine.set("SSL_CERT_DIR", trust);
    engine.set("PROXMOX_VE_ENDPOINT", `https://127.0.0.1:${port}/`);
    engine.set("PROXMOX_VE_API_TOKEN", bench.dc.credential(site.rolloutToken));
    engine.set("CHECKOUT", resolve(import.meta.dirname, "../.."));
  });

  afterEach(async () => {
    await engine.close();
    await bench.stop();
  });

  async function run(args: NodeVmArgs, ...command: string[]): Promise<string> {
    const ran = await engine.pulumi(command, { VM: JSON.stringify(args) });
    assert.equal(ran.code, 0, ran.output);
    return ran.output;
  }
  const up = ["up", "--yes", "--skip-preview"];
  const unchanged = [...up, "--expect-no-changes"];
  const running = (): boolean => bench.dc.vms.get(1100)?.power !== undefined;

  it("clones a VM that stays off, with the least privileges, and then finds nothing to change", async () => {
    await run(vm(), ...up);
    const made = bench.dc.vms.get(1100);
    assert.equal(made?.config.get("name"), name);
    assert.equal(made.config.get("ipconfig0"), "gw=127.0.0.1,ip=127.0.0.101/8");
    assert.equal(running(), false);
    await run(vm(), ...unchanged);
    await run(vm(), "refresh", "--yes", "--skip-preview");
    await run(vm(), ...unchanged);
  });

  it("keeps of a template what the configuration does not say, and then finds nothing to change", async () => {
    const template = bench.dc.vms.get(9001);
    assert.ok(template);
    const disk = `${String(template.config.get("scsi0"))},aio=native,discard=on,ssd=1,iothread=1,backup=0,mbps_rd=200,iops_wr_max=900`;
    const has = {
      cpu: "cputype=host,flags=+aes;-pcid",
      sockets: "2",
      numa: "1",
      balloon: "1024",
      scsi0: disk,
      net0: "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1,tag=20,mtu=1400,queues=4,rate=12.500000",
      net1: "e1000=BC:24:11:00:00:02,bridge=vmbr1,trunks=2;3,link_down=1",
      serial0: "socket",
      serial1: "socket",
      machine: "q35",
      startup: "order=3",
      watchdog: "model=i6300esb,action=reset",
      agent: "enabled=1,fstrim_cloned_disks=1",
    };
    await bench.data("PUT", "nodes/pve1/qemu/9001/config", has);
    for (const path of ["vmbr0/20", "vmbr1"])
      bench.dc.grant(site.rolloutToken, `/sdn/zones/localnetwork/${path}`, ["SDN.Use"], { role: "Networks" });
    const args = vm({ hardware: hardwareOf(new Map(Object.entries(has))) });
    await run(args, ...up);
    const made = bench.dc.vms.get(1100)?.config;
    assert.ok(made);
    const said = (key: string): string[] =>
      String(made.get(key))
        .replace(/=BC:[0-9A-F:]+/, "")
        .split(",")
        .toSorted();
    const same = (key: string, wanted: string): void => assert.deepEqual(said(key), wanted.split(",").toSorted(), key);
    same("cpu", has.cpu);
    same("sockets", "2");
    same("cores", "1");
    same("numa", "1");
    same("balloon", "1024");
    same("net0", "virtio,bridge=vmbr0,firewall=1,tag=20,mtu=1400,queues=4,rate=12.500000");
    same("net1", "e1000,bridge=vmbr1,firewall=0,trunks=2;3,link_down=1");
    same("serial1", "socket");
    same("machine", "q35");
    same("startup", "order=3");
    same("watchdog", has.watchdog);
    assert.match(String(made.get("agent")), /fstrim_cloned_disks=1/);
    for (const part of [
      "aio=native",
      "discard=on",
      "ssd=1",
      "iothread=1",
      "backup=0",
      "mbps_rd=200",
      "iops_wr_max=900",
    ])
      assert.ok(said("scsi0").includes(part), `${part} in ${said("scsi0").join()}`);
    // The VM exists now: what its template has is not read any more.
    for (const refresh of [false, true]) {
      if (refresh) await run(vm(), "refresh", "--yes", "--skip-preview");
      await run(vm(), ...unchanged);
    }
  });

  it("makes the hardware that the configuration asks for, in place of the template's, and then finds nothing to change", async () => {
    const has = {
      cpu: "cputype=host,flags=+aes",
      balloon: "1024",
      net0: "virtio=BC:24:11:00:00:01,bridge=vmbr0,mtu=1400",
    };
    await bench.data("PUT", "nodes/pve1/qemu/9001/config", has);
    bench.dc.grant(site.rolloutToken, "/sdn/zones/localnetwork/vmbr0/30", ["SDN.Use"], { role: "Networks" });
    bench.dc.grant(site.rolloutToken, "/sdn/zones/localnetwork/vmbr1", ["SDN.Use"], { role: "Networks" });
    for (const path of ["/mapping/pci/gpu", "/mapping/usb/key"])
      bench.dc.grant(site.rolloutToken, path, ["Mapping.Use"], { role: "Devices" });
    const wanted: NodeHardware = {
      cpu: { type: "x86-64-v3", numa: true, limit: 1.5, units: 200 },
      balloonMiB: 0,
      networks: [
        { bridge: "vmbr0", model: "virtio", vlan: 30, queues: 2, firewall: true },
        { bridge: "vmbr1", model: "e1000", rateMBps: 8 },
      ],
      systemDisk: { ssd: true, discard: true, iothread: true, backup: false },
      disks: [{ name: "longhorn", sizeGiB: 20, ssd: true, cache: "writeback" }],
      devices: [
        { kind: "pci", mapping: "gpu", pcie: false },
        { kind: "usb", mapping: "key", pcie: false },
      ],
    };
    const of = (more: Partial<NodeVmArgs["node"]["vm"]>): NodeVmArgs => {
      const { node, ...rest } = vm(more);
      return { ...rest, node: { ...node, generation: generationOf({ ...node.generation.spec, hardware: wanted }) } };
    };
    await run(of({ hardware: hardwareOf(new Map(Object.entries(has))) }), ...up);
    const made = bench.dc.vms.get(1100)?.config;
    assert.ok(made);
    const shown = Object.fromEntries(
      [...made].map(([key, value]) => [key, String(value).replace(/=BC:[0-9A-F:]+|^local:[^,]*,/, "")]),
    );
    const { cpu, numa, cpulimit, cpuunits, balloon, net0, net1, scsi0, scsi1, hostpci0, usb0 } = shown;
    assert.deepEqual(
      { cpu, numa, cpulimit, cpuunits, balloon, net0, net1, scsi0, scsi1, hostpci0, usb0 },
      {
        cpu: "cputype=x86-64-v3,flags=+aes",
        numa: "1",
        cpulimit: "1.5",
        cpuunits: "200",
        balloon: "0",
        net0: "virtio,bridge=vmbr0,firewall=1,queues=2,tag=30",
        net1: "e1000,bridge=vmbr1,firewall=0,rate=8.000000",
        scsi0: "aio=io_uring,backup=0,cache=none,discard=on,format=qcow2,iothread=1,replicate=1,size=10G,ssd=1",
        scsi1:
          "aio=io_uring,backup=1,cache=writeback,discard=ignore,iothread=0,replicate=1,serial=longhorn,size=20G,ssd=1",
        hostpci0: "mapping=gpu,pcie=0,rombar=1,x-vga=0",
        usb0: "mapping=key,usb3=0",
      },
    );
    for (const refresh of [false, true]) {
      if (refresh) await run(of({}), "refresh", "--yes", "--skip-preview");
      await run(of({}), ...unchanged);
    }
  });

  for (const storage of ["lvmthin", "zfspool", "rbd"] as const) {
    it(`clones, refreshes and destroys a VM on ${storage} with the least privileges`, async () => {
      await bench.task("DELETE", "nodes/pve1/qemu/9001");
      bench.dc.addStorage(site.storage, { type: storage, shared: storage === "rbd" });
      await addTemplate(bench.dc, {
        vmid: 9001,
        name: "t",
        pool: site.templates,
        image: labImage("1.0.0", "v1.34.4+rke2r1"),
      });
      await run(vm(), ...up);
      assert.match(String(bench.dc.vms.get(1100)?.config.get("scsi0")), /\bvm-1100-disk-0,/);
      await run(vm(), ...unchanged);
      await run(vm(), "refresh", "--yes", "--skip-preview");
      await run(vm(), "destroy", "--yes", "--skip-preview");
      assert.ok(!bench.dc.vms.has(1100));
    });
  }

  it("copies a template to another storage when full clones are asked for, and then finds nothing to change", async () => {
    bench.dc.addStorage("fast", { type: "lvmthin", shared: false });
    bench.dc.grant(site.rolloutToken, "/storage/fast", ["Datastore.AllocateSpace", "Datastore.Audit"], {
      role: "Fast",
    });
    const { node, site: plain } = vm();
    const dns = { dnsServers: ["127.0.0.1", "fd00::53"], searchDomain: "k8s.example.org" };
    const copied = { node, site: { ...plain, ...dns, storage: "fast", fullClones: true } };
    await run(copied, ...up);
    assert.match(String(bench.dc.vms.get(1100)?.config.get("scsi0")), /^fast:vm-1100-disk-0,/);
    assert.equal(bench.dc.vms.get(1100)?.config.get("nameserver"), "127.0.0.1 fd00::53");
    assert.equal(bench.dc.vms.get(1100)?.config.get("searchdomain"), "k8s.example.org");
    for (const refresh of [false, true]) {
      if (refresh) await run(copied, "refresh", "--yes", "--skip-preview");
      await run(copied, ...unchanged);
    }
  });

  it("leaves power to the steps, through updates and refreshes", async () => {
    await run(vm(), ...up);
    for (const power of ["start", "stop"]) {
      assert.equal(await bench.task("POST", `nodes/pve1/qemu/1100/status/${power}`), "OK");
      await bench.data("PUT", "nodes/pve1/qemu/1100/config", { onboot: power === "start" ? 1 : 0 });
      for (const refresh of [false, true]) {
        if (refresh) await run(vm(), "refresh", "--yes", "--skip-preview");
        await run(vm(), ...unchanged);
        assert.equal(running(), power === "start", `after ${power}${refresh ? " and a refresh" : ""}`);
      }
    }
  });

  it("settles after an update of a VM that a step had started", async () => {
    await run(vm(), ...up);
    assert.equal(await bench.task("POST", "nodes/pve1/qemu/1100/status/start"), "OK");
    await run(vm({ tags: ["evergreen", "eg-cluster-other"] }), ...up);
    assert.equal(running(), true);
    await run(vm({ tags: ["evergreen", "eg-cluster-other"] }), ...unchanged);
  });

  it("sees no change in what belongs to others: template, host, id, disk size", async () => {
    await run(vm(), ...up);
    await run(vm({ template: { vmid: 9002, host: site.node } }), ...unchanged);
    await run(vm({ host: "pve2" }), ...unchanged);
    await run(vm({}, 1101), ...unchanged);
    await run(vm({}, 1100, 40), ...unchanged);
  });

  it("fails on a VMID that is taken, and touches nothing of the stranger", async () => {
    const stranger = seedVm(bench.dc, { vmid: 1100, name: "stranger", pool: site.nodes });
    const config = JSON.stringify([...stranger.config]);
    const ran = await engine.pulumi(up, { VM: JSON.stringify(vm()) });
    assert.notEqual(ran.code, 0);
    assert.match(ran.output, /config file already exists/);
    assert.equal(JSON.stringify([...stranger.config]), config);
  });

  it("destroys a VM that is off, and fails on one that was deleted by hand until a refresh", async () => {
    await run(vm(), ...up);
    assert.equal(await bench.task("DELETE", "nodes/pve1/qemu/1100"), "OK");
    const ran = await engine.pulumi(["destroy", "--yes", "--skip-preview"]);
    assert.notEqual(ran.code, 0, "the right on the VM came from the pool, so it is refused and not gone");
    assert.match(ran.output, /Permission check failed/);
    await run(vm(), "refresh", "--yes", "--skip-preview");
    await run(vm(), "destroy", "--yes", "--skip-preview");
  });
});
