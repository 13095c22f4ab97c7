import assert from "node:assert/strict";
import { refuseEvictions } from "./causes.ts";
import { status } from "./fault-kinds.ts";
import type { Stored } from "./objects.ts";
import { isPodReady, nodeOf } from "./pods.ts";
import { Stage, stageImages } from "./stage.ts";

/** Handovers after which what was evicted does not run: how many more nodes are emptied. */
describe("a handover that does not end, in virtual time", function () {
  this.timeout(60_000);

  const isApp = ({ metadata }: Stored) => metadata.name.startsWith("app-");

  /** Eight pods, two on each of four old nodes, of a workload that new nodes cannot start. */
  const deploy = async (stage: Stage) => {
    const { world } = stage;
    const { objects, pods } = world.cluster;
    const names = [1100, 1101, 1102, 1103].map((vmid) => stage.nameOf(vmid));
    const app = { name: "app", replicas: 0, minAvailable: 0, slowestEnd: 1000, claims: false };
    pods.deploy(app);
    for (const name of [...names, ...names]) pods.bindLate("app", name);
    app.replicas = 8;
    objects.put("replicasets", { metadata: { name: "app", namespace: "load" }, spec: { replicas: 8 } });
    await world.time.sleep(30_000);
  };
  const readyApps = ({ world }: Stage) =>
    world.cluster.objects.list("pods").filter((pod) => isApp(pod) && isPodReady(pod));

  for (const [what, missing] of [
    ["a registry is away", "registry"],
    ["no volume is mounted, as without nfs-common in the image", "driver"],
  ] as const)
    for (const adopted of [false, true])
      it(`keeps every other node of ${adopted ? "an adopted" : "a"} pool, in each later run, while ${what}`, async () => {
        const stage = new Stage(stageImages(), { servers: 1, agents: 4, adopted });
        await stage.play(async () => {
          await deploy(stage);
          const back = stage.world.cluster.pods.lose(missing);
          for (const run of [1, 2, 3]) {
            assert.equal(await stage.up(stage.agentsOf(1)), "failed");
            assert.match(stage.engine.why, /of the pods that left for \S+ none has started in 120 s on a new node/);
            assert.equal(readyApps(stage).length, 6, `run ${run}`);
            await stage.world.time.sleep(600_000);
          }
          const words = stage.engine.clusterPlan?.pools.flatMap((pool) => pool.words).join("\n") ?? "";
          assert.match(words, /an earlier run has emptied the old node of slot 0/);
          back();
          assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
          assert.equal(readyApps(stage).length, 8);
        });
        assert.deepEqual(stage.world.story.violations, []);
      });

  it("ends after two gates while new nodes take turns with the pods that none of them starts", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, adopted: true, maxUnavailable: 2 });
    const { world } = stage;
    const { objects, pods, nodes } = world.cluster;
    await stage.play(async () => {
      await deploy(stage);
      const before = new Set(nodes.names());
      const back = pods.lose("driver");
      const run = { outcome: "" };
      const update = stage.up(stage.agentsOf(1)).then((outcome) => void (run.outcome = outcome));
      // As a descheduler does: three times in a gate, so that at the end of each the pods are elsewhere than before.
      for (let moves = 0; moves < 60 && run.outcome === ""; moves += 1) {
        await world.time.sleep(40_000);
        const arrived = nodes.names().filter((name) => !before.has(name));
        const waiting = objects.list("pods").filter((pod) => isApp(pod) && arrived.includes(nodeOf(pod)));
        const next = arrived.find((name) => waiting.every((pod) => nodeOf(pod) !== name)) ?? arrived[moves % 2];
        if (next === undefined) continue;
        const moved = waiting.filter((pod) => nodeOf(pod) !== next);
        for (const { metadata } of moved) {
          pods.bindLate("app", next);
          objects.remove("pods", `load/${metadata.name}`);
        }
      }
      back();
      await update;
      assert.equal(run.outcome, "failed");
      assert.match(stage.engine.why, /for 240 s the pods that left for \S+ came to new nodes that started none/);
      // Two slots are out at most, also when a new node has joined meanwhile and the pods went to that one.
      assert.equal(readyApps(stage).filter((pod) => before.has(nodeOf(pod))).length, 4);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("keeps every other node while two are open, and one may be out by now", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, maxUnavailable: 2, adopted: true });
    const { world } = stage;
    const { objects, pods } = world.cluster;
    await stage.play(async () => {
      for (const slot of [0, 1, 2, 3]) {
        const app = { name: `app-${slot}`, replicas: 0, minAvailable: 0, slowestEnd: 1000, claims: false };
        pods.deploy(app);
        for (const vmid of [1100 + slot, 1100 + slot]) pods.bindLate(app.name, stage.nameOf(vmid));
        app.replicas = 2;
        objects.put("replicasets", { metadata: { name: app.name, namespace: "load" }, spec: { replicas: 2 } });
      }
      await world.time.sleep(30_000);
      const back = pods.lose("driver");
      const strategy = { kind: "rolling", surge: 3, maxUnavailable: 2, soakSeconds: 0 };
      assert.equal(await stage.up({ ...stage.agentsOf(1), strategy }), "failed");
      const recordOf = (slot: number) =>
        JSON.stringify(objects.get("configmaps", `evergreen-system/slot-workers-${slot}`)?.data);
      const open = () => [0, 1, 2, 3].filter((slot) => recordOf(slot).includes("displaced"));
      assert.deepEqual(open(), [0, 1]);
      await world.time.sleep(600_000);
      // What keeps the pods of slot 1 from starting is mended; those of slot 0 wait on.
      const put = objects.put.bind(objects);
      const containerStatuses = [{ restartCount: 0, state: { waiting: { reason: "ContainerCreating" } } }];
      const status = { phase: "Pending", conditions: [], containerStatuses };
      const waits = ({ metadata, spec }: Stored) => metadata.labels?.app === "app-0" && spec?.nodeName !== undefined;
      objects.put = (collection, object) =>
        put(collection, collection === "pods" && waits(object as Stored) ? { ...object, status } : object);
      back();
      await world.time.sleep(60_000);
      assert.equal(await stage.up({ ...stage.agentsOf(1), strategy: { ...strategy, maxUnavailable: 1 } }), "failed");
      assert.match(stage.engine.why, /demo-workers-0-handover: of the pods that left .* none has started/);
      assert.deepEqual(open(), [0]);
      assert.ok(stage.vm(1102).running && stage.vm(1103).running);
    });
    assert.deepEqual(world.story.violations, []);
  });

  for (const isKilled of [false, true])
    it(`is not done while what went to older nodes starts nowhere${isKilled ? ", also after it was killed" : ""}`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 4, canary: 1, soakSeconds: 90 });
      const { world } = stage;
      const { objects, pods } = world.cluster;
      await stage.play(async () => {
        const [first, second] = [stage.nameOf(1100), stage.nameOf(1101)];
        const app = { name: "app", replicas: 0, minAvailable: 0, slowestEnd: 1000, claims: false };
        pods.deploy({ ...app, name: "other", replicas: 1, selector: `kubernetes.io/hostname=${second}` });
        const given = { ...app, selector: `kubernetes.io/hostname=${second}` };
        pods.deploy(given);
        for (const name of [first, first]) pods.bindLate("app", name);
        given.replicas = 2;
        objects.put("replicasets", { metadata: { name: "app", namespace: "load" }, spec: { replicas: 2 } });
        await world.time.sleep(30_000);
        const back = pods.lose("driver");
        const canary = stage.agentsOf(1);
        const isEmptied = () => objects.get("nodes", first) === undefined;
        if (isKilled) assert.equal(await stage.dieAt(canary, isEmptied, 1), "killed");
        for (const run of [1, 2]) {
          assert.equal(await stage.up(canary), "failed", `run ${run}`);
          assert.match(
            stage.engine.why,
            /pods that left for demo-workers-0-\w+ have not started in 120 s, and fewer than before run \(.*\): load\/app-/,
          );
        }
        back();
        assert.equal(await stage.up(canary), "done", stage.engine.why);
        assert.equal(readyApps(stage).length, 2);
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("does not wait on older nodes for what others evict while it waits", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, canary: 1, soakSeconds: 9000 });
    const { world } = stage;
    const { objects, pods } = world.cluster;
    await stage.play(async () => {
      const [first, second] = [stage.nameOf(1100), stage.nameOf(1101)];
      const selector = `kubernetes.io/hostname=${second}`;
      const app = { name: "app", replicas: 0, minAvailable: 0, slowestEnd: 1000, claims: false, selector };
      pods.deploy(app);
      for (const name of [first, ...Array<string>(11).fill(second)]) pods.bindLate("app", name);
      app.replicas = 12;
      objects.put("replicasets", { metadata: { name: "app", namespace: "load" }, spec: { replicas: 12 } });
      await world.time.sleep(30_000);
      const run = { outcome: "" };
      const update = stage.up(stage.agentsOf(1)).then((outcome) => void (run.outcome = outcome));
      await stage.until(() => objects.get("nodes", first)?.spec?.unschedulable === true, 50);
      // As the drains of other nodes would, slowly and without an end.
      while (run.outcome === "") {
        for (const { metadata } of readyApps(stage)) objects.remove("pods", `load/${metadata.name}`);
        await world.time.sleep(250);
      }
      await update;
      assert.equal(run.outcome, "done", stage.engine.why);
      await world.time.sleep(30_000);
    });
  });

  it("is over before another server is drained, also when all get another image meanwhile", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { objects, pods } = world.cluster;
    await stage.play(async () => {
      const app = { name: "app", replicas: 0, minAvailable: 0, slowestEnd: 1000, claims: false, volume: "none" };
      pods.deploy(app);
      for (const vmid of [1002, 1002]) pods.bindLate("app", stage.nameOf(vmid));
      app.replicas = 2;
      objects.put("replicasets", { metadata: { name: "app", namespace: "load" }, spec: { replicas: 2 } });
      await world.time.sleep(30_000);
      const back = pods.lose("driver");
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.match(stage.engine.why, /demo-servers-2-handover: .*pods that left for demo-servers-2-\w+/);
      assert.equal(await stage.up(stage.serversOf(2)), "failed");
      assert.match(stage.engine.why, /demo-servers-2-handover: .*pods that left for demo-servers-2-\w+/);
      back();
      assert.equal(await stage.up(stage.serversOf(2)), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("keeps no other node when it has evicted nothing, and its slot leaves", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3 });
    const { world } = stage;
    await stage.play(async () => {
      const last = stage.nameOf(1102);
      const app = { name: "app", replicas: 0, minAvailable: 0, slowestEnd: 1000, claims: false };
      const { objects, pods } = world.cluster;
      pods.deploy(app);
      pods.bindLate("app", last);
      app.replicas = 1;
      objects.put("replicasets", { metadata: { name: "app", namespace: "load" }, spec: { replicas: 1 } });
      await world.time.sleep(30_000);
      refuseEvictions(stage, status(429, "TooManyRequests", "needs 1 healthy pod", "DisruptionBudget"));
      const isCordoned = () => objects.get("nodes", last)?.spec?.unschedulable === true;
      assert.equal(await stage.dieAt(stage.agentsOf(1), isCordoned), "killed");
      assert.equal(readyApps(stage).length, 1);
      await world.time.sleep(60_000);
      assert.equal(await stage.up({ ...stage.agentsOf(2), slots: 2 }), "failed");
      assert.match(stage.engine.why, /demo-workers-2-cfcccdce could not be emptied/);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("keeps every other node, in each later run, while no pod is made in place of those that were evicted", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, adopted: true });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      objects.put("replicasets", { metadata: { name: "web", namespace: "load" }, spec: { replicas: 4 } });
      for (const n of [0, 1, 2, 3])
        objects.put("pods", {
          metadata: {
            name: `web-${n}`,
            namespace: "load",
            labels: {},
            ownerReferences: [{ kind: "ReplicaSet", name: "web", uid: "owner-web", controller: true }],
          },
          spec: { nodeName: stage.nameOf(1100 + n) },
          status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }], containerStatuses: [] },
        });
      for (const run of [1, 2, 3]) {
        assert.equal(await stage.up(stage.agentsOf(1)), "failed");
        assert.match(stage.engine.why, /ReplicaSet load\/web has 3 of 4 pods/, `run ${run}`);
        await stage.world.time.sleep(600_000);
      }
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});

