import assert from "node:assert/strict";
import * as fc from "fast-check";
import {
  normaliseTags,
  parseDrive,
  parseNic,
  parseSize,
  printDrive,
  printNic,
  printSize,
} from "../../../lab/proxmox/config/properties.ts";
import { optionOf } from "../../../lab/proxmox/config/options.ts";
import { seedSite, seedVm, site } from "../../../lab/proxmox/site.ts";
import { labImage } from "../../../lab/proxmox/site.ts";
import { Bench } from "./bench.ts";

const word = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/);

describe("property strings", () => {
  it("drives print as they were read, options by name", () => {
    const drive = fc.record({
      file: fc.constantFrom("none", "local:1/vm-1-disk-0.qcow2"),
      options: fc.dictionary(word, word),
    });
    fc.assert(
      fc.property(drive, ({ file, options }) => {
        delete options.file;
        const printed = printDrive({ file, options: new Map(Object.entries(options)) });
        assert.equal(printDrive(parseDrive(printed)), printed);
        assert.equal(printDrive(parseDrive(`file=${printed},`)), printed);
      }),
    );
  });

  it("NICs keep their MAC, and get one when they have none", () => {
    assert.equal(
      printNic(parseNic("virtio=bc:24:11:00:00:01,firewall=0,bridge=vmbr0")),
      "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=0",
    );
    assert.match(printNic(parseNic("model=virtio,bridge=vmbr0")), /^virtio=BC:24:11(:[0-9A-F]{2}){3},bridge=vmbr0$/);
  });

  it("sizes print in the largest unit that fits", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1 << 20 }),
        fc.constantFrom(1, 1024, 1024 ** 2, 1024 ** 3),
        (count, unit) => {
          assert.equal(parseSize(printSize(count * unit)), count * unit);
        },
      ),
    );
    assert.deepEqual([printSize(1024 ** 3), printSize(4 * 1024 ** 2), printSize(1025)], ["1G", "4M", "1025"]);
  });

  it("tags are lower case, sorted and each once", () => {
    assert.equal(normaliseTags("b;a;A"), "a;b");
    fc.assert(
      fc.property(fc.array(word), (tags) => {
        const once = normaliseTags(tags.join(";"));
        assert.equal(normaliseTags(once), once);
      }),
    );
  });

  it("options are known by name and number", () => {
    for (const name of ["net31", "scsi30", "ide3", "serial3", "ipconfig0", "memory", "tags"])
      assert.ok(optionOf(name), name);
    for (const name of ["net32", "scsi31", "ide4", "serial4", "scsi01", "nosuch", "constructor1", ""]) {
      assert.equal(optionOf(name), undefined, name);
    }
  });
});

