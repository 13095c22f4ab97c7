import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import { UserError } from "../../src/runtime/errors.ts";
import { catalogue, forgottenPools, hostOf, observeCluster, templateOf } from "../../src/observe/observed-cluster.ts";
import { type Answer, fakeProxmox } from "../clients/proxmox/fake.ts";
import { NEW, OLD, picture, smallConfig } from "../support/picture.ts";

interface Vm {
  vmid: number;
  name: string;
  tags?: string;
  template?: boolean;
  running?: boolean;
  onboot?: boolean;
  /** Whether its guest has join data. */
  told?: boolean;
  /** @default pve1 */
  host?: string;
  /** Whether its host reports no statistics, so that the list has neither name nor status. */
  nameless?: boolean;
}

const imageTags = (rke2: string) => `eg-image;evergreen;rke2-${rke2}`;
const ours = (pool: string, slot: number) =>
  `evergreen;eg-cluster-demo;eg-gen-0a1b2c3d;eg-pool-${pool};eg-slot-${slot}`;
const template = (vmid: number, name: string, tags = imageTags("v1.34.4+rke2r1")): Vm => ({
  vmid,
  name,
  tags,
  template: true,
});
const node = (pool: string, vmid: number, more: Partial<Vm> = {}): Vm => ({
  vmid,
  name: `demo-${pool}-0-0a1b2c3d`,
  tags: ours(pool, 0),
  ...more,
});

/** Reads the picture of a data centre with these VMs, where no guest has started RKE2. */
async function read(
  vms: Vm[],
  { audit = true, dead, config = {} }: { audit?: boolean; dead?: Answer; config?: Record<string, unknown> } = {},
) {
  const rows = vms.map(
    ({ vmid, name, tags = "", template: flag = false, running = false, host = "pve1", nameless }) => ({
      type: "qemu",
      vmid,
      ...(nameless === true ? {} : { name }),
      tags,
      node: host,
      pool: "nodes",
      template: flag ? 1 : 0,
      status: nameless === true ? "unknown" : running ? "running" : "stopped",
    }),
  );
  const answer = (path: string, file?: string): Answer => {
    if (path === "/access/permissions") return { data: { "/pool/nodes": audit ? { "VM.Audit": 1 } : {} } };
    if (dead !== undefined && path.startsWith("/nodes/pve2/")) return dead;
    if (path === "/cluster/resources" || path === "/nodes/pve1/qemu") return { data: rows };
    const vm = vms.find(({ vmid }) => path.startsWith(`/nodes/pve1/qemu/${vmid}/`));
    if (!vm) return { status: 501, reason: `unexpected: ${path}` };
    if (path.endsWith("/agent/file-read")) {
      if (vm.told === true && file === guest.marker) return { data: { content: "server 0123\n" } };
      const why = vm.running ? "Agent error: No such file or directory" : `VM ${vm.vmid} is not running`;
      return { status: 500, reason: why };
    }
    const uuid = `6b0124f9-0000-4000-8000-00000000${vm.vmid}`;
    return { data: { name: vm.name, smbios1: `uuid=${uuid}`, onboot: vm.onboot ? 1 : 0, digest: "d" } };
  };
  await using pve = await fakeProxmox(({ path, parameters }) => answer(path, parameters.file));
  return await observeCluster(pve.client, smallConfig(config));
}

const refusal =
  (what: RegExp, where = /./) =>
  (error: unknown) =>
    error instanceof UserError && what.test(error.problem.what) && where.test(error.problem.where);

