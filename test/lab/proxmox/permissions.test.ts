import assert from "node:assert/strict";
import { rolloutPrivileges, seedSite, seedVm, site } from "../../../lab/proxmox/site.ts";
import { listVms, readVm, requireSight, findTaken } from "../../../src/clients/proxmox/vms.ts";
import { Bench } from "./bench.ts";

const token = site.rolloutToken;

describe("who may do what", () => {
  let bench: Bench;

  beforeEach(async () => {
    bench = await Bench.start(28_150, { timing: { authDelay: 120 } });
    await seedSite(bench.dc);
    seedVm(bench.dc, { vmid: 1150, name: "stranger" });
    seedVm(bench.dc, { vmid: 1100, name: "ours", pool: site.nodes });
  });

  afterEach(async () => bench.stop());

  async function refusal(method: string, path: string, params: Record<string, string | number> = {}): Promise<string> {
    const reply = await bench.call(method, path, params, token);
    return `${reply.status} ${reply.reason}`;
  }

  it("keeps strangers waiting and tells them nothing", async () => {
    for (const [credential, reason] of [
      ["", "No ticket"],
      [`${token}=00000000-0000-0000-0000-000000000000`, "Authentication failed!"],
      ["nobody@pve!x=00000000-0000-0000-0000-000000000000", "Authentication failed!"],
    ] as const) {
      const began = performance.now();
      const reply = await bench.call("GET", "version", {}, credential);
      assert.deepEqual([reply.status, reply.reason, reply.text], [401, reason, ""]);
      assert.ok(performance.now() - began >= 118, "answered too soon");
    }
  });

  it("knows a revoked token no more", async () => {
    const credential = bench.dc.credential(token);
    assert.equal((await bench.call("GET", "version", {}, credential)).status, 200);
    bench.dc.revokeToken(token);
    assert.equal((await bench.call("GET", "version", {}, credential)).status, 401);
  });

  it("tells a token its own rights, by path", async () => {
    const rights = await bench.data<Record<string, Record<string, number>>>("GET", "access/permissions", {}, token);
    for (const [path, privileges] of Object.entries(rolloutPrivileges("8.4", site))) {
      assert.deepEqual(Object.keys(rights[path] ?? {}).sort(), [...privileges].sort(), path);
    }
    const members = Object.keys(rights[`/pool/${site.nodes}`] ?? {}).map((name) => [name, 0]);
    const why = "members have the rights of their pool, and hand none down";
    assert.deepEqual(rights["/vms/1100"], Object.fromEntries(members), why);
    assert.deepEqual(Object.keys(rights["/vms/9001"] ?? {}).sort(), ["VM.Audit", "VM.Clone"]);
    assert.ok(!("/vms/1150" in rights) && !("/" in rights));
    const one = await bench.data("GET", "access/permissions", { path: "/storage/local" }, token);
    assert.deepEqual(one, { "/storage/local": { "Datastore.AllocateSpace": 1, "Datastore.Audit": 1 } });
  });

  it("keeps a pool's token away from other VMs and from templates", async () => {
    const other = "nodes/pve1/qemu/1150";
    const denied = (what: string) => `403 Permission check failed (/vms/1150, ${what})`;
    assert.equal(await refusal("GET", `${other}/config`), denied("VM.Audit"));
    assert.equal(await refusal("GET", `${other}/status/current`), denied("VM.Audit"));
    assert.equal(await refusal("POST", `${other}/status/stop`), denied("VM.PowerMgmt"));
    assert.equal(await refusal("POST", `${other}/status/start`), denied("VM.PowerMgmt"));
    assert.equal(await refusal("DELETE", other), denied("VM.Allocate"));
    assert.equal(await refusal("POST", `${other}/agent/ping`), denied("VM.Monitor"));
    assert.equal(await refusal("POST", `${other}/clone`, { newid: 1101, pool: site.nodes }), denied("VM.Clone"));
    assert.match(
      await refusal("PUT", `${other}/config`, { name: "x" }),
      /^403 .*VM\.Config\.Disk\|VM\.Config\.CDROM\|/,
    );
    assert.match(await refusal("PUT", "nodes/pve1/qemu/9001/config", { memory: 1 }), /^403 /);
    assert.equal(
      await refusal("DELETE", "nodes/pve1/qemu/9001"),
      "403 Permission check failed (/vms/9001, VM.Allocate)",
    );
  });

  it("lets a token clone devices by their mapping alone, and no CD drive of a host", async () => {
    const clone = async (name: string, value: string): Promise<string> => {
      const config = bench.dc.vms.get(9001)?.config;
      config?.set(name, value);
      const said = await refusal("POST", "nodes/pve1/qemu/9001/clone", { newid: 1101, pool: site.nodes });
      config?.delete(name);
      return said;
    };
    // PVE/QemuServer.pm, check_mapping_access; PVE/API2/Qemu.pm, $check_storage_access_clone.
    for (const [name, value, said] of [
      ["hostpci0", "0000:01:00.0,pcie=1", "500 only root can set 'hostpci0' config for non-mapped devices"],
      ["usb0", "host=1234:5678", "500 only root can set 'usb0' config for real devices"],
      ["hostpci0", "mapping=gpu", "403 Permission check failed (/mapping/pci/gpu, Mapping.Use)"],
      ["usb0", "mapping=key", "403 Permission check failed (/mapping/usb/key, Mapping.Use)"],
      ["rng0", "source=/dev/hwrng", "403 Permission check failed (/mapping/hwrng, Mapping.Use)"],
      ["ide3", "cdrom,media=cdrom", "403 Permission check failed (/, Sys.Console)"],
      ["usb0", "spice", "200 OK"],
    ] as const)
      assert.equal(await clone(name, value), said, `${name}: ${value}`);
  });

  it("knows VNets in their zones", async () => {
    bench.dc.vnets.set("vnet1", "campus").set("vnet2", "campus");
    bench.dc.vms.get(9001)?.config.set("net1", "virtio=BC:24:11:00:00:01,bridge=vnet1");
    const names = async () => {
      const rows = await bench.data<{ iface: string; type: string }[]>(
        "GET",
        "nodes/pve1/network",
        { type: "any_bridge" },
        token,
      );
      return rows.map(({ iface, type }) => `${type} ${iface}`);
    };
    const clone = (newid: number) => refusal("POST", "nodes/pve1/qemu/9001/clone", { newid, pool: site.nodes });
    assert.deepEqual(await names(), ["bridge vmbr0"]);
    assert.equal(await clone(1101), "403 Permission check failed (/sdn/zones/campus/vnet1, SDN.Use)");
    bench.dc.grant(token, "/sdn/zones/campus/vnet1", ["SDN.Use"], { role: "Campus" });
    assert.deepEqual(await names(), ["bridge vmbr0", "vnet vnet1"]);
    assert.equal(await clone(1101), "200 OK");
  });

  it("shows a token only its own VMs", async () => {
    type Row = { vmid: number; pool?: string };
    const listed = async (path: string) => (await bench.data<Row[]>("GET", path, {}, token)).map((row) => row.vmid);
    assert.deepEqual(await listed("cluster/resources?type=vm"), [1100, 9001, 9002]);
    assert.deepEqual((await listed("nodes/pve1/qemu")).sort(), [1100, 9001, 9002]);
    const rows = await bench.data<Row[]>("GET", "cluster/resources", { type: "vm" }, token);
    assert.deepEqual(
      rows.map((row) => row.pool),
      [site.nodes, undefined, undefined],
      "the pool is shown to those who may audit it",
    );
  });

  it("shows a token only the bridges that it may use, or a VLAN of theirs", async () => {
    bench.dc.addNode("pve3", {
      bridges: ["vmbr0", "vmbr1", "vmbr2"],
      network: { cidr: "10.77.0.1/24", gateway: "10.77.0.254" },
    });
    bench.dc.grant(site.rolloutToken, "/sdn/zones/localnetwork/vmbr2/20", ["SDN.Use"], { role: "Vlan" });
    const path = "nodes/pve3/network";
    const seen = await bench.data<Record<string, unknown>[]>("GET", path, { type: "any_bridge" }, site.rolloutToken);
    assert.deepEqual(
      seen.map(({ iface }) => iface),
      ["vmbr0", "vmbr2"],
    );
    const [{ cidr, address, netmask, gateway, type } = {}] = seen;
    assert.deepEqual(
      { cidr, address, netmask, gateway, type },
      { cidr: "10.77.0.1/24", address: "10.77.0.1", netmask: "24", gateway: "10.77.0.254", type: "bridge" },
    );
  });

  it("lets a clone into a pool only, and only with space and bridge", async () => {
    const path = "nodes/pve1/qemu/9001/clone";
    assert.equal(await refusal("POST", path, { newid: 1101, full: 0 }), "403 Permission check failed");
    assert.equal(
      await refusal("POST", path, { newid: 1101, full: 0, pool: site.templates }),
      "403 Permission check failed",
    );
    bench.dc.ungrant(token, "/sdn/zones/localnetwork/vmbr0");
    assert.equal(
      await refusal("POST", path, { newid: 1101, full: 0, pool: site.nodes }),
      "403 Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)",
    );
    bench.dc.ungrant(token, "/storage/local");
    assert.equal(
      await refusal("POST", path, { newid: 1101, full: 0, pool: site.nodes }),
      "403 Permission check failed (/storage/local, Datastore.AllocateSpace)",
    );
    assert.ok(!bench.dc.vms.has(1101));
  });

  it("feels a privilege that is taken away at once", async () => {
    assert.equal((await bench.call("GET", "nodes/pve1/qemu/1100/config", {}, token)).status, 200);
    bench.dc.removePrivilege(token, "VM.Audit");
    assert.equal(
      await refusal("GET", "nodes/pve1/qemu/1100/config"),
      "403 Permission check failed (/vms/1100, VM.Audit)",
    );
    assert.deepEqual(await bench.data("GET", "cluster/resources", { type: "vm" }, token), []);
  });

  it("lets the deepest entry on a path decide, and adds the pool's", async () => {
    const { dc } = bench;
    dc.addToken("a@pve!t");
    dc.grant("a@pve!t", "/vms", ["VM.Audit", "VM.PowerMgmt"]);
    dc.grant("a@pve!t", "/vms/1100", ["VM.Clone"]);
    const rights = async (path: string) =>
      Object.keys(
        (await bench.data<Record<string, object>>("GET", "access/permissions", { path }, "a@pve!t"))[path] ?? {},
      );
    assert.deepEqual(await rights("/vms/1150"), ["VM.Audit", "VM.PowerMgmt"]);
    assert.deepEqual(await rights("/vms/1100"), ["VM.Clone"]);
    dc.grant("a@pve!t", `/pool/${site.nodes}`, ["VM.Backup"], { propagate: false });
    assert.deepEqual(await rights("/vms/1100"), ["VM.Clone", "VM.Backup"]);
    dc.grant("a@pve!t", "/storage", ["Datastore.Audit"], { propagate: false });
    assert.deepEqual(await rights("/storage/local"), []);
  });

  it("refuses privileges that the version does not have", () => {
    assert.throws(
      () => bench.dc.grant(token, "/vms", ["VM.GuestAgent.Audit"]),
      /8\.4 has no privilege VM\.GuestAgent\.Audit/,
    );
  });

  it("has a privilege for each kind of agent call since 9", async () => {
    const nine = await Bench.start(28_151, { version: "9.2" });
    try {
      await seedSite(nine.dc);
      seedVm(nine.dc, { vmid: 1100, name: "ours", pool: site.nodes });
      nine.dc.removePrivilege(token, "VM.GuestAgent.FileWrite");
      const write = await nine.call(
        "POST",
        "nodes/pve1/qemu/1100/agent/file-write",
        { file: "/x", content: "" },
        token,
      );
      assert.equal(
        write.reason,
        "Permission check failed (/vms/1100, VM.GuestAgent.FileWrite|VM.GuestAgent.Unrestricted)",
      );
      const read = await nine.call("GET", "nodes/pve1/qemu/1100/agent/file-read", { file: "/x" }, token);
      assert.equal(read.reason, "VM 1100 is not running");
    } finally {
      await nine.stop();
    }
  });
});

