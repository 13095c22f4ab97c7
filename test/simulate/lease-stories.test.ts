import assert from "node:assert/strict";
import { ZONE } from "../../src/domain/model/labels.ts";
import { giveLabel, loseLabel, pinTo, takeLease } from "./by-hand.ts";
import { Stage, stageImages } from "./stage.ts";
import { zones } from "./zonal-volumes.ts";

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

describe("servers and leases, in virtual time", function () {
  this.timeout(60_000);

  it("get no label that they lack by the join of a member whose engine has lost the cluster (seed 146709867)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world, engine, before } = stage;
    const zone = () => world.cluster.objects.get("nodes", stage.nameOf(1000))?.metadata.labels?.[ZONE];
    const zoned = { ...before, site: { zones } };
    const grown = { ...zoned, servers: { image: before.image, count: 3, cores: 4 } };
    await stage.play(async () => {
      assert.equal(await stage.up(zoned), "done", engine.why);
      assert.equal(zone(), "a");
      engine.mayUpdate = (name) => {
        // Once the run is planned, and before the join of the member looks at it.
        if (name.startsWith("rollout-demo-servers")) loseLabel(stage, stage.nameOf(1000), ZONE);
        return !name.startsWith("join-demo-servers-0-");
      };
      assert.equal(await stage.up(grown), "failed");
      assert.match(engine.why, /demo-servers-0-\w+-join: the lease update was lost/);
      assert.equal(zone(), undefined);
      engine.mayUpdate = () => true;
      assert.equal(await stage.up(grown), "done", engine.why);
      assert.equal(zone(), "a");
    });
    assert.deepEqual(world.story.violations, []);
  });
});
