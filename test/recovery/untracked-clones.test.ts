import assert from "node:assert/strict";
import { removeUntrackedClones } from "../../src/recovery/untracked-clones.ts";
import { Deadline } from "../../src/runtime/deadline.ts";
import { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { seedSite, seedVm, site } from "../../lab/proxmox/site.ts";
import type { ObservedCluster } from "../../src/observe/observed-cluster.ts";
import type { Proxmox } from "../../src/clients/proxmox/client.ts";
import { listVms, readVm } from "../../src/clients/proxmox/vms.ts";
import type { NodeRecord, SlotPhase } from "../../src/domain/model/types.ts";
import { Bench } from "../lab/proxmox/bench.ts";
import { picture, smallConfig } from "../support/picture.ts";

const name = "demo-servers-0-0a1b2c3d";
const vmid = 1000;

describe("a VM with a name of ours that is off and in no state of the engine", () => {
  let bench: Bench;
  let pve: Proxmox;
  beforeEach(async () => {
    bench = await Bench.start(28_170);
    await seedSite(bench.dc);
    seedVm(bench.dc, { vmid, name, pool: site.nodes, tags: ["eg-image", "evergreen", "rke2-v1.34.4+rke2r1"] });
    pve = bench.client(site.rolloutToken);
    // The list is thin for a new VM.
    await new Deadline("the VM in the list", 60).poll(20, async () =>
      (await listVms(pve)).some((vm) => vm.vmid === vmid && vm.status === "stopped") ? true : undefined,
    );
  });
  afterEach(() => bench.stop());

  const repaired = async (
    seen: Partial<ObservedCluster>,
    known: { vmid: number; name: string }[] = [],
  ): Promise<string[]> => {
    const observed = picture(seen);
    const config = { ...smallConfig(), site: { ...smallConfig().site, proxmoxPool: site.nodes } };
    const said: string[] = [];
    const fence = { check: () => Promise.resolve() };
    await removeUntrackedClones({ pve, config, observed }, known, fence, (_what, how) => said.push(how));
    const isThere = (await listVms(pve)).some((vm) => vm.vmid === vmid);
    return [isThere ? "stays" : "is destroyed", ...said];
  };
  const remembered = async (phase: SlotPhase): Promise<ObservedCluster["records"]> => {
    const { uuid } = await readVm(pve, { host: "pve1", vmid });
    const node: NodeRecord = {
      name,
      slot: 0,
      generation: "0a1b2c3d",
      vmid,
      uuid,
      phase,
      since: "2026-11-01T00:00:00Z",
    };
    return new Map([["servers", { pool: "servers", generations: [], nodes: [node] }]]);
  };
  const kubernetes = new Kubernetes({ server: "https://127.0.0.1:1", ca: "", cert: "", key: "" });
  after(() => kubernetes.close());

  it("stays when no cluster can say whether it was a member: the backend may be the wrong one", async () => {
    const [outcome, how = ""] = await repaired({});
    assert.equal(outcome, "stays");
    assert.match(how, /^left alone: there is no cluster that could say whether it was a member/);
  });

  for (const phase of ["handedOver", "retired", "failed"] as const) {
    it(`stays when the cluster remembers it as ${phase}`, async () => {
      assert.equal((await repaired({ kubernetes, records: await remembered(phase) }))[0], "stays");
    });
  }

  it("stays when the state has it", async () => {
    assert.deepEqual(await repaired({ kubernetes }, [{ vmid, name }]), ["stays"]);
  });

  it("stays, without a word, when it is a clone of the cluster demo-eu in the same Proxmox pool", async () => {
    bench.dc.vms.get(vmid)?.config.set("name", "demo-eu-workers-0-0a1b2c3d");
    await new Deadline("its name in the list", 60).poll(20, async () =>
      (await listVms(pve)).some((vm) => vm.name?.startsWith("demo-eu")) ? true : undefined,
    );
    assert.deepEqual(await repaired({ kubernetes }), ["stays"]);
  });

  it("stays when it was configured: a copy of a node, or a restored backup, looks the same", async () => {
    bench.dc.vms.get(vmid)?.config.set("tags", "eg-cluster-demo;eg-gen-0a1b2c3d;eg-pool-servers;eg-slot-0;evergreen");
    const [outcome, how = ""] = await repaired({ kubernetes });
    assert.equal(outcome, "stays");
    assert.match(how, /^left alone: it was configured, and may be a copy of a node .* destroy VM 1000 .* by hand$/);
  });

  it("stays when it was configured under the number and the name of a retired node: the VM of that may be gone", async () => {
    bench.dc.vms.get(vmid)?.config.set("tags", "eg-cluster-demo;eg-gen-0a1b2c3d;eg-pool-servers;eg-slot-0;evergreen");
    const [, pool] = [...(await remembered("retired"))][0] ?? [];
    const nodes = pool?.nodes.map((node) => ({ ...node, uuid: "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0" })) ?? [];
    const records = new Map([["servers", { pool: "servers", generations: [], nodes }]]);
    assert.equal((await repaired({ kubernetes, records }))[0], "stays");
  });

  it("is destroyed beside the next VM of its name, which the state has", async () => {
    seedVm(bench.dc, { vmid: vmid + 1, name, pool: site.nodes });
    assert.equal((await repaired({ kubernetes }, [{ vmid: vmid + 1, name }]))[0], "is destroyed");
  });

  it("is destroyed when the cluster has never had it", async () => {
    const said = await repaired({ kubernetes });
    assert.deepEqual(said, ["is destroyed", `destroyed the incomplete VM ${vmid} (${name})`]);
  });
});