/** An endpoint that our client or the provider calls, and what a token without any right is told: by the API schema. */
type Asked = [method: string, path: string, params: Record<string, string | number>, lacks: string];

const vm = "nodes/pve1/qemu/1100";
const seeing = "(/storage/local, Datastore.Audit|Datastore.AllocateSpace)";

function asked(version: "8.4" | "9.2"): Asked[] {
  const agent = (kind: string) =>
    `(/vms/1100, ${version === "8.4" ? "VM.Monitor" : `VM.GuestAgent.${kind}|VM.GuestAgent.Unrestricted`})`;
  const power = ["start", "stop", "shutdown", "reboot"].map((verb): Asked => [
    "POST",
    `${vm}/status/${verb}`,
    {},
    "(/vms/1100, VM.PowerMgmt)",
  ]);
  return [
    ["GET", `${vm}/config`, {}, "(/vms/1100, VM.Audit)"],
    ["GET", `${vm}/status/current`, {}, "(/vms/1100, VM.Audit)"],
    ["PUT", `${vm}/config`, { name: "x" }, "(/vms/1100, VM.Config.Disk|VM.Config.CDROM|"],
    ["PUT", `${vm}/resize`, { disk: "scsi0", size: "20G" }, "(/vms/1100, VM.Config.Disk)"],
    ["PUT", `${vm}/cloudinit`, {}, "(/vms/1100, VM.Config.Cloudinit)"],
    ["POST", `${vm}/template`, {}, "(/vms/1100, VM.Allocate)"],
    ["DELETE", vm, {}, "(/vms/1100, VM.Allocate)"],
    ...power,
    ["POST", `${vm}/agent/ping`, {}, agent("Audit")],
    ["GET", `${vm}/agent/network-get-interfaces`, {}, agent("Audit")],
    ["GET", `${vm}/agent/file-read`, { file: "/x" }, agent("FileRead")],
    ["POST", `${vm}/agent/file-write`, { file: "/x", content: "" }, agent("FileWrite")],
    ["POST", "nodes/pve1/qemu/9001/clone", { newid: 1101 }, "(/vms/9001, VM.Clone)"],
    ["POST", "nodes/pve1/qemu", { vmid: 1101 }, ""],
    ["GET", "nodes/pve1/storage/local/status", {}, seeing],
    ["GET", "nodes/pve1/storage/local/content", {}, seeing],
    ["POST", "nodes/pve1/storage/local/upload", { content: "iso" }, "(/storage/local, Datastore.AllocateTemplate)"],
    [
      "POST",
      "nodes/pve1/storage/local/download-url",
      { content: "iso", filename: "x.iso", url: "http://127.0.0.1/x.iso" },
      "(/storage/local, Datastore.AllocateTemplate)",
    ],
    ["GET", `pools/${site.nodes}`, {}, "(/pool/evergreen-nodes, Pool.Audit)"],
    ["PUT", "pools", { poolid: site.nodes, vms: 1100 }, "(/pool/evergreen-nodes, Pool.Allocate)"],
  ];
}

