import assert from "node:assert/strict";
import { isSchedulable } from "./nodes.ts";
import type { Stored } from "./objects.ts";
import { Stage, stageImages } from "./stage.ts";

/** Slots of agents that fail while other slots are taken out. */
describe("the slots of a pool in which nobody serves", function () {
  this.timeout(60_000);

  const app = { name: "app", replicas: 4, minAvailable: 0, slowestEnd: 1000, claims: false };

  it("keep nodes that leave for good, when they fall in the middle of that", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, workloads: [app] });
    const { time, watcher } = stage.world;
    watcher.availability.promises.set("workers", { fewest: 2, most: 4, surge: 1, maxUnavailable: 1 });
    await stage.play(async () => {
      const left = [stage.vm(1102), stage.vm(1103)];
      stage.onLease("ticket-workers-0", () => {
        stage.cutPower(1100, 1101);
        for (const vm of left) vm.lock = "backup";
        time.after(60_000, () => {
          for (const vm of left) vm.lock = undefined;
        });
      });
      assert.equal(await stage.up({ ...stage.before, slots: 2 }), "failed");
      assert.match(stage.engine.why, /nobody serves in slot 0 .*, nobody serves in slot 1 .* at most 1 may be out/);
      assert.equal(await stage.up({ ...stage.before, slots: 2 }), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("leave the others of two handovers at once one, when one of them falls meanwhile", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 5, maxUnavailable: 2, workloads: [app] });
    const { cluster, watcher } = stage.world;
    watcher.availability.promises.set("workers", { fewest: 5, most: 5, surge: 2, maxUnavailable: 2 });
    let most = 0;
    await stage.play(async () => {
      const fallen = stage.vm(1104);
      cluster.objects.onChange(() => {
        const leaving = cluster.objects.list("nodes").filter((node) => !isSchedulable(node)).length;
        if (!fallen.running && stage.nameOf(1104) === fallen.name) most = Math.max(most, leaving);
      });
      stage.onLease("slot-workers-1", () => {
        stage.cutPower(1104);
        if (fallen.seen) fallen.seen.running = false;
      });
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    });
    assert.equal(most, 1, "nodes that left at once beside the slot that fell");
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are taken out with a ticket also when a Node comes after the look that found none", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2, workloads: [app] });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      const node = objects.get("nodes", stage.nameOf(1101));
      assert.ok(node);
      objects.remove("nodes", node.metadata.name);
      await stage.world.time.sleep(60_000);
      stage.onLease("slot-workers-1", () => {
        objects.put("nodes", node);
        for (const pod of objects.list("pods").filter(({ metadata }) => metadata.labels?.app === "app"))
          objects.put("pods", { ...pod, spec: { ...pod.spec, nodeName: node.metadata.name } });
      });
      assert.equal(await stage.up({ ...stage.before, slots: 1 }), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("keep what an earlier run left incomplete and serves, also while their Nodes look Ready still", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3, workloads: [app] });
    const { cluster, time, watcher } = stage.world;
    const isSlot3 = ({ metadata }: Stored) => metadata.name.startsWith("demo-workers-3-");
    watcher.availability.promises.set("workers", { fewest: 3, most: 4, surge: 1, maxUnavailable: 1 });
    await stage.play(async () => {
      const grown = { ...stage.before, slots: 4 };
      assert.equal(await stage.dieAt(grown, () => cluster.objects.list("nodes").some(isSlot3)), "killed");
      // It serves soon, but no record says that it has joined.
      const incomplete = stage.vm(1103);
      await time.sleep(60_000);
      stage.cutPower(1100, 1101);
      await time.sleep(18_000);
      watcher.availability.runBegins();
      const run = stage.up({ ...grown, image: stage.agentsOf(1).image });
      await time.sleep(30_000);
      assert.ok(incomplete.running);
      assert.equal(await run, "done", stage.engine.why);
      assert.equal(stage.world.dc.vms.get(1103), undefined);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("come first also when the node that has one could not be brought back, and was judged for that", async () => {
    for (const isProved of [true, false]) {
      const stage = new Stage(stageImages(), { servers: 1, agents: 3, workloads: [app], soakSeconds: 100_000 });
      const { cluster, time, watcher } = stage.world;
      watcher.availability.promises.set("workers", { fewest: 3, most: 3, surge: 1, maxUnavailable: 1 });
      await stage.play(async () => {
        const soaking = isProved ? stage.before : stage.agentsOf(1);
        assert.equal(await stage.up(soaking), "done", stage.engine.why);
        const name = cluster.objects.list("nodes").find(({ metadata }) => metadata.name.includes("-workers-1-"));
        assert.ok(name);
        watcher.touchedByFate(name.metadata.name);
        cluster.nodes.flap(name.metadata.name, 7_200_000);
        await time.sleep(120_000);
        assert.equal(await stage.up(soaking), "failed");
        assert.match(stage.engine.why, /workers-1-.*-join: gave up after .* to be Ready/);
        const record = cluster.objects.get("configmaps", "evergreen-system/slot-workers-1");
        const own = Object.values((record?.data ?? {}) as Record<string, string>).find((fact) =>
          fact.includes(name.metadata.name),
        );
        assert.match(own ?? "", isProved ? /"handedOver"/ : /"failed"/);
        watcher.availability.runBegins();
        assert.equal(await stage.up(stage.agentsOf(2)), "done", stage.engine.why);
      });
      assert.deepEqual(stage.world.story.violations, []);
    }
  });

  it("keep what was incomplete beside an owner that falls while its turn to be retired is waited for", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3, maxUnavailable: 2, workloads: [app] });
    const { cluster, dc, time, watcher } = stage.world;
    watcher.availability.promises.set("workers", { fewest: 3, most: 3, surge: 2, maxUnavailable: 2 });
    await stage.play(async () => {
      const isNew = ({ metadata }: Stored) => metadata.name.endsWith("-09c3448c");
      const both = () => cluster.objects.list("nodes").filter(isNew).length === 2;
      assert.equal(await stage.dieAt(stage.agentsOf(1), both), "killed");
      await time.sleep(60_000);
      const [first, second] = [stage.vm(1103), stage.vm(1104)];
      first.lock = "backup";
      stage.onLease("slot-workers-0", () => {
        stage.cutPower(1101);
        time.after(60_000, () => (first.lock = undefined));
      });
      watcher.availability.runBegins();
      const run = stage.up(stage.agentsOf(2));
      await stage.until(() => !first.running);
      await time.sleep(15_000);
      assert.ok(second.running && cluster.objects.get("nodes", second.name)?.spec?.unschedulable !== true);
      assert.equal(await run, "done", stage.engine.why);
      assert.equal(dc.vms.get(1104), undefined);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("count when adopted nodes have them, which this run leaves alone, and their nodes are replaced first", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, adopted: true, canary: 1, soakSeconds: 600 });
    const { world } = stage;
    await stage.play(async () => {
      stage.cutPower(1102);
      await world.time.sleep(60_000);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      const serving = [...world.dc.vms.values()].filter(({ running, name }) => running && !name.includes("servers"));
      const names = serving.map(({ name }) => name).toSorted();
      assert.deepEqual(names, ["demo-workers-2-09c3448c", "kube-0", "kube-1", "kube-3"]);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("count when adopted nodes have them that fall while another one is replaced", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, adopted: true, canary: 1, soakSeconds: 600 });
    await stage.play(async () => {
      stage.onLease("slot-workers-0", () => stage.cutPower(1102));
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /kube-0 is not drained: nobody serves in slot 2 \(the VM of kube-2 is off\)/);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});
