import assert from "node:assert/strict";
import { giveLabel, pinTo, takeLease } from "./by-hand.ts";
import { Stage, stageImages } from "./stage.ts";

/** Steps that lose a lease while they wait, and change nothing more. */
describe("agents and leases, in virtual time", function () {
  this.timeout(60_000);

  it("are given no slot by a step that has lost its lease while it waited, and could not ask", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const { objects } = world.cluster;
    await stage.play(async () => {
      const old = stage.nameOf(1100);
      await pinTo(stage, old);
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => objects.get("nodes", old) === undefined);
      stage.loseLease("handover-");
      await world.time.sleep(20_000);
      takeLease(stage, "slot-workers-0");
      giveLabel(stage, stage.nameOf(1101));
      await world.time.sleep(10_000);
      world.believes = () => undefined;
      assert.equal(await run, "failed");
    });
    assert.match(stage.engine.why, /the lease slot-workers-0 was lost: another process took it/);
    assert.deepEqual(world.story.violations, []);
  });

  it("are not remembered as members by a step that has lost their slot while it waited, and could not ask", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const { objects, nodes } = world.cluster;
    const speaks = nodes.speaks.bind(nodes);
    await stage.play(async () => {
      nodes.speaks = (name) => speaks(name, 45_000);
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => objects.get("nodes", stage.nameOf(1101)) !== undefined);
      stage.loseLease("join-");
      await world.time.sleep(30_000);
      takeLease(stage, "slot-workers-0");
      await world.time.sleep(25_000);
      world.believes = () => undefined;
      assert.equal(await run, "failed");
    });
    assert.match(stage.engine.why, /the lease slot-workers-0 was lost: another process took it/);
    assert.deepEqual(world.story.violations, []);
  });

  for (const step of ["rollout", "claim", "join", "handover", "verify"])
    it(`are changed no more by a ${step} whose engine has lost the cluster`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
      const { world, engine } = stage;
      await stage.play(async () => {
        const writes: string[] = [];
        const isIt = (name: string) => name.startsWith(`${step}-demo-workers`);
        world.defect = (call) => {
          if (call.method !== "GET" && isIt(call.process.name)) writes.push(`${call.method} ${call.path}`);
          return world.honest(call);
        };
        engine.mayUpdate = (name) => !isIt(name);
        assert.equal(await stage.up(stage.agentsOf(1)), "failed");
        assert.match(engine.why, new RegExp(`-${step}: the lease update was lost`));
        assert.deepEqual(writes, []);
      });
      assert.deepEqual(world.story.violations, []);
    });
});
