import assert from "node:assert/strict";
import { Stage, stageImages } from "./stage.ts";

/**
 * A destroy that came to nothing has left its notes on the VMs of the servers, which a backup keeps from being changed
 * when the next update begins, and the cluster cannot be asked for a minute when that update deletes a node.
 */
describe("an update after a destroy that was given up, in virtual time", function () {
  this.timeout(120_000);

  /** A destroy whose guard finds the cluster silent and marks the VMs alone; days later those are locked. */
  const giveUpDestroy = async (stage: Stage, servers: number) => {
    const back = stage.world.cluster.control.goAway();
    assert.equal(await stage.destroyUntil(() => stage.engine.state.guard === undefined), "killed");
    back();
    await stage.world.time.sleep(3 * 86_400_000);
    const vms = Array.from({ length: servers }, (_, slot) => stage.vm(1000 + slot));
    assert.ok(vms.every(({ notes }) => notes.includes("is being destroyed")));
    return vms;
  };

  for (const servers of [1, 3])
    it(`is refused while the VMs of ${servers} servers keep the notes, and then drains the agent that leaves`, async () => {
      const workloads = [{ name: "app", replicas: 4, minAvailable: 2, slowestEnd: 1000, claims: false }];
      const stage = new Stage(stageImages(), { servers, agents: 3, allowDestroy: true, workloads });
      const { world, engine } = stage;
      const wish = { ...stage.before, slots: 2 };
      await stage.play(async () => {
        const vms = await giveUpDestroy(stage, servers);
        for (const vm of vms) vm.lock = "backup";
        assert.equal(await stage.up(wish), "refused");
        assert.match(engine.why, /the notes of demo-servers-0-\S+ cannot be written: .*VM is locked/);
        for (const vm of vms) vm.lock = undefined;
        assert.equal(await stage.up(wish), "done", engine.why);
        assert.ok(vms.every(({ notes }) => notes === ""));
        assert.equal(world.dc.vms.has(1102), false);
      });
      assert.deepEqual(world.story.violations, []);
    });

  for (const what of ["agents", "servers"] as const)
    it(`lets no ${what} go because of notes that come back, as with a VM's snapshot, while the cluster is silent`, async () => {
      const workloads = [{ name: "app", replicas: 4, minAvailable: 2, slowestEnd: 1000, claims: false }];
      const stage = new Stage(stageImages(), { servers: 3, agents: 3, allowDestroy: true, workloads });
      const { world, engine, before } = stage;
      const { control } = world.cluster;
      const wish =
        what === "agents"
          ? { ...before, slots: 2 }
          : { ...before, servers: { image: before.image, count: 1, cores: 4 } };
      await stage.play(async () => {
        const vms = await giveUpDestroy(stage, 3);
        const { notes } = stage.vm(1000);
        let isOver = false;
        world.defect = (call) => {
          if (!isOver && call.process.name.startsWith("retire-demo-")) {
            isOver = true;
            for (const vm of vms) vm.notes = notes;
            world.time.after(60_000, control.goAway());
          }
          return world.honest(call);
        };
        assert.equal(await stage.up(wish), "failed");
        assert.match(engine.why, /the cluster cannot say whether \S+ was retired, so its VM stays/);
        world.defect = undefined;
        await world.time.sleep(300_000);
        assert.equal(await stage.up(wish), "done", engine.why);
      });
      assert.deepEqual(world.story.violations, []);
    });
});
