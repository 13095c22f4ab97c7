import assert from "node:assert/strict";
import { Stage, stageImages } from "./stage.ts";

/** What ends or prolongs a soak, and what does not. */
describe("a long soak, in virtual time", function () {
  this.timeout(60_000);

  const strategy = { servers: 1, agents: 3, soakSeconds: 3600, canary: 1 };

  it("begins anew with each restart of its canary", async () => {
    const stage = new Stage(stageImages(), strategy);
    const { time, cluster, watcher } = stage.world;
    await stage.play(async () => {
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      const canary = stage.nameOf(1103);
      watcher.touchedByFate(canary);
      for (let restarts = 0; restarts < 5; restarts += 1) {
        await time.sleep(600_000);
        cluster.nodes.flap(canary, 60_000);
      }
      await time.sleep(900_000);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      const [plan] = stage.engine.clusterPlan?.pools ?? [];
      assert.match(plan?.words.join("\n") ?? "", /soaks anew until .*, because not Ready meanwhile: demo-workers-0-/);
      assert.equal(plan?.kind, "soaking");
      await time.sleep(3_000_000);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.equal(stage.engine.clusterPlan?.pools[0]?.kind, "roll");
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("begins anew when a run has brought its canary back, which was off for most of it", async () => {
    const stage = new Stage(stageImages(), strategy);
    const { time } = stage.world;
    const kinds: (string | undefined)[] = [];
    const runAfter = async (ms: number) => {
      await time.sleep(ms);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      kinds.push(stage.engine.clusterPlan?.pools[0]?.kind);
    };
    await stage.play(async () => {
      await runAfter(0);
      await time.sleep(600_000);
      stage.cutPower(1103);
      for (const ms of [3_100_000, 10_000, 3_600_000]) await runAfter(ms);
    });
    assert.deepEqual(kinds, ["canary", "soaking", "soaking", "roll"]);
    assert.deepEqual(stage.world.story.violations, []);
  });
});
