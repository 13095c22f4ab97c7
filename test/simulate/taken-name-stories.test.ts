import assert from "node:assert/strict";
import { Stage, stageImages } from "./stage.ts";

/** A killed run has left a member of etcd without a Node; its VM is lost since, and its slot gets another VM of its name. */
describe("a new server that has the name of a member whose machine is gone, in virtual time", function () {
  this.timeout(60_000);

  async function lose(stage: Stage, as: "voter" | "learner"): Promise<string> {
    const { world } = stage;
    const { nodes, control } = world.cluster;
    const { etcd } = control;
    const register = nodes.register.bind(nodes);
    nodes.register = () => false;
    const isIn = () => (as === "voter" ? etcd.voters().length === 4 : etcd.learners().some(({ started }) => started));
    assert.equal(await stage.dieAt(stage.serversOf(1), isIn), "killed");
    nodes.register = register;
    const { uuid, name } = stage.vm(1003);
    if (as === "learner")
      etcd.members = etcd.members.map((one) => (one.uuid === uuid ? { ...one, readyAt: Infinity } : one));
    world.watcher.struck(name);
    stage.cutPower(1003);
    world.dc.vms.delete(1003);
    return uuid;
  }

  for (const by of ["a repair by hand", "pulumi up alone"])
    it(`is not told to join, and its image is not judged, until that voter is taken out: after ${by}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
      const { world, engine } = stage;
      const { etcd } = world.cluster.control;
      await stage.play(async () => {
        const uuid = await lose(stage, "voter");
        await world.time.sleep(600_000);
        if (by === "a repair by hand") assert.equal(await stage.repair(stage.serversOf(1)), "");
        for (let run = 0; run < 2; run += 1) {
          assert.equal(await stage.up(stage.serversOf(1)), "failed");
          assert.match(engine.why, /may not join: etcd has a voter of that name, which is another machine/);
        }
        // As docs/recovery.md says.
        assert.equal(etcd.remove(uuid), undefined);
        assert.equal(await stage.up(stage.serversOf(1)), "done", engine.why);
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("waits for RKE2 to remove that learner", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world, engine } = stage;
    await stage.play(async () => {
      await lose(stage, "learner");
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.match(engine.why, /is a learner without a Node: its join is not over/);
      await world.time.sleep(300_000);
      assert.equal(await stage.up(stage.serversOf(1)), "done", engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });
});
