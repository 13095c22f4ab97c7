import assert from "node:assert/strict";
import fc from "fast-check";
import { observeVms } from "../../../src/clients/proxmox/observed-vms.ts";
import { differences, IdentityError, proveVm, type ExpectedVm } from "../../../src/clients/proxmox/identity.ts";
import { nodeTags, splitTags, tagsOf } from "../../../src/clients/proxmox/tags.ts";
import { isRunning, listVms, requireSight, type VmConfig } from "../../../src/clients/proxmox/vms.ts";
import { fakeProxmox } from "./fake.ts";

const tags = tagsOf({ cluster: "demo", pool: "workers", slot: 2, generation: "0a1b2c3d" });
const uuid = "6b0124f9-0000-4000-8000-000000000101";
const expected: ExpectedVm = { vmid: 1101, name: "demo-workers-2-0a1b2c3d", tags, uuid };
const config: VmConfig = {
  vmid: 1101,
  host: "pve1",
  name: expected.name,
  uuid,
  tags: [...tags, "backup"],
  template: false,
  onBoot: false,
  digest: "d",
};

describe("identity", () => {
  it("holds when VMID, name, uuid and tags agree; more tags are an administrator's affair", () => {
    assert.deepEqual(differences(config, expected), []);
    assert.deepEqual(differences(config, { ...expected, uuid: uuid.toUpperCase() }), []);
    assert.deepEqual(differences(config, { ...expected, uuid: undefined }), []);
  });

  const cases: [string, Partial<VmConfig>, Partial<ExpectedVm>, RegExp][] = [
    ["a template", { template: true }, {}, /it is a template/],
    ["a template of which nothing was recorded", { template: true }, { uuid: undefined }, /it is a template/],
    [
      "another uuid, all else alike: our tags on a stranger",
      { uuid: uuid.replace("101", "102") },
      {},
      /SMBIOS uuid .*102, recorded .*101/,
    ],
    ["no uuid", { uuid: "" }, { uuid: undefined }, /no SMBIOS uuid/],
    ["renamed by hand", { name: "web" }, {}, /name "web", expected "demo-workers-2-0a1b2c3d"/],
    ["another slot", { tags: tags.map((tag) => tag.replace("slot-2", "slot-3")) }, {}, /without the tags eg-slot-2/],
    ["no tags", { tags: [] }, {}, /without the tags eg-cluster-demo, eg-gen-0a1b2c3d/],
    ["another VMID", { vmid: 1102 }, {}, /VMID 1102, expected 1101/],
  ];
  for (const [name, is, wanted, says] of cases) {
    it(`fails for ${name}`, () =>
      assert.match(differences({ ...config, ...is }, { ...expected, ...wanted }).join("; "), says));
  }

  it("is proved by what the host says now, and the refusal says everything that differs", async () => {
    await using pve = await fakeProxmox(() => ({
      data: { name: "web", tags: "a;b", smbios1: "uuid=AAAAAAAA-0000-4000-8000-000000000101,base64=1", digest: "f0" },
    }));
    await assert.rejects(proveVm(pve.client, "pve1", expected), (error: unknown) => {
      assert.ok(error instanceof IdentityError);
      assert.equal(error.differences.length, 3);
      assert.match(error.message, /VM 1101 is not demo-workers-2-0a1b2c3d.*nothing was done to it/s);
      return true;
    });
    assert.deepEqual(
      pve.seen.map(({ path }) => path),
      ["/nodes/pve1/qemu/1101/config"],
    );
  });
});

describe("a VM that was moved to another Proxmox host", () => {
  const gone = { status: 500, reason: "Configuration file 'nodes/pve1/qemu-server/1101.conf' does not exist" };
  const answer = (moved: boolean) =>
    fakeProxmox(({ path }) => {
      if (path === "/cluster/resources")
        return { data: [{ type: "qemu", vmid: 1101, node: moved ? "pve2" : "pve1", status: "running" }] };
      if (path.startsWith("/nodes/pve1/")) return gone;
      if (path.endsWith("/status/current")) return { data: { status: "running" } };
      return { data: { name: expected.name, tags: tags.join(";"), smbios1: `uuid=${uuid}`, digest: "d" } };
    });

  it("is proved and asked where it is now", async () => {
    await using pve = await answer(true);
    assert.equal((await proveVm(pve.client, "pve1", expected)).host, "pve2");
    assert.equal(await isRunning(pve.client, { host: "pve1", vmid: 1101 }), true);
  });

  it("is not looked for twice when it is on no other host", async () => {
    await using pve = await answer(false);
    await assert.rejects(proveVm(pve.client, "pve1", expected), /does not exist/);
    await assert.rejects(isRunning(pve.client, { host: "pve1", vmid: 1101 }), /does not exist/);
  });
});

describe("tags", () => {
  it("come back as they went, whatever an administrator adds", () => {
    const word = fc.stringMatching(/^[a-z][a-z0-9-]{0,10}$/);
    fc.assert(
      fc.property(
        word,
        word,
        fc.nat(999),
        fc.stringMatching(/^[0-9a-f]{8}$/),
        fc.array(word.map((tag) => `x${tag}`)),
        (cluster, pool, slot, generation, more) => {
          const made = tagsOf({ cluster, pool, slot, generation });
          assert.deepEqual(nodeTags(splitTags([...more, ...made].join(";"))), { cluster, pool, slot, generation });
        },
      ),
    );
  });

  for (const missing of tags) {
    it(`are not ours without ${missing}`, () =>
      assert.equal(nodeTags(tags.filter((tag) => tag !== missing)), undefined));
  }

  it("are not ours when one comes twice or is no number", () => {
    assert.equal(nodeTags([...tags, "eg-slot-3"]), undefined);
    assert.equal(nodeTags(tags.map((tag) => tag.replace("slot-2", "slot-two"))), undefined);
  });
});

