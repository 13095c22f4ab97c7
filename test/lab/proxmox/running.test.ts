import assert from "node:assert/strict";
import { labImage, seedSite, seedVm, site } from "../../../lab/proxmox/site.ts";
import { Bench } from "./bench.ts";

type Row = { key: string; value?: unknown; pending?: unknown; delete?: number };
type Params = Record<string, string | number>;

/** Requests to `config` one after the other, and how options stand after the last one: in `pending`, or in `cloudinit`. */
interface Change {
  title: string;
  requests: [params: Params, answer: string][];
  then: Row[];
  absent?: string[];
  in?: "pending" | "cloudinit";
}

const scsi0 = { scsi0: "hotplug problem - can't unplug bootdisk 'scsi0'\n" };
const refused = `400 ${JSON.stringify(scsi0)}`;
const disk = "local:1100/vm-1100-disk-0.qcow2,size=10G";

const changes: Change[] = [
  {
    title: "keeps the disk that it booted from, and goes on wanting to lose it",
    requests: [[{ delete: "scsi0" }, refused]],
    then: [
      { key: "scsi0", value: disk, delete: 1 },
      { key: "boot", value: "order=scsi0", pending: " " },
    ],
    absent: ["unused0"],
  },
  {
    title: "keeps the disk that it booted from when another shall take its slot",
    requests: [[{ scsi0: "local:1" }, refused]],
    then: [{ key: "scsi0", value: disk, pending: "local:1100/vm-1100-disk-1.raw,size=1G" }],
    absent: ["unused0"],
  },
  {
    title: "loses another disk at once, which stays as unused",
    requests: [
      [{ scsi1: "local:1" }, "200"],
      [{ delete: "scsi1" }, "200"],
    ],
    then: [{ key: "unused0", value: "local:1100/vm-1100-disk-1.raw" }],
    absent: ["scsi1"],
  },
  {
    title: "takes back what waits for the next start",
    requests: [
      [{ memory: 4096, cores: 4, delete: "serial0" }, "200"],
      [{ revert: "memory,serial0" }, "200"],
    ],
    then: [
      { key: "memory", value: "2048" },
      { key: "serial0", value: "socket" },
      { key: "cores", value: 1, pending: 4 },
    ],
  },
  {
    title: "takes back a deletion that was refused",
    requests: [
      [{ delete: "scsi0" }, refused],
      [{ revert: "scsi0,boot" }, "200"],
    ],
    then: [
      { key: "scsi0", value: disk },
      { key: "boot", value: "order=scsi0" },
    ],
  },
  {
    title: "takes back an option that it never had",
    requests: [
      [{ keyboard: "de" }, "200"],
      [{ revert: "keyboard" }, "200"],
    ],
    then: [],
    absent: ["keyboard"],
  },
  {
    title: "is not asked to take back what there is not, or what is set or deleted",
    requests: [
      [{ revert: "nosuch" }, `400 ${JSON.stringify({ revert: "unknown option 'nosuch'" })}`],
      [
        { revert: "memory", memory: 512 },
        `400 ${JSON.stringify({ delete: "you can't use '-memory' and -revert memory' at the same time" })}`,
      ],
      [
        { revert: "memory", delete: "memory" },
        `400 ${JSON.stringify({ revert: "you can't use '-delete memory' and -revert memory' at the same time" })}`,
      ],
    ],
    then: [{ key: "memory", value: "2048" }],
  },
  {
    title: "takes cloud-init options and limits at once, its processor and boot order with the next start",
    requests: [
      [
        { ciuser: "ops", ipconfig0: "ip=dhcp", cpulimit: 2, cpuunits: 50, cpu: "host", boot: "order=scsi0;net0" },
        "200",
      ],
    ],
    then: [
      { key: "ciuser", value: "ops" },
      { key: "ipconfig0", value: "ip=dhcp" },
      { key: "cpulimit", value: 2 },
      { key: "cpuunits", value: 50 },
      { key: "cpu", value: "x86-64-v2-AES", pending: "host" },
      { key: "boot", value: "order=scsi0", pending: "order=scsi0;net0" },
    ],
  },
  {
    title: "waits with an option of a disk that qemu cannot change",
    requests: [[{ scsi0: `${disk},discard=on` }, "200"]],
    then: [{ key: "scsi0", value: disk, pending: "local:1100/vm-1100-disk-0.qcow2,discard=on,size=10G" }],
  },
  {
    title: "takes another size of its balloon at once, and none with the next start",
    requests: [
      [{ balloon: 1024, hotplug: "network,disk" }, "200"],
      [{ balloon: 0, hotplug: "network,memory" }, "200"],
    ],
    then: [
      { key: "balloon", value: 1024, pending: 0 },
      { key: "hotplug", value: "network,disk", pending: "network,memory" },
    ],
  },
  {
    title: "waits with the deletion of its cloud-init drive",
    requests: [[{ delete: "ide2" }, "200"]],
    then: [{ key: "ide2", value: "local:1100/vm-1100-cloudinit.qcow2,media=cdrom", delete: 1 }],
  },
  {
    title: "shows what its cloud-init drive does not say yet",
    requests: [
      [{ nameserver: "10.0.0.1" }, "200"],
      [{ ciuser: "ops", ipconfig0: "ip=dhcp", delete: "searchdomain" }, "200"],
    ],
    in: "cloudinit",
    then: [
      { key: "nameserver", pending: "10.0.0.1" },
      { key: "ciuser", pending: "ops" },
      { key: "searchdomain", delete: 1 },
    ],
  },
];

