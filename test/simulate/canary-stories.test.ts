import assert from "node:assert/strict";
import type { NodeRecord } from "../../src/domain/model/types.ts";
import { Stage, stageImages } from "./stage.ts";

describe("a canary with a short soak, in virtual time", function () {
  this.timeout(60_000);

  const staged = () => new Stage(stageImages(), { servers: 1, agents: 3, canary: 1, soakSeconds: 60 });

  const record = ({ world }: Stage): string => {
    const map = world.cluster.objects.get("configmaps", "evergreen-system/pool-workers");
    return JSON.stringify(map?.data ?? {});
  };

  /** How many slots nodes of a new generation have. */
  const moved = ({ world, before: { image } }: Stage): number => {
    const maps = world.cluster.objects.list("configmaps");
    const slots = maps.filter(({ metadata }) => metadata.name.startsWith("slot-workers-"));
    const facts = slots.flatMap(({ data }) => Object.values(data as Record<string, string>));
    const nodes = facts.map((fact) => JSON.parse(fact) as NodeRecord);
    const made = (vmid: number) => world.dc.vms.get(vmid)?.disk.get("image");
    return nodes.filter(({ phase, vmid }) => phase === "handedOver" && made(vmid) !== image).length;
  };

  /** A run watches the canary for its whole soak, and the next one goes on with the other slots. */
  const goesOn = async (stage: Stage): Promise<void> => {
    const { time } = stage.world;
    const run = stage.up(stage.agentsOf(1));
    await stage.until(() => moved(stage) === 1);
    const since = time.date();
    assert.equal(await run, "done", stage.engine.why);
    assert.equal(moved(stage), 1);
    assert.ok(time.date() - since >= 60_000, "the run watches the canary");
    assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    assert.equal(moved(stage), 3);
  };

  const isSoaking = (stage: Stage) => record(stage).includes("soaking");

  it("is watched anew after a run that was killed while it watched", async () => {
    const stage = staged();
    await stage.play(async () => {
      assert.equal(await stage.dieAt(stage.agentsOf(1), () => isSoaking(stage)), "killed");
      await stage.world.time.sleep(100_000);
      await goesOn(stage);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is watched anew after its node has lost its power", async () => {
    const stage = staged();
    await stage.play(async () => {
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => isSoaking(stage));
      await stage.world.time.sleep(5000);
      stage.cutPower(1103);
      assert.equal(await run, "failed");
      assert.match(stage.engine.why, /was disturbed.*it watches anew/s);
      await stage.world.time.sleep(100_000);
      await goesOn(stage);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is watched anew when the rollout was taken back and begins again, and the run is killed", async () => {
    const stage = staged();
    await stage.play(async () => {
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      await stage.world.time.sleep(100_000);
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      assert.equal(moved(stage), 0);
      await stage.world.time.sleep(100_000);
      assert.equal(await stage.dieAt(stage.agentsOf(1), () => moved(stage) === 1), "killed");
      await stage.world.time.sleep(100_000);
      await goesOn(stage);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is watched when the rollout was taken back and begins again", async () => {
    const stage = staged();
    await stage.play(async () => {
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      await stage.world.time.sleep(100_000);
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      await stage.world.time.sleep(100_000);
      await goesOn(stage);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});
