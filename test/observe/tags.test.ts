import assert from "node:assert/strict";
import { adoptedGeneration } from "../../src/domain/model/generation.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { readGivenTags, writeGivenTags } from "../../src/clients/kubernetes/cluster-record.ts";
import { tagsOf } from "../../src/clients/proxmox/tags.ts";
import { setTagsOfVms, setMemberTags } from "../../src/observe/tags.ts";
import { freshCluster } from "../clients/kubernetes/fake.ts";
import { fakeProxmox, type Answer } from "../clients/proxmox/fake.ts";
import { settledPicture, smallConfig } from "../support/picture.ts";

const pool = { name: "workers", image: "ubuntu-24.04-rke2-v1.0.0", slots: 2, vmIds: { first: 1100, last: 1109 } };
type Seen = Parameters<typeof setTagsOfVms>[3];
const uuidOf = (vmid: number) => `00000000-0000-0000-0000-00000000${vmid}`;

describe("tags of the configuration on VMs that exist", () => {
  let kubernetes: Kubernetes;
  freshCluster((_, client) => (kubernetes = client));

  /** What is known of two workers, and of a server, which gets no tags. */
  const observe = () => {
    const { vms, records } = settledPicture({}, kubernetes, new Date().toISOString());
    const known = [...records].map(([name, record]) => {
      const nodes = record.nodes.map((node) => ({ ...node, uuid: uuidOf(node.vmid) }));
      return [name, { ...record, nodes }] as const;
    });
    return { vms: vms.map((vm) => ({ ...vm, uuid: uuidOf(vm.vmid) })), records: new Map(known) };
  };

  /** An update with these tags, of workers that have others beside ours. @param answer to the change of the second one */
  async function update(
    has: string[],
    wanted: string[],
    { isPreview = false, answer, observed = observe() }: { isPreview?: boolean; answer?: Answer; observed?: Seen } = {},
  ) {
    const tags = (vmid: number) => {
      const vm = observed.vms.find((one) => one.vmid === vmid);
      if (vm === undefined) return "";
      return [...tagsOf({ cluster: "demo", ...vm }), ...(vm.pool === "workers" ? has : [])].join(";");
    };
    await using pve = await fakeProxmox(({ method, path }) => {
      if (path === "/cluster/resources")
        return {
          data: observed.vms.map(({ vmid, name, host: node }) => {
            return { type: "qemu", status: "running", vmid, name, node, tags: tags(vmid) };
          }),
        };
      const vmid = Number(/qemu\/(\d+)\//.exec(path)?.[1]);
      if (method === "PUT") return vmid === 1101 && answer !== undefined ? answer : { data: null };
      const name = observed.vms.find((vm) => vm.vmid === vmid)?.name;
      return { data: { name, smbios1: `uuid=${uuidOf(vmid)}`, tags: tags(vmid), digest: "d" } };
    });
    const config = smallConfig({ pools: [{ ...pool, tags: wanted }] });
    const lines = await setTagsOfVms(pve.client, kubernetes, config, observed, isPreview);
    const writes = pve.seen.filter(({ method }) => method === "PUT");
    return {
      lines: lines.map((line) => line.replace(/-\w{8} /, " ")),
      writes: writes.map(({ path, parameters: { tags: all = "", digest } }) => {
        const others = all.split(";").filter((tag) => !tag.startsWith("e"));
        return `${path.slice(-11)} ${others.join(";")} ${digest ?? ""}`;
      }),
      given: await readGivenTags(kubernetes, "workers"),
    };
  }

  it("come and go beside those that people gave, and the digest of the proof goes with each change", async () => {
    await writeGivenTags(kubernetes, "workers", ["old", "web"]);
    assert.deepEqual(await update(["old", "hand"], ["web"]), {
      lines: [
        "demo-workers-0 (VM 1100) gets its tags: +web, -old",
        "demo-workers-1 (VM 1101) gets its tags: +web, -old",
      ],
      writes: ["1100/config hand;web d", "1101/config hand;web d"],
      given: ["web"],
    });
  });

  it("are told in a preview, which changes nothing", async () => {
    const { lines, writes, given } = await update([], ["web"], { isPreview: true });
    assert.deepEqual([lines.length, writes, given], [2, [], undefined]);
  });

  it("are nobody's matter where the configuration has none", async () => {
    assert.deepEqual(await update(["hand"], []), { lines: [], writes: [], given: undefined });
  });

  it("are not taken off by a configuration that did not give them", async () => {
    assert.deepEqual((await update(["hand", "web"], ["web"])).writes, []);
  });

  it("are tried again by the next update where one VM is locked, or on a host that does not answer", async () => {
    await writeGivenTags(kubernetes, "workers", ["old"]);
    const answer = { status: 500, reason: "VM is locked (backup)" };
    const locked = await update(["old"], ["web"], { answer });
    assert.match(locked.lines[1] ?? "", /gets its tags: \+web, -old, not now: .*locked \(backup\).*; the next update/);
    assert.deepEqual(locked.given, ["old", "web"]);
    const observed = observe();
    const vms = observed.vms.map((vm) => (vm.vmid === 1101 ? { ...vm, unreachable: "pve1 does not answer" } : vm));
    const silent = await update(["old"], ["web"], { observed: { ...observed, vms } });
    assert.deepEqual([silent.writes.length, silent.given], [1, ["old", "web"]]);
    assert.deepEqual((await update(["old"], ["web"])).given, ["web"]);
  });

  it("are no reason to change a VM that is another one", async () => {
    const observed = observe();
    const others = [...observed.records].map(([name, record]) => {
      const nodes = record.nodes.map((node) => ({ ...node, uuid: uuidOf(9999) }));
      return [name, { ...record, nodes }] as const;
    });
    const { writes, lines } = await update([], ["web"], { observed: { ...observed, records: new Map(others) } });
    assert.deepEqual(writes, []);
    assert.match(lines.join(), /not now: SMBIOS uuid .* recorded .*; the next update tries again/);
  });
});

describe("the tag of a member", () => {
  const [uuid, other] = [uuidOf(1100), uuidOf(9999)];
  const since = "2026-01-01T00:00:00.000Z";

  /** What is written for one worker, and said of it. */
  async function tagged(
    {
      adopted,
      ...seen
    }: { lacksMemberTag?: true; uidTag?: string; uuid?: string; adopted?: true; unreachable?: string },
    phase: "made" | "joined" | "handedOver" | "retired",
    { isPreview = false, answer = { data: null }, uid }: { isPreview?: boolean; answer?: Answer; uid?: string } = {},
  ) {
    const name = adopted ? "kube-a" : "demo-workers-0-0a1b2c3d";
    const generation = adopted ? adoptedGeneration(name) : "0a1b2c3d";
    const place = { slot: 0, generation, vmid: 1100, uuid };
    const tags = [...tagsOf({ cluster: "demo", pool: "workers", slot: 0, generation }), "hand"].join(";");
    const record = { pool: "workers", generations: [], nodes: [{ ...place, name, phase, since }] };
    const observed = {
      vms: [{ ...place, name, pool: "workers", host: "pve1", running: true, ...seen }],
      records: new Map([["workers", record]]),
      ...(uid !== undefined && { uid }),
    };
    await using pve = await fakeProxmox(({ method }) =>
      method === "PUT" ? answer : { data: { name, smbios1: `uuid=${uuid}`, tags, digest: "d" } },
    );
    const said = await setMemberTags(pve.client, "demo", observed, isPreview);
    const written = pve.seen.find(({ method }) => method === "PUT")?.parameters.tags?.replace(`${tags};`, "");
    return { said, written, asked: pve.seen.length };
  }
  const lacks = { lacksMemberTag: true } as const;

  it("comes to the VM of a member that an earlier version has started", async () => {
    for (const phase of ["joined", "handedOver"] as const)
      assert.deepEqual(await tagged(lacks, phase), {
        said: ["1 VM gets the tag eg-member: it tells of the cluster when no server answers"],
        written: "eg-member",
        asked: 2,
      });
  });

  for (const [title, vm, phase] of [
    ["one that has it", {}, "handedOver"],
    ["one that has not joined", lacks, "made"],
    ["one that was decommissioned", lacks, "retired"],
    ["one that another VM has replaced", { ...lacks, uuid: other }, "handedOver"],
    ["one that was adopted", { ...lacks, adopted: true }, "handedOver"],
  ] as const)
    it(`comes not to ${title}, and costs no request`, async () => {
      assert.deepEqual(await tagged(vm, phase), { said: [], written: undefined, asked: 0 });
    });

  it("is told in a preview, which changes nothing", async () => {
    const { said, asked } = await tagged(lacks, "joined", { isPreview: true });
    assert.deepEqual([said.length, asked], [1, 0]);
  });

  it("keeps no update from its work when the VM is locked", async () => {
    const answer = { status: 500, reason: "VM is locked (backup)" };
    assert.match(
      (await tagged(lacks, "joined", { answer })).said[1] ?? "",
      /\(VM 1100\) does not get it now: .*locked/,
    );
  });

  const uid = "0F1E2D3c-4b5a-4978-8675-645342312011";
  for (const [title, vm, written, said] of [
    ["one that has none of both", lacks, "eg-member;eg-uid-0f1e2d3c", 2],
    ["one that has the tag of a member", {}, "eg-uid-0f1e2d3c", 1],
    ["one that was adopted", { ...lacks, adopted: true }, "eg-uid-0f1e2d3c", 1],
    ["no other one than such", { uidTag: "eg-uid-0f1e2d3c" }, undefined, 0],
    ["none whose host does not answer", { unreachable: "it is off" }, undefined, 0],
    ["none that another VM has replaced", { uuid: other }, undefined, 0],
  ] as const)
    it(`comes together with that of its cluster's uid: to ${title}`, async () => {
      const result = await tagged(vm, "handedOver", { uid });
      assert.deepEqual([result.written, result.said.length], [written, said]);
    });
});