describe("configuration of a running VM", () => {
  let bench: Bench;
  const vm = "nodes/pve1/qemu/1100";
  type Row = { key: string; value?: unknown; pending?: unknown; delete?: number };

  beforeEach(async () => {
    bench = await Bench.start(28_190, { timing: { restartDelay: 600 } });
    await seedSite(bench.dc);
    seedVm(bench.dc, { vmid: 1100, name: "n", pool: site.nodes, image: labImage("1.0.0", "v1") });
    await bench.task("POST", `${vm}/status/start`);
  });

  afterEach(async () => bench.stop());

  async function pending(key: string): Promise<Row | undefined> {
    return (await bench.data<Row[]>("GET", `${vm}/pending`)).find((row) => row.key === key);
  }

  it("changes at once, or at the next start", async () => {
    await bench.data("PUT", `${vm}/config`, { memory: 4096, name: "m", delete: "serial0" });
    assert.deepEqual(await pending("memory"), { key: "memory", value: "2048", pending: "4096" });
    assert.deepEqual(await pending("name"), { key: "name", value: "m" });
    assert.deepEqual(await pending("serial0"), { key: "serial0", value: "socket", delete: 1 });
    const shown = await bench.data<Record<string, unknown>>("GET", `${vm}/config`);
    assert.equal(shown.memory, "4096");
    assert.equal((await bench.data<Record<string, unknown>>("GET", `${vm}/config`, { current: 1 })).memory, "2048");
    await bench.task("POST", `${vm}/status/stop`);
    assert.deepEqual(await pending("memory"), { key: "memory", value: "4096" });
    assert.equal(await pending("serial0"), undefined);
  });

  it("takes back what waited when the old value is set again", async () => {
    await bench.data("PUT", `${vm}/config`, { memory: 4096 });
    await bench.data("PUT", `${vm}/config`, { memory: 2048 });
    assert.deepEqual(await pending("memory"), { key: "memory", value: "2048" });
  });

  it("is refused when somebody else wrote meanwhile", async () => {
    const { digest } = await bench.data<{ digest: string }>("GET", `${vm}/config`);
    await bench.data("PUT", `${vm}/config`, { description: "one", digest });
    const late = await bench.call("PUT", `${vm}/config`, { description: "two", digest });
    assert.equal(late.reason, "checksum mismatch (file change by other user?)");
  });

  it("loses a deleted drive from the boot order for good", async () => {
    const boot = async () => (await bench.data<Record<string, unknown>>("GET", `${vm}/config`)).boot;
    await bench.task("POST", `${vm}/status/stop`);
    await bench.data("PUT", `${vm}/config`, { boot: "order=scsi0;ide2;net0" });
    await bench.data("PUT", `${vm}/config`, { delete: "ide2" });
    assert.equal(await boot(), "order=scsi0;net0");
    await bench.data("PUT", `${vm}/config`, { ide2: "local:cloudinit" });
    assert.equal(await boot(), "order=scsi0;net0");
  });

  const refusals: [method: string, path: string, params: Record<string, string | number>, answer: string][] = [
    ["PUT", "/config", { boot: "order=scsi9" }, "500 invalid bootorder: device 'scsi9' does not exist'"],
    [
      "PUT",
      "/config",
      { boot: "order=scsi0;ide2", delete: "ide2" },
      "500 invalid bootorder: device 'ide2' does not exist'",
    ],
    ["PUT", "/config", { tags: "a/b" }, "400 tags: invalid format - invalid characters in tag\n"],
    ["PUT", "/config", { tags: "rke2-v1.34.4+rke2r1;-a" }, "400 tags: invalid format - invalid characters in tag\n"],
    [
      "PUT",
      "/config",
      { net1: "bridge=vmbr0" },
      "400 net1: invalid format - format error\nnet1.model: property is missing and it is not optional\n",
    ],
    ["PUT", "/config", { net1: "virtio" }, "500 no sdn vnet ID specified"],
    [
      "PUT",
      "/config",
      { net1: "virtio,bridge=" },
      "400 net1: invalid format - missing key in comma-separated list property\n",
    ],
    [
      "PUT",
      "/config",
      { net1: "virtio=01:24:11:00:00:01,bridge=vmbr0" },
      "400 net1: invalid format - format error\nnet1.macaddr: invalid format - value does not look like a valid unicast MAC address\n",
    ],
    [
      "PUT",
      "/config",
      { net1: "virtio,bridge=vmbr0,tag=5000" },
      "400 net1: invalid format - format error\nnet1.tag: value must have a maximum value of 4094\n",
    ],
    [
      "PUT",
      "/config",
      { net1: "virtio,bridge=vmbr0,foo=1" },
      "400 net1: invalid format - invalid key in comma-separated list property: foo\n",
    ],
    [
      "PUT",
      "/config",
      { net1: "virtio,bridge=vmbr0,firewall=2" },
      "400 net1: invalid format - format error\nnet1.firewall: type check ('boolean') failed - got '2'\n",
    ],
    [
      "PUT",
      "/config",
      { ipconfig0: "ip=10.0.0.1" },
      "400 ipconfig0: invalid format - format error\nipconfig0.ip: invalid format - value does not look like a valid ipv4 network configuration\n",
    ],
    [
      "PUT",
      "/config",
      { ipconfig0: "gw=10.0.0.1" },
      "400 ipconfig0: invalid format - format error\nipconfig0.ip: missing property required by 'ipconfig0.gw'\n",
    ],
    [
      "PUT",
      "/config",
      { agent: "maybe" },
      "400 agent: invalid format - format error\nagent.enabled: type check ('boolean') failed - got 'maybe'\n",
    ],
    [
      "PUT",
      "/config",
      { agent: "type=virtio" },
      "400 agent: invalid format - format error\nagent.enabled: property is missing and it is not optional\n",
    ],
    [
      "PUT",
      "/config",
      { memory: 8 },
      "400 memory: invalid format - format error\nmemory.current: value must have a minimum value of 16\n",
    ],
    [
      "PUT",
      "/config",
      { boot: "order=foo" },
      "400 boot: invalid format - format error\nboot.order: invalid format - invalid boot device 'foo'\n",
    ],
    [
      "PUT",
      "/config",
      { scsi1: "local:1,iothread=5" },
      "400 scsi1: invalid format - format error\niothread: type check ('boolean') failed - got '5'\n",
    ],
    [
      "PUT",
      "/config",
      { scsi1: "local:1,foo=5" },
      "400 scsi1: invalid format - invalid key in comma-separated list property: foo\n",
    ],
    [
      "PUT",
      "/config",
      { scsi1: "local:1,format=vhd" },
      "400 scsi1: invalid format - format error\nformat: value 'vhd' does not have a value in the enumeration 'raw, qcow, qed, qcow2, vmdk, cloop'\n",
    ],
    ["PUT", "/config", { skiplock: 1, name: "m" }, "400 skiplock: Only root may use this option."],
    ["DELETE", "", { skiplock: 1 }, "400 skiplock: Only root may use this option."],
    ["GET", "/config", { snapshot: "nosuch" }, "500 snapshot 'nosuch' does not exist"],
    ["POST", "/clone", { newid: 1101, snapname: "nosuch", full: 1 }, "500 snapshot 'nosuch' does not exist"],
  ];
  for (const [method, path, params, answer] of refusals) {
    it(`is refused ${method} ${path || "of the VM"} with ${JSON.stringify(params)}`, async () => {
      const { status, reason, body } = await bench.call(method, vm + path, params);
      const [error] = Object.entries(body?.errors ?? {});
      assert.equal(`${status} ${error ? error.join(": ") : reason}`, answer);
    });
  }

  it("comes back by itself after a reboot, with what waited", async () => {
    await bench.data("POST", `${vm}/agent/ping`);
    await bench.data("PUT", `${vm}/config`, { memory: 4096 });
    assert.equal(await bench.task("POST", `${vm}/status/reboot`, { timeout: 5 }), "OK");
    assert.equal((await bench.data<{ status: string }>("GET", `${vm}/status/current`)).status, "stopped");
    await new Promise<void>((resolve) => bench.dc.on("vm", (event) => event.kind === "started" && resolve()));
    assert.equal(bench.host.guests.get(1100)?.machine.memoryMiB, 4096);
  });

  it("is shut down by force only when that is asked for", async () => {
    await bench.data("POST", `${vm}/agent/ping`);
    const guest = bench.host.guests.get(1100);
    assert.ok(guest);
    guest.deaf = true;
    bench.dc.timing.second = 20;
    assert.equal(
      await bench.task("POST", `${vm}/status/shutdown`, { timeout: 3 }),
      "VM quit/powerdown failed - got timeout",
    );
    assert.ok(!guest.off);
    assert.equal(await bench.task("POST", `${vm}/status/shutdown`, { timeout: 3, forceStop: 1 }), "OK");
    assert.ok(guest.off);
  });
});

describe("statistics", () => {
  it("lag behind: a new VM is unknown until it was seen, its tags are not", async () => {
    const bench = await Bench.start(28_191, { timing: { statusInterval: 3_600_000 } });
    try {
      await seedSite(bench.dc);
      seedVm(bench.dc, { vmid: 1100, name: "n", pool: site.nodes, tags: ["evergreen"] });
      const row = async () =>
        (await bench.data<Record<string, unknown>[]>("GET", "cluster/resources", { type: "vm" })).find(
          (each) => each.vmid === 1100,
        );
      assert.deepEqual(await row(), {
        id: "qemu/1100",
        vmid: 1100,
        node: "pve1",
        type: "qemu",
        status: "unknown",
        tags: "evergreen",
        pool: site.nodes,
      });
      bench.dc.see();
      assert.equal((await row())?.name, "n");
      await bench.data("PUT", "nodes/pve1/qemu/1100/config", { name: "m", tags: "b" });
      assert.deepEqual([(await row())?.name, (await row())?.tags], ["n", "b"]);
    } finally {
      await bench.stop();
    }
  });
});
