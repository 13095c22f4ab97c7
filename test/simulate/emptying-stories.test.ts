import assert from "node:assert/strict";
import { forgettingEvicted } from "./defects.ts";
import type { Stored } from "./objects.ts";
import { isPodReady } from "./pods.ts";
import { Stage, stageImages } from "./stage.ts";

const readyApps = ({ world }: Stage): number =>
  world.cluster.objects.list("pods").filter((pod) => pod.metadata.labels?.app !== undefined && isPodReady(pod)).length;

const pool = (stage: Stage, name: string, first: number, slots: number) => ({
  name,
  first,
  image: stage.before.image,
  slots,
  rollout: 0,
  strategy: { kind: "rolling", surge: 1, maxUnavailable: 1 },
});

/** What a workload wants from now on. */
function scale({ world }: Stage, name: string, replicas: number): void {
  world.cluster.objects.put("replicasets", { metadata: { name, namespace: "load" }, spec: { replicas } });
}

/** Two pods on each of these nodes, of a workload that other nodes have never started. */
async function deploy(stage: Stage, vmids: number[]): Promise<void> {
  const { pods } = stage.world.cluster;
  const names = vmids.map((vmid) => stage.nameOf(vmid));
  const replicas = 2 * names.length;
  const app = { name: "app", replicas: 0, minAvailable: 0, slowestEnd: 1000, claims: false };
  pods.deploy(app);
  for (const name of [...names, ...names]) pods.bindLate("app", name);
  app.replicas = replicas;
  scale(stage, "app", replicas);
  await stage.world.time.sleep(30_000);
  assert.equal(readyApps(stage), replicas);
}

/** Two pods on each of these nodes that can run nowhere else. */
async function deployTied(stage: Stage, names: string[]): Promise<void> {
  const { objects, pods } = stage.world.cluster;
  for (const [number, name] of names.entries()) {
    const selector = `example.org/disk-${number}`;
    relabel(stage, name, selector);
    const more = { replicas: 2, minAvailable: 0, slowestEnd: 1000, claims: false };
    pods.deploy({ name: `app-${number}`, ...more, selector });
  }
  await stage.world.time.sleep(30_000);
  assert.ok(names.every((name) => objects.get("nodes", name)));
}

function relabel({ world }: Stage, name: string, label: string): void {
  const { metadata, ...rest }: Stored = world.cluster.objects.get("nodes", name) ?? assert.fail();
  const labels = { ...metadata.labels, [label]: "yes" };
  world.cluster.objects.put("nodes", { ...rest, metadata: { ...metadata, labels } });
}

