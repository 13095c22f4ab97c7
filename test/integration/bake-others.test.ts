import assert from "node:assert/strict";
import { seedVm, site } from "../../lab/proxmox/site.ts";
import { ProxmoxUnreachable } from "../../src/clients/proxmox/errors.ts";
import { BAKE_TAGS, bakeNote, markOf, vmNameOf, type BakeOrder, type Phase } from "../../src/domain/images/bake.ts";
import { BakeStage } from "../support/bake-step.ts";
import { labBake } from "../lab/support/bake-site.ts";

describe("a bake among others", function () {
  this.timeout(120_000);
  let stage: BakeStage;

  before(async () => {
    stage = await BakeStage.start(28_410);
    await stage.lab.download(labBake());
  });
  afterEach(async () => stage.clear());
  after(async () => stage.stop());

  /** A VM that is there before the bake. */
  function plant(order: BakeOrder, phase: Phase | undefined, changes: Partial<Parameters<typeof seedVm>[1]> = {}) {
    const { vmid } = order;
    const notes = phase === undefined ? "of somebody" : bakeNote(markOf(order, phase));
    seedVm(stage.lab.bench.dc, {
      ...{ vmid, name: vmNameOf(order), pool: site.templates, tags: [...BAKE_TAGS], config: { description: notes } },
      ...changes,
    });
  }

  const configOf = (vmid: number) => JSON.stringify([...(stage.lab.bench.dc.vms.get(vmid)?.config ?? [])]);

  const foreign: [what: string, plant: (order: BakeOrder) => void, says: RegExp][] = [
    [
      "somebody's",
      (order) => plant(order, undefined, { name: "mine" }),
      /"mine" has that VMID, which is no bake of ours/,
    ],
    ["hidden from it", (order) => plant(order, "begun", { pool: site.nodes }), /which the token of bakes does not see/],
    [
      "a bake of another content",
      (order) => plant({ ...order, digest: "0".repeat(64) }, "begun"),
      /is being baked as VM 9100/,
    ],
    ["a copy of its bake", (order) => plant({ ...order, vmid: 9101 }, "begun", { vmid: 9100 }), /no bake of ours/],
  ];
  for (const [what, make, says] of foreign)
    it(`touches no VM with its VMID that is ${what}`, async () => {
      const order = stage.order();
      make(order);
      const before = configOf(9100);
      const writes: string[] = [];
      stage.lab.bench.dc.fault = (_, { method, endpoint }) => {
        if (method !== "GET") writes.push(`${method} ${endpoint}`);
        return undefined;
      };
      await assert.rejects(stage.bake(order), says);
      assert.equal(configOf(9100), before);
      assert.deepEqual(writes, []);
      assert.deepEqual(stage.remains().cds, []);
    });

  it("of a changed definition is refused while the old one bakes, and once it is a template", async () => {
    const order = stage.order();
    const changed = stage.order({}, labBake({ sysctl: { "vm.max_map_count": "1" } }));
    assert.notEqual(order.digest, changed.digest);
    assert.ok(
      await stage.bakeKilled(order, (moment, { endpoint }) => moment === "after" && endpoint.endsWith("/start")),
    );
    await assert.rejects(stage.bake(changed), /lab-image-v1\.2\.0 is being baked as VM 9100, and is another image/);
    await stage.bake(order);
    await assert.rejects(stage.bake(changed), /lab-image-v1\.2\.0 was baked as VM 9100, and is another image/);
    assert.deepEqual(stage.remains(), { vms: ["lab-image-v1.2.0"], cds: [] });
  });

  it("of another image takes away the CD that an earlier one of its VMID has left", async () => {
    const earlier = stage.order({}, labBake({ sysctl: { "vm.max_map_count": "1" } }));
    const isCreate = (moment: string, { method, endpoint }: { method: string; endpoint: string }) =>
      moment === "before" && method === "POST" && endpoint === "nodes/{node}/qemu";
    assert.ok(await stage.bakeKilled(earlier, isCreate));
    assert.equal(stage.remains().cds.length, 1);
    await stage.bake(stage.order());
    assert.deepEqual(stage.remains(), { vms: ["lab-image-v1.2.0"], cds: [] });
  });

  it("is not begun when what it is made of has changed since it was planned", async () => {
    await assert.rejects(stage.bake(stage.order({ digest: "0".repeat(64) })), /has changed since the bake was planned/);
    assert.deepEqual(stage.remains(), { vms: [], cds: [] });
  });

  it("of the same image at the same time makes one template", async () => {
    const order = stage.order();
    const ends = await Promise.allSettled([stage.bake(order), stage.bake(order)]);
    const failed = ends.filter((end) => end.status === "rejected").map(({ reason }) => String(reason));
    assert.deepEqual(stage.remains(), { vms: ["lab-image-v1.2.0"], cds: [] }, failed.join("\n"));
    assert.ok(failed.length < 2, failed.join("\n"));
  });

  it("stays where it is when the run is cancelled, and the next run goes on", async () => {
    const order = stage.order();
    const stop = new AbortController();
    stage.lab.bench.dc.fault = (_, { endpoint }) => {
      if (endpoint.endsWith("/agent/file-read")) stop.abort(new Error("SIGTERM was received"));
      return undefined;
    };
    await assert.rejects(stage.bake(order, stop.signal), /SIGTERM was received/);
    assert.deepEqual(stage.remains().vms, [vmNameOf(order)]);
    stage.lab.bench.dc.fault = undefined;
    const created = stage.lab.bench.dc.requests.byEndpoint.get("POST nodes/{node}/qemu");
    await stage.bake(order);
    assert.equal(stage.lab.bench.dc.requests.byEndpoint.get("POST nodes/{node}/qemu"), created);
  });

  it("is not judged by a Proxmox that does not answer, for a while or to the end", async () => {
    const order = stage.order();
    let silent = 0;
    stage.lab.bench.dc.fault = (moment, { endpoint }) => {
      if (moment !== "before" || !endpoint.endsWith("/agent/file-read")) return undefined;
      silent += 1;
      return silent < 30 ? { drop: true } : undefined;
    };
    await stage.bake(order);
    await stage.clear();
    stage.lab.bench.dc.fault = (_, { endpoint }) =>
      endpoint.endsWith("/agent/file-read") ? { drop: true } : undefined;
    await assert.rejects(stage.bake(order), (error) => error instanceof ProxmoxUnreachable);
    assert.deepEqual(stage.remains().vms, [vmNameOf(order)]);
    stage.lab.bench.dc.fault = undefined;
    await stage.bake(order);
    assert.deepEqual(stage.remains(), { vms: ["lab-image-v1.2.0"], cds: [] });
  });

  it("waits for a backup of its VM", async () => {
    const order = stage.order();
    assert.ok(
      await stage.bakeKilled(order, (moment, { endpoint }) => moment === "after" && endpoint.endsWith("/start")),
    );
    const config = stage.lab.bench.dc.vms.get(9100)?.config;
    config?.set("lock", "backup");
    let looks = 0;
    stage.lab.bench.dc.fault = (_, { endpoint }) => {
      if (endpoint.endsWith("/config") && (looks += 1) > 6) config?.delete("lock");
      return undefined;
    };
    await stage.bake(order);
    assert.ok(looks > 6);
    assert.deepEqual(stage.remains(), { vms: ["lab-image-v1.2.0"], cds: [] });
  });
});