for (const [index, version] of (["8.4", "9.2"] as const).entries()) {
  describe(`a token whose rights end at a pool, ${version}`, () => {
    let bench: Bench;

    beforeEach(async () => {
      bench = await Bench.start(28_154 + index, { version });
      await seedSite(bench.dc);
      seedVm(bench.dc, { vmid: 1100, name: "ours", pool: site.nodes });
    });

    afterEach(async () => bench.stop());

    it("needs for every call what the schema says", async () => {
      bench.dc.addToken("bare@pve!t");
      for (const [method, path, params, lacks] of asked(version)) {
        const reply = await bench.call(method, path, params, "bare@pve!t");
        const told = `${reply.status} ${reply.reason}`;
        assert.ok(told.startsWith(`403 Permission check failed${lacks && ` ${lacks}`}`), `${method} ${path}: ${told}`);
      }
      for (const path of ["version", "nodes", "cluster/nextid", "cluster/tasks", "access/permissions"])
        assert.equal((await bench.call("GET", path, {}, "bare@pve!t")).status, 200, path);
      for (const path of ["cluster/resources?type=vm", "nodes/pve1/qemu", "nodes/pve1/storage", "pools"])
        assert.deepEqual(await bench.data("GET", path, {}, "bare@pve!t"), [], path);
    });

    it("is refused a VM that was deleted by hand, and sees in the list that it is gone", async () => {
      const pve = bench.client(token);
      bench.dc.addToken("wide@pve!t");
      bench.dc.grant("wide@pve!t", "/vms", ["VM.Audit", "VM.Allocate"]);
      assert.equal((await readVm(pve, { host: "pve1", vmid: 1100 })).name, "ours");
      assert.equal(await bench.task("DELETE", vm, { purge: 1 }), "OK");
      for (const [method, path, lacks] of [
        ["GET", `${vm}/config`, "VM.Audit"],
        ["GET", `${vm}/status/current`, "VM.Audit"],
        ["DELETE", `${vm}/`, "VM.Allocate"],
      ] as const) {
        const refused = await bench.call(method, path, {}, token);
        assert.equal(`${refused.status} ${refused.reason}`, `403 Permission check failed (/vms/1100, ${lacks})`);
        const told = await bench.call(method, path, {}, "wide@pve!t");
        assert.match(`${told.status} ${told.reason}`, /^500 Configuration file '\S+' does not exist$/);
      }
      await assert.rejects(readVm(pve, { host: "pve1", vmid: 1100 }), /Permission check failed/);
      // By these the program's start and `evergreen repair` know it.
      await requireSight(pve, site.nodes);
      assert.ok(!(await listVms(pve)).some(({ vmid }) => vmid === 1100));
      assert.deepEqual(await findTaken(pve, [1100]), []);
    });
  });
}
