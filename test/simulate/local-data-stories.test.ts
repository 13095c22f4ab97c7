import assert from "node:assert/strict";
import { bindVolume, ties } from "./local-volumes.ts";
import { Stage, stageImages } from "./stage.ts";

/** Stories of data that is on one node alone, which nobody has agreed to lose. */
describe("data on a node alone, in virtual time", function () {
  this.timeout(60_000);

  for (const by of ties)
    for (const lost of ["nothing", "the driver's label", "the Node"])
      it(`is not destroyed when ${by} ties its volume and ${lost} is gone`, async () => {
        const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
        const { objects } = stage.world.cluster;
        await stage.play(async () => {
          const name = stage.nameOf(1100);
          const before = objects.get("nodes", name);
          bindVolume(stage.world.cluster, { node: name, name: "local-1", claim: "data-db", by });
          if (lost === "the driver's label" && before) objects.put("nodes", before);
          if (lost === "the Node") objects.remove("nodes", name);
          await stage.world.time.sleep(5000);
          for (const run of [1, 2]) {
            assert.equal(await stage.up(stage.agentsOf(1)), "refused", `run ${run}`);
            assert.match(stage.engine.why, /leaves, and a volume with data (is|may be) on it alone: .*load\/data-db/);
          }
          assert.ok(stage.world.dc.vms.has(1100));
        });
        assert.deepEqual(stage.world.story.violations, []);
      });

  it("does not keep nodes for a volume that another node has, or that a node had which was retired", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3 });
    await stage.play(async () => {
      bindVolume(stage.world.cluster, { node: stage.nameOf(1101), name: "local-1", claim: "data-db", by: ties[1] });
      stage.world.cluster.objects.remove("nodes", stage.nameOf(1102));
      await stage.world.time.sleep(5000);
      assert.equal(await stage.up({ ...stage.before, slots: 2 }), "done", stage.engine.why);
    });
  });
});
