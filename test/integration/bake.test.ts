import assert from "node:assert/strict";
import { site } from "../../lab/proxmox/site.ts";
import { bakeNote, markOf, templateOptionsOf } from "../../src/domain/images/bake.ts";
import { drivesOf, hardwareOf } from "../../src/domain/images/hardware.ts";
import { labBake } from "../lab/support/bake-site.ts";
import { BakeStage } from "../support/bake-step.ts";

for (const [index, version] of (["8.4", "9.2"] as const).entries()) {
  describe(`the step bake, Proxmox VE ${version}`, function () {
    this.timeout(120_000);
    let stage: BakeStage;

    before(async () => {
      stage = await BakeStage.start(28_406 + index, version);
    });
    afterEach(async () => stage.clear());
    after(async () => stage.stop());

    it("makes a template of a definition, and leaves nothing else", async () => {
      const order = stage.order();
      await stage.lab.download(labBake());
      const baked = await stage.bake(order);
      const vm = stage.lab.bench.dc.vms.get(9100);
      assert.ok(vm);
      assert.deepEqual(baked, {
        image: "lab-image-v1.2.0",
        digest: order.digest,
        vmid: 9100,
        host: "pve1",
        uuid: String(vm.config.get("smbios1")).replace("uuid=", ""),
      });
      assert.equal(vm.config.get("description"), bakeNote(markOf(order, "baked")));
      assert.equal(vm.config.get("tags"), "eg-image;evergreen;rke2-v1.34.10+rke2r1");
      assert.equal(vm.config.get("template"), 1);
      assert.equal(vm.config.get("ide2"), undefined);
      assert.match(String(vm.config.get("scsi0")), /base-9100-disk-0.*size=12G/);
      assert.deepEqual(stage.remains(), { vms: ["lab-image-v1.2.0"], cds: [] });
      assert.deepEqual(await stage.bake(order), baked, "a second run changes nothing");
      assert.ok(stage.lab.bench.dc.pools.get(site.templates)?.vms.has(9100));
      const options = new Map([...vm.config].map(([name, value]) => [name, String(value)]));
      const planned = templateOptionsOf(order);
      assert.deepEqual(hardwareOf(planned), hardwareOf(options), "a plan before the bake makes the same clones");
      assert.deepEqual(drivesOf(planned), drivesOf(options));
    });
  });
}
