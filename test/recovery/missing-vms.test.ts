import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  findMissingVms,
  findOutdatedVms,
  mayForget,
  refuseAnotherSite,
  requireSeen,
} from "../../src/recovery/missing-vms.ts";
import { forgetGone } from "../../src/recovery/mend.ts";
import { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { seedSite, seedVm, site } from "../../lab/proxmox/site.ts";
import { tagsOf as tagsOfNode } from "../../src/clients/proxmox/tags.ts";
import { generationOf } from "../../src/domain/model/generation.ts";
import type { NodeRecord, SlotPhase } from "../../src/domain/model/types.ts";
import { Bench } from "../lab/proxmox/bench.ts";
import { OLD, picture, running } from "../support/picture.ts";

const known = [1100, 1101, 1102, 1103].map((vmid) => {
  const name = `demo-workers-${vmid - 1100}-0a1b2c3d`;
  return { vmid, name, host: "pve1", urn: `urn:${name}` };
});

const tagsOf = (vmid: number) =>
  tagsOfNode({ cluster: "demo", pool: "workers", slot: vmid - 1100, generation: "0a1b2c3d" });

for (const [index, version] of (["8.4", "9.2"] as const).entries()) {
  describe(`VMs that were deleted by hand, ${version}`, () => {
    let bench: Bench;
    let directory: string;
    let environment: NodeJS.ProcessEnv;

    beforeEach(async () => {
      bench = await Bench.start(28_156 + index, { version });
      await seedSite(bench.dc);
      for (const { vmid, name } of known) seedVm(bench.dc, { vmid, name, pool: site.nodes, tags: tagsOf(vmid) });
      directory = await mkdtemp(join(tmpdir(), "evergreen-lost-"));
      await writeFile(join(directory, "ca.pem"), bench.ca);
      environment = {
        PROXMOX_VE_ENDPOINT: `https://127.0.0.1:${bench.port}/`,
        PROXMOX_VE_API_TOKEN: bench.dc.credential(site.rolloutToken),
        NODE_EXTRA_CA_CERTS: join(directory, "ca.pem"),
      };
    });

    afterEach(async () => {
      await bench.stop();
      await rm(directory, { recursive: true });
    });

    const destroyed = async (vmid: number) =>
      assert.equal(await bench.task("DELETE", `nodes/pve1/qemu/${vmid}`, { purge: 1 }), "OK");
    const lost = async (changes: NodeJS.ProcessEnv = {}): Promise<number[]> =>
      (await findMissingVms("dev", { ...environment, ...changes }, known)).gone.map(({ vmid }) => vmid);

    it("are none of the configured cluster when all have the name of another: nothing is begun", async () => {
      const old = known.map((vm) => ({ ...vm, name: vm.name.replace("demo", "old") }));
      await assert.rejects(
        findMissingVms("dev", environment, old),
        /has 4 VMs, and none is a node of the cluster demo/,
      );
      await assert.rejects(findMissingVms("nowhere", environment, known), /cannot be read/);
    });

    it("are none of the configured cluster when their tags name another whose name begins with it", async () => {
      const theirs = [1110, 1111].map((vmid, slot) => {
        const tags = tagsOfNode({ cluster: "demo-eu", pool: "workers", slot, generation: "0a1b2c3d" });
        const name = `demo-eu-workers-${slot}-0a1b2c3d`;
        seedVm(bench.dc, { vmid, name, pool: site.nodes, tags });
        return { vmid, name, host: "pve1", urn: `urn:${name}` };
      });
      bench.dc.see();
      await assert.rejects(findMissingVms("dev", environment, theirs), /none is a node of the cluster demo\n/);
    });

    it("are found by the list of VMs", async () => {
      assert.deepEqual(await lost(), []);
      await destroyed(1100);
      await destroyed(1102);
      assert.deepEqual(await lost(), [1100, 1102]);
    });

    it("are told from clones that were never configured, which have no tags of ours", async () => {
      const configured = bench.dc.vms.get(1101)?.config;
      configured?.set("tags", "evergreen;eg-image");
      bench.dc.see();
      const { gone, unconfigured } = await findMissingVms("dev", environment, known);
      assert.deepEqual([gone, unconfigured.map(({ vmid }) => vmid)], [[], [1101]]);
      const claimed = known.map((vm) => ({ ...vm, claimed: true as const }));
      assert.deepEqual((await findMissingVms("dev", environment, claimed)).unconfigured, [], "it was a node once");
      await bench.task("POST", "nodes/pve1/qemu/1101/status/start", {});
      bench.dc.see();
      const started = await findMissingVms("dev", environment, known);
      assert.deepEqual(started.unconfigured, unconfigured, "a repair says what to do with one that runs");
    });

    it("are found beside clones that no state has: off, with a name of ours, in our Proxmox pool", async () => {
      const lab = { pool: site.nodes, tags: ["eg-image"] };
      seedVm(bench.dc, { ...lab, vmid: 1110, name: "demo-workers-3-0a1b2c3d" });
      seedVm(bench.dc, { ...lab, vmid: 1111, name: "demo-workers-of-somebody" });
      seedVm(bench.dc, { ...lab, vmid: 1112, name: "demo-workers-3-0a1b2c3d", pool: site.templates });
      seedVm(bench.dc, { ...lab, vmid: 1113, name: "demo-workers-3-0a1b2c3d" });
      await bench.task("POST", "nodes/pve1/qemu/1113/status/start", {});
      bench.dc.see();
      // The list has neither name nor status of one that is seconds old.
      seedVm(bench.dc, { ...lab, vmid: 1114, name: "demo-workers-4-0a1b2c3d" });
      const { untracked } = await findMissingVms("dev", environment, known);
      assert.deepEqual(
        untracked.map(({ vmid }) => vmid),
        [1110, 1114],
      );
      // Nothing is in the state when the plugin was killed in the first create of all.
      const { untracked: first } = await findMissingVms("dev", environment, []);
      assert.ok(first.some(({ vmid }) => vmid === 1110));
    });

    it("are not those of another cluster in the same Proxmox pool, whose name begins with ours", async () => {
      const fresh = { pool: site.nodes, tags: ["eg-image"] };
      const theirs = { cluster: "demo-eu", pool: "workers", slot: 0, generation: "0a1b2c3d" };
      seedVm(bench.dc, { ...fresh, vmid: 1110, name: "demo-eu-workers-0-0a1b2c3d" });
      seedVm(bench.dc, { pool: site.nodes, tags: tagsOfNode(theirs), vmid: 1111, name: "demo-eu-workers-0-0a1b2c3d" });
      bench.dc.see();
      const { untracked } = await findMissingVms("dev", environment, known);
      assert.deepEqual(untracked, []);
    });

    it("are told from those that were migrated, which the engine would look for on their old host", async () => {
      await destroyed(1100);
      const elsewhere = known.map((vm) => (vm.vmid === 1103 ? { ...vm, host: "pve7" } : vm));
      const { gone, moved } = await findMissingVms("dev", environment, elsewhere);
      assert.deepEqual([gone.map(({ vmid }) => vmid), moved.map(({ vmid }) => vmid)], [[1100], [1103]]);
      const outdated = await findOutdatedVms("dev", environment, elsewhere);
      assert.deepEqual(
        [outdated.gone, outdated.moved].map((some) => some.map(({ vmid }) => vmid)),
        [[1100], [1103]],
      );
      const strangers = elsewhere.map((vm) => ({ ...vm, name: `${vm.name}-of-then`, claimed: true as const }));
      assert.deepEqual(await findOutdatedVms("dev", environment, strangers), { gone: [], moved: [] }, "another site");
      // A state that names no host is no reason to look.
      const placeless = known.map(({ vmid, name, urn }) => ({ vmid, name, urn }));
      assert.deepEqual((await findMissingVms("dev", environment, placeless)).moved, []);
    });

    it("stop an update, by name, while another has left the pool, or its number belongs to a stranger", async () => {
      await destroyed(1100);
      const { vms } = bench.dc.pools.get(site.nodes) ?? {};
      vms?.delete(1102);
      await assert.rejects(lost(), /VM 1102 of demo-workers-2-0a1b2c3d exists, and the token cannot see it/);
      vms?.add(1102);
      await destroyed(1101);
      seedVm(bench.dc, { vmid: 1101, name: "stranger" });
      await assert.rejects(lost(), /VM 1101 of demo-workers-1-0a1b2c3d exists, and the token cannot see it/);
      await destroyed(1101);
      assert.deepEqual(await lost(), [1100, 1101]);
    });

    it("stop an update and a destroy while a stranger has the number of one of them, not while one of ours was renamed", async () => {
      await destroyed(1101);
      const stranger = seedVm(bench.dc, { vmid: 1101, name: "database", pool: site.nodes });
      await assert.rejects(
        lost(),
        /VM 1101 is not demo-workers-1-0a1b2c3d any more: it is called (database|nothing yet)/,
      );
      await assert.rejects(
        findOutdatedVms("dev", environment, known),
        /VM 1101 is not demo-workers-1-0a1b2c3d any more/,
        "a destroy",
      );
      stranger.config.set("tags", tagsOf(1101).join(";"));
      assert.deepEqual(await lost(), []);
    });

    it("stop an update and a destroy while a node of another cluster has the number, and one of ours if nothing was claimed", async () => {
      const claimed = known.map((vm) => ({ ...vm, claimed: true as const }));
      const outdated = async (vms: typeof known) => await findOutdatedVms("dev", environment, vms);
      await destroyed(1101);
      const other = seedVm(bench.dc, { vmid: 1101, name: "another", pool: site.nodes });
      for (const [cluster, refused, unclaimed] of [
        ["demo-eu", /VM 1101 is not .* move this one to another number/s, /pulumi state delete .*'urn:demo-workers-1-/],
        ["demo", undefined, /pulumi state delete .*'urn:demo-workers-1-/],
      ] as const) {
        const tags = tagsOfNode({ cluster, pool: "workers", slot: 7, generation: "0a1b2c3d" });
        other.config.set("tags", tags.join(";"));
        bench.dc.see();
        await assert.rejects(outdated(known), unclaimed);
        if (refused === undefined) await outdated(claimed);
        else await assert.rejects(outdated(claimed), refused);
      }
    });

    it("keep a destroy from beginning that cannot look for them, unless a claim proves each", async () => {
      const blind = { ...environment, PROXMOX_VE_API_TOKEN: undefined };
      const claimed = known.map((vm) => ({ ...vm, claimed: true as const }));
      assert.deepEqual(await findOutdatedVms("dev", blind, claimed), { gone: [], moved: [] });
      await assert.rejects(findOutdatedVms("dev", blind, known), /PROXMOX_VE_API_TOKEN/);
    });

    it("are no reason against a refresh by hand, which is refused while one is out of sight, or all are", async () => {
      await destroyed(1100);
      await requireSeen("dev", environment, known);
      const { vms } = bench.dc.pools.get(site.nodes) ?? {};
      vms?.delete(1102);
      await assert.rejects(requireSeen("dev", environment, known), /VM 1102 of .* exists, and the token cannot see it/);
      bench.dc.removePrivilege(site.rolloutToken, "VM.Audit");
      await assert.rejects(requireSeen("dev", environment, known), /the token may not see the VMs of the pool/);
      await requireSeen("dev", environment, []);
    });

    it("are none as long as the token does not see the pool, or nobody can be asked", async () => {
      await destroyed(1100);
      assert.deepEqual(await lost({ PROXMOX_VE_API_TOKEN: undefined }), []);
      bench.dc.removePrivilege(site.rolloutToken, "VM.Audit");
      assert.deepEqual(await lost(), []);
    });
  });
}

describe("all VMs of a state that are gone", () => {
  const kubernetes = new Kubernetes({ server: "https://127.0.0.1:1", ca: "", cert: "", key: "" });
  after(() => kubernetes.close());
  const seen = known.map(({ vmid, name, host }) => {
    return { vmid, name, host, status: "stopped" as const, template: false, tags: [], pool: "nodes" };
  });
  const forgotten = (gone: typeof known, there: typeof seen, cluster?: Kubernetes) => {
    const pve = { endpoint: "https://staging.example:8006" };
    refuseAnotherSite(gone, there, { pve, observed: { kubernetes: cluster } });
  };

  it("are not forgotten while no cluster answers: it may be another site", () => {
    const why = /none of the 4 VMs that the engine remembers is in this Proxmox VE.*\n.*staging\.example.*VM 1100/;
    assert.throws(() => forgotten(known, []), why);
  });

  it("are an operator's to give up when the cluster answers, when one is left, and when there is none", () => {
    forgotten(known, [], kubernetes);
    forgotten(known.slice(1), seen.slice(0, 1));
    forgotten([], []);
  });
});

describe("a VM that is gone", () => {
  const spec = { image: OLD, rke2: "v1.34.4+rke2r1", cores: 4, memoryMiB: 8192, diskGiB: 40 };
  const { vm, node } = running("workers", 0, spec, 1100);
  const kubernetes = new Kubernetes({ server: "https://127.0.0.1:1", ca: "", cert: "", key: "" });
  after(() => kubernetes.close());

  const live = (phase: SlotPhase | undefined) => {
    const { name, slot, generation, vmid, uuid } = vm;
    const since = new Date().toISOString();
    const nodes: NodeRecord[] = phase === undefined ? [] : [{ name, slot, generation, vmid, uuid, phase, since }];
    const generations = [{ ...generationOf(spec), state: "proved" as const, since }];
    return picture({ kubernetes, records: new Map([["workers", { pool: "workers", nodes, generations }]]) });
  };

  const phases: [SlotPhase | undefined, boolean][] = [
    [undefined, true],
    ["made", true],
    ["failed", true],
    ["retired", true],
    ["joined", false],
    ["handedOver", false],
  ];
  for (const [phase, may] of phases) {
    it(`${may ? "is forgotten without asking" : "waits for evergreen repair"} when it was ${phase ?? "never noted"}`, async () => {
      assert.equal(mayForget([vm], live(phase)), may);
      let refreshes = 0;
      const books = { refreshOnly: () => Promise.resolve(void (refreshes += 1)) };
      await forgetGone(books, live(phase), [{ ...vm, urn: vm.name }], () => undefined);
      assert.equal(refreshes, Number(may));
      assert.equal(mayForget([{ ...vm, name: "another" }], live(phase)), true);
    });
  }

  it("waits while its Node is there, and while nobody can ask the cluster", () => {
    assert.equal(mayForget([vm], { ...live("retired"), nodes: [node] }), false);
    assert.equal(mayForget([vm], { ...live("retired"), kubernetes: undefined }), false);
    assert.equal(mayForget([vm], picture()), false, "nothing is remembered where nobody can be asked");
  });
});
