import assert from "node:assert/strict";
import type { Wish } from "./scenario.ts";
import { imageOf } from "./scenario.ts";
import { Stage } from "./stage.ts";

describe("a pool that goes back when a generation fails, in virtual time", function () {
  this.timeout(60_000);

  /** The images of the agents that have a slot. */
  const served = ({ world }: Stage): unknown[] =>
    world.cluster.objects
      .list("nodes")
      .flatMap(({ metadata: { name } }) => [...world.dc.vms.values()].filter((vm) => vm.running && vm.name === name))
      .filter(({ name }) => name.startsWith("demo-workers-"))
      .map(({ disk }) => disk.get("image"));

  const good = [imageOf(0, undefined), imageOf(1, undefined), imageOf(2, undefined)];
  const bad = [...good.slice(0, 2), imageOf(2, "never-ready")];

  /** A node of the last image reports another boot in its soak. */
  const restartOne = async (stage: Stage): Promise<void> => {
    const { world } = stage;
    const { objects } = world.cluster;
    const record = () => JSON.stringify(objects.get("configmaps", "evergreen-system/pool-workers")?.data);
    await stage.until(() => record().includes("soaking"));
    await world.time.sleep(5000);
    const node = objects.list("nodes").find(({ metadata }) => metadata.name.startsWith("demo-workers-0-"));
    world.watcher.touchedByFate(node?.metadata.name ?? "");
    const nodeInfo = { ...(node?.status?.nodeInfo as object), bootID: "another" };
    if (node) objects.put("nodes", { ...node, status: { ...node.status, nodeInfo } });
  };

  for (const { when, images, soakSeconds } of [
    { when: "its first node fails", images: bad, soakSeconds: 0 },
    { when: "it has every slot", images: good, soakSeconds: 60 },
  ])
    it(`returns to what it served on, and not to what an operator has left since, when ${when}`, async () => {
      const stage = new Stage(images, { servers: 1, agents: 3, soakSeconds });
      const strategy = { kind: "rolling", surge: 1, maxUnavailable: 1, soakSeconds, onFailure: "rollback" };
      const rolled = (version: number): Wish => ({ ...stage.agentsOf(version), strategy });
      const image = stage.before.image;
      await stage.play(async () => {
        assert.equal(await stage.up(rolled(1)), "done", stage.engine.why);
        await stage.world.time.sleep(100_000);
        assert.equal(await stage.up(rolled(0)), "done", stage.engine.why);
        assert.deepEqual(served(stage), [image, image, image]);
        await stage.world.time.sleep(100_000);
        const run = stage.up(rolled(2));
        if (soakSeconds > 0) await restartOne(stage);
        assert.equal(await run, "failed");
        assert.match(stage.engine.why, soakSeconds > 0 ? /did not hold/ : /to be Ready/);
        assert.equal(await stage.up(rolled(2)), "done", stage.engine.why);
        assert.deepEqual(served(stage), [image, image, image]);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });
});
