import assert from "node:assert/strict";
import { byHand, giveLabel } from "./by-hand.ts";
import { nodeOf } from "./pods.ts";
import { Stage, stageImages } from "./stage.ts";

const old = [1100, 1101, 1102, 1103];

describe("pods that ask for a label which all old nodes got by hand", function () {
  this.timeout(60_000);

  function stageWithPods() {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
    const { cluster, time } = stage.world;
    const own = () => cluster.objects.list("pods").filter(({ metadata }) => metadata.name.startsWith("pinned"));
    const evicted = { count: 0 };
    const begin = async () => {
      for (const vmid of old) giveLabel(stage, stage.nameOf(vmid));
      cluster.pods.deploy({
        name: "pinned",
        replicas: 4,
        minAvailable: 3,
        slowestEnd: 2000,
        claims: false,
        selector: byHand,
      });
      await time.sleep(30_000);
      cluster.objects.onChange(({ collection, object, removed }) => {
        if (removed && collection === "pods" && object.metadata.name.startsWith("pinned")) evicted.count += 1;
      });
    };
    return { stage, begin, own, evicted };
  }

  it("run on while the roll stops after the first node, and move once the pool has the label", async () => {
    const { stage, begin, own, evicted } = stageWithPods();
    await stage.play(async () => {
      await begin();
      for (const run of [1, 2]) {
        assert.equal(await stage.up(stage.agentsOf(1)), "failed", `run ${run}`);
        assert.match(
          stage.engine.why,
          /workers-0-handover: pods .* have found no place in 120 s: load\/pinned-\d+: demo-workers-\d-cfcccdce, where it is, leaves as well/,
        );
        assert.equal(evicted.count, 1);
        assert.equal(own().filter((pod) => nodeOf(pod) !== "").length, 4);
      }
      const given = { ...stage.agentsOf(1), pool: { labels: { [byHand]: "yes" } } };
      assert.equal(await stage.up(given), "done", stage.engine.why);
      assert.equal(own().filter((pod) => nodeOf(pod) !== "").length, 4);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("move when somebody gives it to each new node while the roll waits, as the preview says", async () => {
    const { stage, begin, own } = stageWithPods();
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      await begin();
      const run = stage.up(stage.agentsOf(1));
      for (const vmid of [1104, 1105, 1106, 1107]) {
        await stage.until(() => objects.get("nodes", stage.nameOf(vmid)) !== undefined);
        await stage.world.time.sleep(90_000);
        giveLabel(stage, stage.nameOf(vmid));
      }
      assert.equal(await run, "done", stage.engine.why);
      assert.equal(own().filter((pod) => nodeOf(pod) !== "").length, 4);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("move without a wait when the pool gives it to the nodes that come", async () => {
    const { stage, begin, own } = stageWithPods();
    await stage.play(async () => {
      await begin();
      const given = { ...stage.agentsOf(1), pool: { labels: { [byHand]: "yes" } } };
      assert.equal(await stage.up(given), "done", stage.engine.why);
      assert.equal(own().filter((pod) => nodeOf(pod) !== "").length, 4);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});