/** Stories of nodes that leave for good, one after the other, while what they had does not run elsewhere. */
describe("a node that leaves for good, in virtual time", function () {
  this.timeout(120_000);

  it("waits until what others had has started, when new nodes of another pool mount nothing", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    await stage.play(async () => {
      const olds = pool(stage, "olds", 1200, 4);
      assert.equal(await stage.up({ ...stage.before, others: [olds] }), "done", stage.engine.why);
      await deploy(stage, [1200, 1201, 1202, 1203]);
      const back = stage.world.cluster.pods.lose("driver");
      const renamed = { ...stage.before, others: [pool(stage, "news", 1300, 4)] };
      for (const run of [1, 2]) {
        assert.equal(await stage.up(renamed), "failed", `run ${run}`);
        assert.match(stage.engine.why, /do not run elsewhere .* load\/app-\d+: ContainerCreating \(on /);
        assert.equal(readyApps(stage), 6);
        assert.equal([1200, 1201, 1202, 1203].filter((vmid) => stage.world.dc.vms.has(vmid)).length, 4);
      }
      back();
      assert.equal(await stage.up(renamed), "done", stage.engine.why);
      assert.equal(readyApps(stage), 8);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("waits for a registry that is away, beside pods that run already", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
    await stage.play(async () => {
      await deploy(stage, [1100, 1101, 1102, 1103]);
      scale(stage, "other", 1);
      stage.world.cluster.pods.deploy({
        name: "other",
        replicas: 1,
        minAvailable: 0,
        slowestEnd: 1000,
        claims: false,
        selector: "kubernetes.io/hostname=" + stage.nameOf(1100),
      });
      await stage.world.time.sleep(10_000);
      stage.world.cluster.pods.forgetImages("app", stage.nameOf(1100));
      const back = stage.world.cluster.pods.lose("registry");
      const ready = readyApps(stage);
      assert.equal(await stage.up({ ...stage.before, slots: 1 }), "failed");
      assert.match(stage.engine.why, /do not run elsewhere .* ImagePullBackOff/);
      assert.ok(readyApps(stage) >= ready - 2, `${readyApps(stage)} of ${ready} pods run`);
      back();
      assert.equal(await stage.up({ ...stage.before, slots: 1 }), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("waits until what others had is made again, or is not wanted any more", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      scale(stage, "web", 4);
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
      const left = () => objects.list("pods").filter(({ metadata }) => metadata.name.startsWith("web-")).length;
      assert.equal(await stage.up({ ...stage.before, slots: 1 }), "failed");
      assert.match(stage.engine.why, /ReplicaSet load\/web has 3 of 4 pods/);
      assert.equal(left(), 3);
      scale(stage, "web", 1);
      assert.equal(await stage.up({ ...stage.before, slots: 1 }), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("waits although somebody has cordoned it", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      const leaving = [1101, 1102, 1103].map((vmid) => stage.nameOf(vmid));
      await deployTied(stage, leaving);
      for (const name of leaving) {
        const node = objects.get("nodes", name) ?? assert.fail();
        objects.put("nodes", { ...node, spec: { ...node.spec, unschedulable: true } });
      }
      assert.equal(await stage.up({ ...stage.before, slots: 1 }), "failed");
      assert.equal(leaving.filter((name) => objects.get("nodes", name)).length, 2);
      assert.equal(readyApps(stage), 4);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("waits although it was silent for a moment, when it was looked at first", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
    const { objects, nodes } = stage.world.cluster;
    await stage.play(async () => {
      const leaving = [1101, 1102, 1103].map((vmid) => stage.nameOf(vmid));
      await deployTied(stage, leaving);
      const run = stage.up({ ...stage.before, slots: 1 });
      const isCordoned = (name: string) => objects.get("nodes", name)?.spec?.unschedulable === true;
      await stage.until(() => leaving.some(isCordoned));
      for (const name of leaving.filter((one) => !isCordoned(one))) {
        stage.world.watcher.struck(name);
        nodes.flap(name, 150_000);
      }
      assert.equal(await run, "failed");
      assert.equal(leaving.filter((name) => objects.get("nodes", name)).length, 2);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is not destroyed, and the run not done, before what it had runs elsewhere", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
    const { world } = stage;
    await stage.play(async () => {
      const app = { name: "app", replicas: 4, minAvailable: 0, slowestEnd: 1000, claims: false };
      world.cluster.pods.deploy(app);
      await world.time.sleep(30_000);
      // What is made from now on finds no room.
      (app as { selector?: string }).selector = "example.org/no-room";
      for (const run of [1, 2]) {
        assert.equal(await stage.up({ ...stage.before, slots: 3 }), "failed", `run ${run}`);
        assert.match(
          stage.engine.why,
          /pods that left demo-workers-3-\w+ do not run elsewhere after 240 s: load\/app-/,
        );
        assert.equal(stage.vm(1103).running, false);
      }
      // Nor does a rollout take another node.
      assert.equal(await stage.up({ ...stage.agentsOf(1), slots: 3 }), "failed");
      assert.match(stage.engine.why, /handover: pods that left earlier nodes of pool workers do not run elsewhere/);
      assert.equal(readyApps(stage), 3);
      relabel(stage, stage.nameOf(1100), "example.org/no-room");
      assert.equal(await stage.up({ ...stage.before, slots: 3 }), "done", stage.engine.why);
      assert.equal(world.dc.vms.has(1103), false);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("goes without what nothing can start, when its VM has lost its power", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      const leaving = [1101, 1102, 1103].map((vmid) => stage.nameOf(vmid));
      await deployTied(stage, leaving);
      stage.cutPower(1102);
      await stage.world.time.sleep(600_000);
      assert.equal(await stage.up({ ...stage.before, slots: 1 }), "failed");
      assert.equal(objects.get("nodes", leaving[1] ?? ""), undefined);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("does not send its pods to one that leaves next, when no other has the labels that they ask for", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      const leaving = [1101, 1102, 1103].map((vmid) => stage.nameOf(vmid));
      for (const name of leaving) relabel(stage, name, "example.org/disk");
      const app = { name: "app", replicas: 6, minAvailable: 0, slowestEnd: 1000, claims: false };
      stage.world.cluster.pods.deploy({ ...app, selector: "example.org/disk" });
      await stage.world.time.sleep(30_000);
      const fewer = { ...stage.before, slots: 1 };
      assert.equal(await stage.up(fewer), "failed");
      assert.match(stage.engine.why, /where it is, leaves as well, and no node that stays or comes has the labels/);
      assert.equal(leaving.filter((name) => objects.get("nodes", name)).length, 2);
      assert.equal(readyApps(stage), 6);
      relabel(stage, stage.nameOf(1100), "example.org/disk");
      assert.equal(await stage.up(fewer), "done", stage.engine.why);
      assert.equal(readyApps(stage), 6);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});

/** Stories of nodes that a run has left which was killed after their joins, when the configuration is taken back. */
describe("an incomplete node that has pods, in virtual time", function () {
  this.timeout(120_000);

  const blue = { kind: "blueGreen", surge: 4, maxUnavailable: 1, soakSeconds: 0 };

  /** Kills a blue-green rollout once its new nodes have joined, and deploys what only they have the labels for. */
  async function leaveIncomplete(stage: Stage): Promise<void> {
    const { objects, pods } = stage.world.cluster;
    const olds = [1100, 1101, 1102, 1103].map((vmid) => stage.nameOf(vmid));
    const facts = () => objects.list("configmaps").filter(({ metadata }) => metadata.name.startsWith("slot-workers-"));
    const joined = () => facts().filter(({ data }) => JSON.stringify(data).includes('\\"joined\\"')).length === 4;
    assert.equal(await stage.dieAt({ ...stage.agentsOf(1), strategy: blue }, joined), "killed");
    const names = objects.list("nodes").map(({ metadata }) => metadata.name);
    for (const name of names.filter((one) => one.includes("-workers-") && !olds.includes(one)))
      relabel(stage, name, "example.org/new");
    const app = { name: "app", replicas: 8, minAvailable: 0, slowestEnd: 1000, claims: false };
    pods.deploy({ ...app, selector: "example.org/new" });
    await stage.world.time.sleep(60_000);
    assert.equal(readyApps(stage), 8);
  }

  it("stays while what the one before had runs on nodes alone that leave as well", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, maxUnavailable: 3 });
    await stage.play(async () => {
      await leaveIncomplete(stage);
      const back = { ...stage.before, strategy: blue };
      for (const run of [1, 2]) {
        assert.equal(await stage.up(back), "failed", `run ${run}`);
        assert.match(stage.engine.why, /leaves as well, and no node that stays or comes has the labels/);
        assert.equal(readyApps(stage), 8);
      }
      relabel(stage, stage.nameOf(1100), "example.org/new");
      assert.equal(await stage.up(back), "done", stage.engine.why);
      assert.equal(readyApps(stage), 8);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("goes with all pods of the others, as the watcher sees, when a defective step forgets what it has evicted", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, maxUnavailable: 3 });
    await stage.play(async () => {
      await leaveIncomplete(stage);
      forgettingEvicted(stage.world);
      for (const pause of [120_000, 0]) {
        await stage.up({ ...stage.before, strategy: blue });
        await stage.world.time.sleep(pause);
      }
    });
    assert.match(stage.world.story.violations.join("\n"), /a run is done, and what it evicted does not run: app-/);
  });

  it("goes while a rollout begins whose image makes its pods run", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, maxUnavailable: 3 });
    await stage.play(async () => {
      await leaveIncomplete(stage);
      const next = { ...stage.agentsOf(2), strategy: blue, pool: { labels: { "example.org/new": "yes" } } };
      assert.equal(await stage.up(next), "done", stage.engine.why);
      assert.equal(readyApps(stage), 8);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});
