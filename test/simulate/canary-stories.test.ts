import assert from "node:assert/strict";
import type { NodeRecord } from "../../src/domain/model/types.ts";
import { status } from "./fault-kinds.ts";
import { Stage, stageImages } from "./stage.ts";

/** How many slots nodes of a new generation have. */
function moved({ world, before: { image } }: Stage): number {
  const maps = world.cluster.objects.list("configmaps");
  const slots = maps.filter(({ metadata }) => metadata.name.startsWith("slot-workers-"));
  const facts = slots.flatMap(({ data }) => Object.values(data as Record<string, string>));
  const nodes = facts.map((fact) => JSON.parse(fact) as NodeRecord);
  const made = (vmid: number) => world.dc.vms.get(vmid)?.disk.get("image");
  return nodes.filter(({ phase, vmid }) => phase === "handedOver" && made(vmid) !== image).length;
}

describe("a canary, in virtual time", function () {
  this.timeout(60_000);

  for (const soakSeconds of [60, 3600])
    it(`soaks for ${soakSeconds} s also when fewer slots are to move first by then`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 5, canary: 3, soakSeconds });
      const wish = stage.agentsOf(1);
      const strategy = { kind: "rolling", surge: 1, maxUnavailable: 1, soakSeconds, canary: 1 };
      await stage.play(async () => {
        if (soakSeconds > 60) assert.equal(await stage.up(wish), "done", stage.engine.why);
        else assert.equal(await stage.dieAt(wish, () => moved(stage) === 3), "killed");
        await stage.world.time.sleep(100_000);
        assert.equal(await stage.up({ ...wish, strategy }), "done", stage.engine.why);
        assert.equal(moved(stage), 3);
        await stage.world.time.sleep(soakSeconds * 1000);
        assert.equal(await stage.up({ ...wish, strategy }), "done", stage.engine.why);
        assert.equal(moved(stage), 5);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });

  it("soaks also when the pool has fewer slots by then, of which it is a share", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 6 });
    const strategy = { kind: "rolling", surge: 1, maxUnavailable: 1, soakSeconds: 3600, canary: "50%" };
    const wish = { ...stage.agentsOf(1), strategy };
    await stage.play(async () => {
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      assert.equal(await stage.up({ ...wish, slots: 4 }), "done", stage.engine.why);
      assert.equal(moved(stage), 3);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("soaks again, also in a pool with fewer slots by then, when the rollout was taken back and begins again", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 6 });
    const strategy = { kind: "rolling", surge: 1, maxUnavailable: 1, soakSeconds: 600, canary: "34%" };
    await stage.play(async () => {
      for (const wish of [stage.agentsOf(1), stage.before, stage.agentsOf(1), { ...stage.agentsOf(1), slots: 5 }]) {
        assert.equal(await stage.up({ ...wish, strategy }), "done", stage.engine.why);
        if (wish === stage.before) await stage.world.time.sleep(3_600_000);
      }
      assert.equal(moved(stage), 3);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("leaves at once what was tried since, in a pool that goes back to a generation that still soaks", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
    const strategy = { kind: "rolling", surge: 1, maxUnavailable: 1, soakSeconds: 86_400, canary: 1 };
    const next = { ...stage.agentsOf(1), strategy };
    const after = { ...stage.agentsOf(2), strategy };
    await stage.play(async () => {
      assert.equal(await stage.up(next), "done", stage.engine.why);
      await stage.world.time.sleep(90_000_000);
      for (const wish of [next, after]) assert.equal(await stage.up(wish), "done", stage.engine.why);
      const ofNext = () => [...stage.world.dc.vms.values()].filter(({ disk }) => disk.get("image") === next.image);
      assert.equal(ofNext().length, 3);
      assert.equal(await stage.up(next), "done", stage.engine.why);
      assert.equal(ofNext().length, 4);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("takes the slot of a node that is dead, which no join brings back", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, canary: 1, soakSeconds: 60 });
    const { cluster, time, watcher } = stage.world;
    await stage.play(async () => {
      const dead = stage.nameOf(1102);
      watcher.touchedByFate(dead);
      cluster.nodes.flap(dead, 72_000_000);
      await time.sleep(120_000);
      watcher.availability.runBegins();
      for (const most of [1, 4]) {
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
        assert.equal(moved(stage), most);
      }
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});

describe("a canary beside more dead nodes than it has slots, in virtual time", function () {
  this.timeout(60_000);

  const [one, all] = [{ canary: 1 }, {}];
  for (const [way, then] of [
    ["is taken out", all],
    ["is raised", { canary: 2 }],
  ] as const)
    it(`says what leads on, and gets there when the canary ${way}`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
      const { cluster, time, watcher } = stage.world;
      const strategy = { kind: "rolling", surge: 1, maxUnavailable: 1, soakSeconds: 60 };
      await stage.play(async () => {
        for (const vmid of [1102, 1103]) {
          watcher.touchedByFate(stage.nameOf(vmid));
          cluster.nodes.flap(stage.nameOf(vmid), 72_000_000);
        }
        await time.sleep(120_000);
        watcher.availability.runBegins();
        const wish = (first: object) => ({ ...stage.agentsOf(1), strategy: { ...strategy, ...first } });
        assert.equal(await stage.up(wish(one)), "failed");
        assert.match(stage.engine.why, /goes when `canary` is raised or taken out/);
        assert.equal(await stage.up(wish(then)), "done", stage.engine.why);
        assert.equal(await stage.up(wish(one)), "done", stage.engine.why);
        assert.equal(moved(stage), 4);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });
});

describe("an agent that is dead in a pool where nothing rolls, in virtual time", function () {
  this.timeout(60_000);

  it("fails each run, which says what leads on", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { cluster, dc, time, watcher } = stage.world;
    await stage.play(async () => {
      const dead = stage.nameOf(1100);
      watcher.touchedByFate(dead);
      cluster.nodes.flap(dead, 72_000_000);
      await time.sleep(120_000);
      watcher.availability.runBegins();
      assert.equal(await stage.up(stage.before), "failed");
      assert.match(
        stage.engine.why,
        /demo-workers-0-\w+ cannot be brought back, delete its VM 1100.* and run `evergreen repair`/,
      );
      stage.cutPower(1100);
      dc.vms.delete(1100);
      await time.sleep(120_000);
      assert.equal((await stage.mend({})).why, "");
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      assert.notEqual(cluster.objects.get("nodes", dead), undefined);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is not told to be deleted, nor is a server, while something else keeps it from its join", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { world } = stage;
    await stage.play(async () => {
      stage.cutPower(1100);
      await world.time.sleep(15_000);
      world.believes = ({ path, process }) =>
        process.name.startsWith("join-demo-workers-0") && path.includes("/readyz")
          ? status(500, "InternalError", "etcd failed")
          : undefined;
      assert.equal(await stage.up(stage.before), "failed");
      assert.match(stage.engine.why, /demo-servers-0-\w+ is a voter and not healthy/);
      assert.doesNotMatch(stage.engine.why, /delete/);
      world.believes = () => undefined;
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });
});

describe("a canary with a short soak, in virtual time", function () {
  this.timeout(60_000);

  const staged = () => new Stage(stageImages(), { servers: 1, agents: 3, canary: 1, soakSeconds: 60 });

  const record = ({ world }: Stage): string => {
    const map = world.cluster.objects.get("configmaps", "evergreen-system/pool-workers");
    return JSON.stringify(map?.data ?? {});
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