describe("changes of a VM that runs", () => {
  let bench: Bench;
  const vm = "nodes/pve1/qemu/1100";

  beforeEach(async () => {
    bench = await Bench.start(28_192);
    await seedSite(bench.dc);
    seedVm(bench.dc, { vmid: 1100, name: "n", pool: site.nodes, image: labImage("1.0.0", "v1") });
    await bench.data("PUT", `${vm}/config`, { searchdomain: "lab", boot: "order=scsi0" });
    await bench.task("POST", `${vm}/status/start`);
  });

  afterEach(async () => bench.stop());

  for (const { title, requests, then, absent = [], in: where = "pending" } of changes) {
    it(title, async () => {
      for (const [params, answer] of requests) {
        const { status, body } = await bench.call("PUT", `${vm}/config`, params);
        assert.equal(body?.errors ? `${status} ${JSON.stringify(body.errors)}` : String(status), answer);
      }
      const rows = await bench.data<Row[]>("GET", `${vm}/${where}`);
      for (const row of then)
        assert.deepEqual(
          rows.find(({ key }) => key === row.key),
          row,
        );
      for (const name of absent) assert.ok(!rows.some(({ key }) => key === name), name);
    });
  }

  it("hands cloud-init changes over when its drive is made again", async () => {
    await bench.data("PUT", `${vm}/config`, { ciuser: "ops", searchdomain: "site" });
    await bench.data("PUT", `${vm}/cloudinit`);
    assert.deepEqual(await bench.data<Row[]>("GET", `${vm}/cloudinit`), [
      { key: "searchdomain", value: "site" },
      { key: "ciuser", value: "ops" },
    ]);
  });

  it("loses with the stop what it kept while it ran", async () => {
    const drive = () => bench.dc.storages.get("local")?.volumes.has("local:1100/vm-1100-cloudinit.qcow2");
    await bench.call("PUT", `${vm}/config`, { delete: "scsi0,ide2" });
    assert.ok(drive());
    await bench.task("POST", `${vm}/status/stop`);
    const config = await bench.data<Record<string, unknown>>("GET", `${vm}/config`);
    assert.deepEqual([config.scsi0, config.ide2, config.unused0], [undefined, undefined, disk.split(",")[0]]);
    assert.ok(!drive());
  });
});
