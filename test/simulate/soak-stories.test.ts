import assert from "node:assert/strict";
import { Stage, stageImages } from "./stage.ts";

/** What ends or prolongs a soak, and what does not. */
describe("a long soak, in virtual time", function () {
  this.timeout(60_000);

  const strategy = { servers: 1, agents: 3, soakSeconds: 3600, canary: 1 };

  it("begins anew each time that its canary was not Ready", async () => {
    const stage = new Stage(stageImages(), strategy);
    const { time, cluster, watcher } = stage.world;
    await stage.play(async () => {
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      const canary = stage.nameOf(1103);
      watcher.touchedByFate(canary);
      for (let restarts = 0; restarts < 5; restarts += 1) {
        await time.sleep(600_000);
        cluster.nodes.flap(canary, 60_000);
      }
      await time.sleep(900_000);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      const [plan] = stage.engine.clusterPlan?.pools ?? [];
      assert.match(
        plan?.words.join("\n") ?? "",
        /soaks anew until .*, because restarted or not Ready meanwhile: demo-workers-0-/,
      );
      assert.equal(plan?.kind, "soaking");
      await time.sleep(3_000_000);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.equal(stage.engine.clusterPlan?.pools[0]?.kind, "roll");
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("begins anew with a restart that is so fast that its canary looks Ready all the while", async () => {
    const stage = new Stage(stageImages(), strategy);
    const { time, cluster } = stage.world;
    const kinds: (string | undefined)[] = [];
    await stage.play(async () => {
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      const name = stage.nameOf(1103);
      await time.sleep(3_500_000);
      const node = cluster.objects.get("nodes", name);
      const nodeInfo = { ...(node?.status?.nodeInfo as object), bootID: "another" };
      if (node) cluster.objects.put("nodes", { ...node, status: { ...node.status, nodeInfo } });
      for (const ms of [200_000, 3_400_000, 300_000]) {
        await time.sleep(ms);
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
        kinds.push(stage.engine.clusterPlan?.pools[0]?.kind);
      }
    });
    assert.deepEqual(kinds, ["soaking", "soaking", "roll"]);
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("begins anew when a run has brought its canary back, which was off for most of it", async () => {
    const stage = new Stage(stageImages(), strategy);
    const { time } = stage.world;
    const kinds: (string | undefined)[] = [];
    const runAfter = async (ms: number) => {
      await time.sleep(ms);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      kinds.push(stage.engine.clusterPlan?.pools[0]?.kind);
    };
    await stage.play(async () => {
      await runAfter(0);
      await time.sleep(600_000);
      stage.cutPower(1103);
      for (const ms of [3_100_000, 10_000, 3_600_000]) await runAfter(ms);
    });
    assert.deepEqual(kinds, ["canary", "soaking", "soaking", "roll"]);
    assert.deepEqual(stage.world.story.violations, []);
  });
});

describe("a short soak, in virtual time", function () {
  this.timeout(60_000);

  for (const spread of [true, false])
    it(`judges nobody when nodes on ${spread ? "several hosts" : "two hosts"} fall silent, seconds after each other`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 4, soakSeconds: 60, canary: 1 });
      const { world } = stage;
      await stage.play(async () => {
        const vmids = [1000, 1100, 1101, 1102, 1103];
        if (spread) for (const [at, vmid] of vmids.entries()) stage.vm(vmid).host = `pve${at + 2}`;
        const run = stage.up(stage.agentsOf(1));
        await stage.until(() => generations(stage).includes("soaking"));
        await world.time.sleep(2000);
        const [canary, ...others] = [1104, 1101, 1102, 1103].map((vmid) => stage.nameOf(vmid));
        for (const name of [canary ?? "", ...others]) world.watcher.touchedByFate(name);
        world.cluster.nodes.flap(canary ?? "", 100_000);
        await world.time.sleep(7000);
        for (const name of others) world.cluster.nodes.flap(name, 93_000);
        assert.equal(await run, "failed");
        assert.match(stage.engine.why, /was disturbed/);
        assert.doesNotMatch(generations(stage), /failed/);
        await world.time.sleep(120_000);
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("judges nobody for pods that use up the memory of a node", async () => {
    const app = { name: "app", replicas: 2, minAvailable: 1, slowestEnd: 1000, claims: false };
    const stage = new Stage(stageImages(), { servers: 3, agents: 2, soakSeconds: 60, workloads: [app] });
    const { cluster } = stage.world;
    await stage.play(async () => {
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => generations(stage).includes("soaking"));
      await stage.world.time.sleep(5000);
      const name = stage.nameOf(1102);
      cluster.pods.bindLate("app", name);
      report(stage, name, "PLEG is not healthy", [{ type: "MemoryPressure", status: "True" }]);
      assert.equal(await run, "failed");
      assert.match(stage.engine.why, /was disturbed.*MemoryPressure beside the pods load\/app-/);
      assert.doesNotMatch(generations(stage), /failed/);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("judges nobody for a new version of a DaemonSet whose image no registry gives", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 2, soakSeconds: 60 });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => generations(stage).includes("soaking"));
      await stage.world.time.sleep(5000);
      const name = stage.nameOf(1102);
      const daemon = objects.get("pods", `kube-system/rke2-canal-${name}`);
      assert.ok(daemon);
      const waiting = { reason: "ImagePullBackOff", message: "Back-off pulling image" };
      const status = { phase: "Pending", containerStatuses: [{ restartCount: 0, state: { waiting } }] };
      objects.put("pods", { ...daemon, status });
      report(stage, name, "cni plugin not initialized");
      assert.equal(await run, "failed");
      assert.match(stage.engine.why, /was disturbed.*its daemons cannot be fetched: kube-system\/rke2-canal-/);
      assert.doesNotMatch(generations(stage), /failed/);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});

/** What is recorded of the generations of the pool of agents. */
function generations({ world }: Stage): string {
  const data = world.cluster.objects.get("configmaps", "evergreen-system/pool-workers")?.data;
  return JSON.stringify(data ?? {});
}

/** The kubelet of a node reports that it is not Ready. */
function report({ world }: Stage, name: string, message: string, more: object[] = []): void {
  const { objects, aheadMs } = world.cluster;
  const node = objects.get("nodes", name);
  const lastTransitionTime = new Date(world.time.date() + aheadMs).toISOString();
  const ready = { type: "Ready", status: "False", reason: "KubeletNotReady", message, lastTransitionTime };
  if (node) objects.put("nodes", { ...node, status: { ...node.status, conditions: [...more, ready] } });
}
