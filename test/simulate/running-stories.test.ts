import assert from "node:assert/strict";
import { labels } from "../../src/domain/model/formats.ts";
import type { Stored } from "./objects.ts";
import { isPodReady } from "./pods.ts";
import { Stage, stageImages } from "./stage.ts";

const readyApps = ({ world }: Stage): number =>
  world.cluster.objects.list("pods").filter((pod) => pod.metadata.labels?.app !== undefined && isPodReady(pod)).length;

const surge = { kind: "rolling", surge: 4, maxUnavailable: 1, soakSeconds: 0 };
/** The new node of slot 0. */
const first = "demo-workers-0-09c3448c";

/**
 * Pods on the old nodes of a pool, as many on each, which by now can run elsewhere only.
 * @param selector what they ask of a node. @default to be the new one of slot 0
 */
async function deployPinned(
  stage: Stage,
  appOf: (slot: number) => string,
  { each = 2, selector = `kubernetes.io/hostname=${first}` } = {},
): Promise<void> {
  const { world } = stage;
  const { objects, pods } = world.cluster;
  const slots = [0, 1, 2, 3];
  for (const name of new Set(slots.map(appOf))) {
    const own = slots.filter((slot) => appOf(slot) === name);
    const app = { name, replicas: 0, minAvailable: 0, slowestEnd: 1000, claims: false, selector };
    pods.deploy(app);
    for (const slot of own) for (let n = 0; n < each; n += 1) pods.bindLate(name, stage.nameOf(1100 + slot));
    app.replicas = each * own.length;
    objects.put("replicasets", { metadata: { name, namespace: "load" }, spec: { replicas: app.replicas } });
  }
  await world.time.sleep(30_000);
  assert.equal(readyApps(stage), 4 * each);
}

const notMounted = {
  phase: "Pending",
  containerStatuses: [{ restartCount: 0, state: { waiting: { reason: "ContainerCreating" } } }],
};

/** From now on pods that come to a node hang there, of whatever workload. @returns what starts some of them, or all for good */
function hangOn({ world: { cluster } }: Stage, node: string, status: object = notMounted): (count?: number) => void {
  const { objects } = cluster;
  const put = objects.put.bind(objects);
  const free = new Set(objects.list("pods").map(({ metadata }) => metadata.uid));
  const isHit = ({ metadata, spec }: Stored) =>
    metadata.labels?.app !== undefined && spec?.nodeName === node && !free.has(metadata.uid);
  objects.put = (collection, object) => {
    const isHeld = collection === "pods" && isHit(object as Stored);
    return put(collection, isHeld ? { ...object, status: { conditions: [], ...status } } : object);
  };
  return (count = Infinity) => {
    if (count === Infinity) objects.put = put;
    const ready = { phase: "Running", conditions: [{ type: "Ready", status: "True" }] };
    for (const pod of objects.list("pods").filter(isHit).slice(0, count)) {
      free.add(pod.metadata.uid);
      put("pods", { ...pod, status: ready });
    }
  };
}

/** Begins a run, and does something when the old node of slot 1 is cordoned. */
async function upWith(stage: Stage, happens: () => Promise<void> | void): Promise<string> {
  const second = stage.nameOf(1101);
  const update = stage.up(wishOf(stage));
  await stage.until(() => stage.world.cluster.objects.get("nodes", second)?.spec?.unschedulable === true, 50);
  await happens();
  return await update;
}

const wishOf = (stage: Stage) => ({ ...stage.agentsOf(1), strategy: surge });

describe("pods that go to a new node that has started others, in virtual time", function () {
  this.timeout(60_000);

  const own = (slot: number) => `app-${slot}`;
  for (const [what, appOf, lose, why] of [
    ["a registry is away", own, (stage) => stage.world.cluster.pods.lose("registry"), /ImagePullBackOff/],
    ["a driver is away", own, (stage) => stage.world.cluster.pods.lose("driver"), /ContainerCreating/],
    ["more pods of one workload are not mounted", () => "app", (stage) => hangOn(stage, first), /: 6 of 8 run/],
  ] satisfies [string, (slot: number) => string, (stage: Stage) => () => void, RegExp][])
    it(`hold the next handover, in each later run, while ${what}`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
      const { world } = stage;
      await stage.play(async () => {
        await deployPinned(stage, appOf);
        const lost: (() => void)[] = [];
        assert.equal(await upWith(stage, () => void lost.push(lose(stage))), "failed");
        for (const run of [1, 2]) {
          assert.match(stage.engine.why, /workers-1-handover: pods that left for demo-workers-1-\w+ have not started/);
          assert.match(stage.engine.why, /ReplicaSet load\/app\S*: . of . run/);
          assert.match(stage.engine.why, why);
          assert.equal(readyApps(stage), 6, `run ${run}`);
          assert.ok(stage.vm(1102).running && stage.vm(1103).running);
          assert.equal(await stage.up(wishOf(stage)), "failed");
        }
        for (const back of lost) back();
        assert.equal(await stage.up(wishOf(stage)), "done", stage.engine.why);
        assert.equal(readyApps(stage), 8);
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("hold nothing while they crash by themselves", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
    await stage.play(async () => {
      await deployPinned(stage, own);
      const state = { waiting: { reason: "CrashLoopBackOff" } };
      const crashes = { phase: "Pending", containerStatuses: [{ restartCount: 3, state }] };
      assert.equal(await upWith(stage, () => void hangOn(stage, first, crashes)), "done", stage.engine.why);
    });
  });

  it("hold nothing once nobody wants them any more", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
    const { world } = stage;
    await stage.play(async () => {
      await deployPinned(stage, own);
      const withdraw = async () => {
        hangOn(stage, first);
        await world.time.sleep(60_000);
        for (const slot of [1, 2, 3]) world.cluster.pods.withdraw(own(slot));
      };
      assert.equal(await upWith(stage, withdraw), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  for (const [each, outcome] of [
    [2, "done"],
    [3, "failed"],
  ] as const)
    it(`have a gate anew with each that starts, and two in all: ${each} of them, ${outcome}`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
      const { world } = stage;
      await stage.play(async () => {
        await deployPinned(stage, own, { each });
        const startOneByOne = async () => {
          const start = hangOn(stage, first);
          await world.time.sleep(110_000);
          start(1);
          await world.time.sleep(100_000);
          start(each === 2 ? Infinity : 1);
        };
        assert.equal(await upWith(stage, startOneByOne), outcome, stage.engine.why);
        if (outcome === "failed") assert.match(stage.engine.why, /have not started in 240 s, .*app-1: 2 of 3 run/);
      });
      assert.deepEqual(world.story.violations, []);
    });

  for (const [how, rollout] of [
    ["brings their node back", 0],
    ["replaces their node", 1],
  ] as const)
    it(`hold no run that ${how} when it has died`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
      const { world } = stage;
      await stage.play(async () => {
        await deployPinned(stage, own, { selector: `${labels.slot}=0` });
        const lost: (() => void)[] = [];
        assert.equal(await upWith(stage, () => void lost.push(hangOn(stage, first))), "failed");
        const vm = [...world.dc.vms.values()].find(({ name }) => name === first) ?? assert.fail();
        stage.cutPower(vm.vmid);
        await world.time.sleep(60_000);
        if (rollout === 0) for (const back of lost) back();
        assert.equal(await stage.up({ ...wishOf(stage), rollout }), "done", stage.engine.why);
        assert.equal(readyApps(stage), 8);
      });
      assert.deepEqual(world.story.violations, []);
    });
});
