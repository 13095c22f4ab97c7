import assert from "node:assert/strict";
import type { Vm } from "./data-centre.ts";
import type { PoolSpec } from "../../src/domain/model/types.ts";
import { Stage, stageImages } from "./stage.ts";
import { hasMark } from "./teardown-watcher.ts";

describe("pulumi destroy, in virtual time", function () {
  this.timeout(60_000);

  const oursIn = ({ world }: Stage): Vm[] => [...world.dc.vms.values()].filter(({ owner }) => owner === "ours");
  const isMarked = ({ world }: Stage): boolean =>
    hasMark(world.cluster.objects.get("configmaps", "evergreen-system/cluster"));
  const noted = (stage: Stage): number =>
    oursIn(stage).filter(({ notes }) => notes.includes("is being destroyed")).length;

  for (const agents of [1, 2, 3, 5, 8])
    for (const hasGuard of [true, false])
      it(`takes everything away ${hasGuard ? "with" : "without"} its guard, with ${agents} agents`, async () => {
        const stage = new Stage(stageImages(), { servers: 3, agents, allowDestroy: true });
        const { world, engine } = stage;
        await stage.play(async () => {
          // As after a first update that failed at its end: each step marks the cluster itself, side by side.
          if (!hasGuard) engine.state.guard = undefined;
          assert.equal(await stage.destroy(), "done", engine.why);
        });
        assert.deepEqual(oursIn(stage), []);
        assert.deepEqual(world.story.violations, []);
      });

  it("completes the notes that an update had begun to take back when it was killed", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1, allowDestroy: true });
    const { world, engine } = stage;
    await stage.play(async () => {
      assert.equal(await stage.destroyUntil(() => engine.state.guard === undefined), "killed");
      assert.deepEqual([noted(stage), isMarked(stage)], [3, true]);
      assert.equal(await stage.dieAt(stage.before, () => noted(stage) === 0, 5), "killed");
      assert.equal(isMarked(stage), true);
      await world.time.sleep(60_000);
      assert.equal(await stage.destroy(), "done", engine.why);
    });
    assert.deepEqual(oursIn(stage), []);
    assert.deepEqual(world.story.violations, []);
  });

  it("turns nothing off while one of the VMs cannot be marked, and takes no mark back that another step counts on", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 3, allowDestroy: true });
    const { world, engine } = stage;
    await stage.play(async () => {
      engine.state.guard = undefined;
      const vm = stage.vm(1002);
      vm.lock = "backup";
      assert.equal(await stage.destroy(), "failed");
      assert.match(engine.why, /the notes of demo-servers-2-\S+ cannot be written: .*VM is locked/);
      assert.deepEqual([noted(stage), isMarked(stage)], [0, false]);
      assert.ok(oursIn(stage).every(({ running }) => running));
      vm.lock = undefined;
      assert.equal(await stage.destroy(), "done", engine.why);
    });
    assert.deepEqual(oursIn(stage), []);
    assert.deepEqual(world.story.violations, []);
  });

  for (const hasGuard of [true, false])
    it(`is refused ${hasGuard ? "with" : "without"} its guard beside servers that were adopted: the cluster would live on`, async () => {
      const workloads = [{ name: "app", replicas: 4, minAvailable: 2, slowestEnd: 1000, claims: false }];
      const stage = new Stage(stageImages(), { servers: 3, agents: 2, empty: true, allowDestroy: true, workloads });
      const { world, engine } = stage;
      const { violations } = world.story;
      let done = 0;
      await stage.play(async () => {
        for (const spec of stage.specsOf(stage.before)) plantBeside(stage, spec);
        await world.time.sleep(60_000);
        // The servers are not replaced yet: the claims and joins of the agents alone are carried out.
        world.skips = (urn) => urn.includes("-servers-");
        assert.equal(await stage.up(stage.before), "done", engine.why);
        for (const urn of [...engine.state.resources.keys()].filter((one) => one.includes("-servers-")))
          engine.state.resources.delete(urn);
        if (!hasGuard) engine.state.guard = undefined;
        const on = () => oursIn(stage).filter(({ running }) => running).length;
        const before = on();
        done = violations.length;
        assert.equal(await stage.destroy(), "failed");
        assert.match(engine.why, /the cluster demo cannot be destroyed while servers of it are adopted/);
        assert.deepEqual([noted(stage), isMarked(stage)], [0, false]);
        assert.equal(on(), before);
      });
      // The run before counts as done without its servers, which were skipped.
      assert.deepEqual(violations.slice(done), []);
    });

  /** Agents that an earlier run has made, beside servers that were adopted. */
  const plantBeside = ({ world, engine }: Stage, spec: PoolSpec): void => {
    const isOurs = spec.role === "agent";
    const slots = Array.from({ length: spec.slots }, (_, slot) => slot);
    const nodes = slots.map((slot) =>
      world.plant(spec, slot, spec.range.first + slot, isOurs ? undefined : `kube-${slot}`),
    );
    world.remember(spec, nodes, isOurs);
    for (const { name, vmid, slot } of isOurs ? nodes : [])
      engine.state.knows({ name, vmid, host: world.dc.hosts[slot % 2] ?? "" });
  };
});
