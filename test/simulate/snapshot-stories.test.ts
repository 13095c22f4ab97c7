import assert from "node:assert/strict";
import { calm } from "./faults.ts";
import { Stage, stageImages } from "./stage.ts";

describe("an etcd snapshot, in virtual time", function () {
  this.timeout(60_000);

  // As of a server that restarts right then, because a run that was killed has told it to.
  for (const fault of ["not sent", "answer lost"])
    it(`is made although the connection breaks on which it is asked for: ${fault}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
      const { world } = stage;
      await stage.play(async () => {
        world.faults.strike = { request: "supervisor POST /db/snapshot", fault };
        world.faults.weather = { ...calm };
        assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
        const made = world.cluster.objects.list("etcdsnapshotfiles").length;
        assert.equal(made, 1);
      });
      assert.deepEqual(world.story.violations, []);
    });
});