describe("a generation whose nodes are all on a host that does not answer, in virtual time", function () {
  this.timeout(60_000);

  for (const [soakSeconds, canary] of [
    [0, undefined],
    [60, undefined],
    [60, 1],
    [900, undefined],
  ] as const)
    it(`is not proved by no node: a soak of ${soakSeconds} s, ${canary === undefined ? "no canary" : "a canary"}`, async () => {
      const images = stageImages("never-ready");
      const stage = new Stage(images, { servers: 1, agents: 2, soakSeconds, ...(canary && { canary }) });
      const { world } = stage;
      const states = () => {
        const record = world.cluster.objects.get("configmaps", "evergreen-system/pool-workers");
        const facts = Object.entries((record?.data ?? {}) as Record<string, string>);
        return facts
          .filter(([key]) => key.startsWith("generation."))
          .map(([, fact]) => JSON.parse(fact) as { spec: { image: string }; state: string })
          .map(({ spec, state }) => `${spec.image === stage.before.image ? "old" : "new"} ${state}`)
          .toSorted();
      };
      await stage.play(async () => {
        for (const vmid of [1100, 1101]) stage.vm(vmid).host = "pve2";
        await world.time.sleep(20_000);
        world.dc.silent.add("pve2");
        await world.time.sleep(60_000);
        for (const run of [1, 2]) {
          await stage.up(stage.agentsOf(1));
          assert.ok(!states().includes("new proved"), `run ${run}: ${states().join()}`);
          await world.time.sleep(1_000_000);
        }
        const words = stage.engine.clusterPlan?.pools.flatMap((pool) => pool.words).join("\n") ?? "";
        assert.match(words, /nothing is judged while no host of a node of \w+ answers/);
        world.dc.silent.clear();
        await world.time.sleep(60_000);
        assert.equal(await stage.up(stage.agentsOf(1)), "failed");
        assert.deepEqual(states(), ["new failed", "old proved"]);
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      });
    });
});