describe("the list of VMs", () => {
  const row = {
    type: "qemu",
    vmid: 1101,
    node: "pve1",
    name: expected.name,
    status: "running",
    template: 0,
    tags: tags.join(";"),
    pool: "nodes",
  };

  it("leaves containers out and keeps a VM of which Proxmox knows no status yet", async () => {
    await using pve = await fakeProxmox(() => ({
      data: [
        row,
        { type: "lxc", vmid: 7, node: "pve1", status: "running" },
        { type: "qemu", vmid: 102, node: "pve1", status: "unknown" },
      ],
    }));
    const vms = await listVms(pve.client);
    assert.deepEqual(
      vms.map(({ vmid, name, status }) => [vmid, name, status]),
      [
        [1101, expected.name, "running"],
        [102, undefined, "unknown"],
      ],
    );
  });

  for (const [name, data] of Object.entries({
    "no list": { vms: [] },
    null: null,
    "a row without VMID": [{ ...row, vmid: undefined }],
    "a row without host": [{ ...row, node: undefined }],
    "a row without status": [{ ...row, status: undefined }],
    "a row that is no object": ["qemu/101"],
  })) {
    it(`is refused whole: ${name}`, async () => {
      await using pve = await fakeProxmox(() => ({ data }));
      await assert.rejects(listVms(pve.client), /not understood/);
    });
  }

  for (const state of ["paused", "prelaunch", "io-error", "inmigrate", "save-vm", "suspended", "a word of tomorrow"]) {
    it(`keeps a VM that is ${state}, and asks its host`, async () => {
      await using pve = await fakeProxmox(() => ({ data: [{ ...row, status: state }] }));
      const [vm] = await listVms(pve.client);
      assert.equal(vm?.status, "unknown");
      assert.equal(vm.state, state);
    });
  }

  const powers: [Record<string, unknown>, { running: boolean; state?: string }][] = [
    [{ status: "running" }, { running: true }],
    [{ status: "running", qmpstatus: "running" }, { running: true }],
    [
      { status: "running", qmpstatus: "paused" },
      { running: true, state: "paused" },
    ],
    [
      { status: "running", qmpstatus: "io-error" },
      { running: true, state: "io-error" },
    ],
    [
      { status: "running", qmpstatus: "prelaunch" },
      { running: false, state: "prelaunch" },
    ],
    [{ status: "stopped", qmpstatus: "stopped" }, { running: false }],
  ];
  for (const [said, power] of powers) {
    it(`says of a cluster's VM in a backup what its host says: ${Object.values(said).join(", ")}`, async () => {
      await using pve = await fakeProxmox(({ path }) => {
        if (path === "/cluster/resources") return { data: [row] };
        if (path === "/nodes/pve1/qemu") return { data: [{ vmid: 1101, status: "running" }] };
        if (path.endsWith("/status/current")) return { data: said };
        return { data: { name: expected.name, smbios1: `uuid=${uuid}`, digest: "d", lock: "backup" } };
      });
      const [vm] = await observeVms(pve.client, "demo", await listVms(pve.client));
      assert.equal(vm?.running, power.running);
      assert.equal(vm.state, power.state);
    });
  }

  it("of a cluster asks the host who runs, because the list is seconds old, and the VM for its tag", async () => {
    await using pve = await fakeProxmox(({ path }) => {
      if (path === "/cluster/resources") return { data: [row] };
      if (path === "/nodes/pve1/qemu") return { data: [{ vmid: 1101, status: "stopped" }] };
      return { data: { name: expected.name, smbios1: `uuid=${uuid}`, digest: "d" } };
    });
    const [vm] = await observeVms(pve.client, "demo", await listVms(pve.client));
    assert.deepEqual(vm, {
      vmid: 1101,
      host: "pve1",
      name: expected.name,
      running: false,
      uuid,
      pool: "workers",
      slot: 2,
      generation: "0a1b2c3d",
      lacksMemberTag: true,
    });
  });

  it("of a cluster is refused when one of its VMs cannot be read", async () => {
    await using pve = await fakeProxmox(({ path }) => {
      if (path === "/cluster/resources") return { data: [row] };
      if (path === "/nodes/pve1/qemu") return { data: [] };
      return { status: 403, reason: "Permission check failed (/vms/1101, VM.Audit)" };
    });
    const list = await listVms(pve.client);
    await assert.rejects(observeVms(pve.client, "demo", list), /VM 1101 carries our tags but cannot be read/);
    assert.deepEqual(await observeVms(pve.client, "other", list), []);
  });

  it("says nothing about VMs that are missing while the token has no right to see them", async () => {
    await using blind = await fakeProxmox(() => ({ data: { "/pool/nodes": { "VM.PowerMgmt": 1 } } }));
    await assert.rejects(requireSight(blind.client, "nodes"), /may not see.*\/pool\/nodes, VM\.Audit/s);
    await using sighted = await fakeProxmox(() => ({ data: { "/pool/nodes": { "VM.Audit": 1 } } }));
    await requireSight(sighted.client, "nodes");
  });
});
