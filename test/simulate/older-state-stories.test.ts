import assert from "node:assert/strict";
import { Stage, stageImages } from "./stage.ts";

describe("an older state whose numbers were used again since, in virtual time", function () {
  this.timeout(60_000);

  it("leads to nodes that the engine knows, as any other one does", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world, engine, before } = stage;
    const { dc, time } = world;
    await stage.play(async () => {
      const older = engine.state.copy();
      const first = stage.vm(1100);
      const known = [stage.vm(1000), first].map(({ vmid, name, host }) => ({
        vmid,
        name,
        host,
        urn: name,
        claimed: true as const,
      }));
      const isUsedAgain = () => dc.vms.has(1100) && dc.vms.get(1100) !== first;
      let rollout = 0;
      do assert.equal(await stage.up({ ...before, rollout: (rollout += 1) }), "done", engine.why);
      while (!isUsedAgain());
      engine.state.imports(older);
      await time.sleep(60_000);
      assert.equal(await stage.up({ ...before, rollout }), "failed");
      assert.match(engine.why, /unable to create VM 1100: config file already exists/);
      const raise = /VM 1100 .* is recorded as handedOver -> left alone: .*raise the `rollout` counter/;
      assert.match((await stage.mend({ vms: known })).said.join(), raise);
      // Every node has left that the state does not have; the delete of the first one finds another VM.
      assert.equal(await stage.up({ ...before, rollout: (rollout += 1) }), "failed");
      await time.sleep(15_000);
      assert.match((await stage.mend({ vms: known })).said.join(), /VM 1100 .* Destroy VM 1100 by hand/);
      dc.vms.delete(1100);
      assert.equal(await stage.up({ ...before, rollout }), "done", engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });
});

describe("an older state, from between the clone of a member and its claim, in virtual time", function () {
  this.timeout(60_000);

  for (const pool of ["workers", "servers"] as const)
    it(`destroys no member in a slot that is given up, and claims it once its slot is wanted again: ${pool}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 3 });
      const { world, engine, before } = stage;
      const fewer =
        pool === "workers"
          ? { ...before, slots: 2 }
          : { ...before, servers: { image: before.image, count: 1, cores: 4 } };
      await stage.play(async () => {
        const name = stage.nameOf(pool === "workers" ? 1102 : 1002);
        const older = new Map(engine.state.copy());
        for (const step of ["claim", "join"]) older.delete(`${name}-${step}`);
        engine.state.imports(older);
        await world.time.sleep(60_000);
        assert.equal(await stage.up(fewer), "refused");
        assert.match(engine.why, /is in the state of the engine and its claim is not.* give pool \w+ 3 slots again/s);
        assert.equal(await stage.up(before), "done", engine.why);
        assert.equal(await stage.up(fewer), "done", engine.why);
        assert.ok(!world.cluster.objects.get("nodes", name));
      });
      assert.deepEqual(world.story.violations, []);
    });
});