describe("the picture of both APIs", () => {
  it("of an empty site is empty: a first cluster may be made", async () => {
    const observed = await read([template(9001, OLD)]);
    assert.equal(observed.kubernetes, undefined);
    assert.deepEqual([observed.vms, observed.nodes, observed.takenVmids], [[], [], [9001]]);
    assert.deepEqual([...observed.records.keys()], []);
  });

  it("knows a VM that is to be adopted on a host that reports no statistics", async () => {
    const uuid = "6b0124f9-0000-4000-8000-000000000300";
    const adopt = [{ slot: 0, vmid: 300, uuid, node: "kube-0" }];
    const pools = [{ name: "workers", image: OLD, slots: 1, vmIds: { first: 1100, last: 1109 }, adopt }];
    const vms = [template(9001, OLD), { vmid: 300, name: "kube-0", nameless: true }];
    const { adoption } = await read(vms, { config: { pools } });
    assert.deepEqual(
      adoption.problems.map(({ what }) => what),
      ["VM 300 cannot be adopted as kube-0: the cluster has no Node of that name"],
    );
  });

  it("holds images by their tags, and says what other machines of that name lack", async () => {
    const observed = await read([
      template(9001, OLD),
      template(9002, NEW, "eg-image"),
      template(9003, "plain-v1.0.0", "rke2-v1.34.4+rke2r1"),
      { vmid: 9004, name: "booted-v1.0.0", tags: imageTags("v1.34.4+rke2r1") },
    ]);
    assert.deepEqual([...catalogue(observed)], [[OLD, "v1.34.4+rke2r1"]]);
    assert.deepEqual([...observed.unusable.keys()].sort(), [NEW, "booted-v1.0.0", "plain-v1.0.0"].sort());
    assert.match(observed.unusable.get(NEW)?.what ?? "", /has not the tags of an image: it has eg-image$/);
    assert.match(observed.unusable.get("booted-v1.0.0")?.what ?? "", /VM 9004 on pve1 .* is not a template/);
  });

  const twins: [string, Vm[], RegExp | undefined][] = [
    ["on one host", [template(9001, OLD), template(9007, OLD)], /on one host, pve1$/],
    [
      "on two hosts with different versions of RKE2",
      [template(9001, OLD), { ...template(9007, OLD, imageTags("v1.34.5+rke2r1")), host: "pve2" }],
      /with different versions of RKE2, v1\.34\.4\+rke2r1 and v1\.34\.5\+rke2r1$/,
    ],
    ["on two hosts, alike", [template(9001, OLD), { ...template(9007, OLD), host: "pve2" }], undefined],
  ];
  for (const [title, templates, refused] of twins) {
    it(`${refused ? "refuses" : "takes"} two templates of one name ${title}`, async () => {
      if (refused) {
        await assert.rejects(read(templates), refusal(refused, /^VM 9001 on pve1 and VM 9007 on pve[12]$/));
        return;
      }
      const observed = await read(templates);
      assert.deepEqual([...catalogue(observed)], [[OLD, "v1.34.4+rke2r1"]]);
      const copies = ["pve1", "pve2", "pve3"].map((host) => templateOf(observed, OLD, host).vmid);
      assert.deepEqual(copies, [9001, 9007, 9001]);
    });
  }

  const dead: [string, { status: number; reason: string }][] = [
    ["is off", { status: 595, reason: "No route to host" }],
    [
      "was removed from the Proxmox cluster",
      { status: 500, reason: "hostname lookup 'pve2' failed - failed to get address info" },
    ],
  ];
  for (const [title, answer] of dead) {
    it(`has a VM whose host ${title}: nobody knows how it is, and the others are read`, async () => {
      const observed = await read(
        [
          node("workers", 1100),
          { ...node("workers", 1101), name: "demo-workers-1-0a1b2c3d", tags: ours("workers", 1), host: "pve2" },
        ],
        { dead: answer },
      );
      assert.deepEqual(
        observed.vms.map(({ vmid, running, uuid, unreachable = "" }) => [vmid, running, uuid, unreachable.slice(0, 7)]),
        [
          [1100, false, "6b0124f9-0000-4000-8000-000000001100", ""],
          [1101, false, "", answer.reason.slice(0, 7)],
        ],
      );
    });
  }

  it("refuses half a picture when a host answers that nobody may ask it", async () => {
    const vms = [node("workers", 1100, { host: "pve2" })];
    await assert.rejects(read(vms, { dead: { status: 403, reason: "Permission check failed" } }), /Permission check/);
  });

  it("refuses to look without the right to see the pool", async () => {
    await assert.rejects(read([], { audit: false }), refusal(/may not see the VMs/, /\/pool\/nodes/));
  });

  const silent: [string, Vm[], boolean][] = [
    ["a server that starts with its host is off", [node("servers", 1000, { onboot: true })], true],
    [
      "a server that was a member runs, but not RKE2",
      [node("servers", 1000, { onboot: true, running: true, told: true })],
      true,
    ],
    ["the first server boots, and was told nothing", [node("servers", 1000, { onboot: true, running: true })], false],
    ["agents run and there is no server at all", [node("workers", 1100, { running: true })], true],
    ["the only server never joined", [node("servers", 1000)], false],
    ["an agent is off and there is no server", [node("workers", 1100)], false],
  ];
  for (const [title, vms, refused] of silent) {
    it(`${refused ? "refuses" : "goes on"} when no server answers and ${title}`, async () => {
      if (refused) await assert.rejects(read(vms), refusal(/none of its servers answers/, /demo-(servers|workers)-0/));
      else
        assert.deepEqual(
          (await read(vms)).vms.map(({ vmid }) => vmid),
          [vms[0]?.vmid],
        );
    });
  }

  it("leaves alone what another cluster's tags are on", async () => {
    const other = node("workers", 2100, { tags: ours("workers", 0).replace("demo", "other"), running: true });
    const observed = await read([other]);
    assert.deepEqual([observed.vms, observed.takenVmids], [[], [2100]]);
  });
});

describe("a place for a node", () => {
  const vm = {
    vmid: 1,
    name: "a",
    host: "pve9",
    running: true,
    uuid: "u",
    pool: "gone",
    slot: 0,
    generation: "0a1b2c3d",
  };

  it("is where its VM is", () => {
    const observed = picture({ vms: [vm] });
    assert.equal(hostOf(observed, "a"), "pve9");
    assert.equal(hostOf(observed, "new"), undefined);
  });

  it("is cloned from a template that exists, and a missing one is named with those that do", () => {
    assert.equal(templateOf(picture(), NEW, "pve1").vmid, 9002);
    assert.throws(
      () => templateOf(picture(), "other-v1.0.0", "pve1"),
      refusal(/no template other-v1.0.0/, new RegExp(NEW)),
    );
  });

  it("belongs to a forgotten pool when nobody configures the pool", () => {
    assert.deepEqual(forgottenPools(picture({ vms: [vm] }), []), ["gone"]);
  });
});
