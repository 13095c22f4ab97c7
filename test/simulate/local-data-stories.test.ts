import assert from "node:assert/strict";
import { bindVolume, ties } from "./local-volumes.ts";
import type { Workload } from "./pods.ts";
import { Stage, stageImages } from "./stage.ts";

/** Stories of data that is on one node alone, which nobody has agreed to lose. */
describe("data on a node alone, in virtual time", function () {
  this.timeout(60_000);

  for (const by of ties)
    for (const lost of ["nothing", "the driver's label", "the Node"])
      it(`is not destroyed when ${by} ties its volume and ${lost} is gone`, async () => {
        const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
        const { objects } = stage.world.cluster;
        await stage.play(async () => {
          const name = stage.nameOf(1100);
          const before = objects.get("nodes", name);
          bindVolume(stage.world.cluster, { node: name, name: "local-1", claim: "data-db", by });
          if (lost === "the driver's label" && before) objects.put("nodes", before);
          if (lost === "the Node") objects.remove("nodes", name);
          await stage.world.time.sleep(5000);
          for (const run of [1, 2]) {
            assert.equal(await stage.up(stage.agentsOf(1)), "refused", `run ${run}`);
            assert.match(stage.engine.why, /leaves, and a volume with data (is|may be) on it alone: .*load\/data-db/);
          }
          assert.ok(stage.world.dc.vms.has(1100));
        });
        assert.deepEqual(stage.world.story.violations, []);
      });

  for (const [state, looks] of [
    ["has lost its power", 1],
    ["is drained", 2],
  ] as const)
    it(`is kept when its volume is bound after look ${looks}, while its node ${state}`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 2, keepDays: 7 });
      const { world, engine } = stage;
      await stage.play(async () => {
        const name = stage.nameOf(1100);
        let looked = 0;
        world.defect = (call) => {
          const answer = world.honest(call);
          const isLook = call.path.endsWith("/persistentvolumes") && call.process.name === "handover-demo-workers-0";
          if (isLook && ++looked === looks)
            bindVolume(world.cluster, { node: name, name: "local-1", claim: "data-db" });
          return answer;
        };
        if (state === "has lost its power") stage.onLease("ticket-workers-0", () => stage.cutPower(1100));
        assert.equal(await stage.up(stage.agentsOf(1)), "failed");
        assert.match(engine.why, /leaves, and a volume with data is on it alone: .*load\/data-db/);
        assert.ok(world.cluster.objects.get("nodes", name));
        await world.time.sleep(60_000);
        assert.equal(await stage.up(stage.agentsOf(1)), "done", engine.why);
        assert.equal(stage.vm(1100).running, false);
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("does not keep nodes for a volume that another node has, or that a node had which was retired", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3 });
    await stage.play(async () => {
      bindVolume(stage.world.cluster, { node: stage.nameOf(1101), name: "local-1", claim: "data-db", by: ties[1] });
      stage.world.cluster.objects.remove("nodes", stage.nameOf(1102));
      await stage.world.time.sleep(5000);
      assert.equal(await stage.up({ ...stage.before, slots: 2 }), "done", stage.engine.why);
    });
  });

  for (const policy of ["OrderedReady", "Parallel"] as const)
    it(`lets the nodes of a StatefulSet leave one after the other when it may stay behind (${policy})`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 3, workloads: [unschedulable("db")] });
      await stage.play(async () => {
        runStatefulSet(stage, policy);
        const wish = { ...stage.agentsOf(1), pool: { localVolumes: "keep" } };
        assert.equal(await stage.up(wish), "done", stage.engine.why);
        for (const vmid of [1100, 1101, 1102]) assert.equal(stage.vm(vmid).running, false);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });
});

/** A workload whose pods a story makes: the scheduler has a place for none of them. */
function unschedulable(name: string): Workload {
  return { name, replicas: 0, minAvailable: 0, slowestEnd: 1000, claims: false, selector: "example.org/never" };
}

/** A StatefulSet `db` with a pod on each agent, whose volume is on its disk, and the controller that makes its pods. */
function runStatefulSet(stage: Stage, policy: "OrderedReady" | "Parallel"): void {
  const { cluster, time } = stage.world;
  const { objects } = cluster;
  const numbers = [0, 1, 2];
  objects.put("statefulsets", { metadata: { name: "db", namespace: "load" }, spec: { replicas: numbers.length } });
  const ownerReferences = [{ kind: "StatefulSet", name: "db", uid: "owner-db", controller: true }];
  const put = (number: number, nodeName?: string) =>
    objects.put("pods", {
      metadata: { name: `db-${number}`, namespace: "load", labels: { app: "db" }, ownerReferences },
      spec: {
        volumes: [{ name: "data", persistentVolumeClaim: { claimName: `data-db-${number}` } }],
        ...(nodeName && { nodeName }),
      },
      status: {
        phase: nodeName ? "Running" : "Pending",
        conditions: [{ type: "Ready", status: nodeName ? "True" : "False" }],
        containerStatuses: [{ restartCount: 0 }],
      },
    });
  for (const number of numbers) {
    const node = stage.nameOf(1100 + number);
    bindVolume(cluster, { node, name: `local-${number}`, claim: `data-db-${number}` });
    put(number, node);
  }
  // With OrderedReady no pod is made before all with lower numbers run.
  const reconcile = () => {
    for (const number of numbers) {
      const pod = objects.get("pods", `load/db-${number}`) ?? put(number);
      if (policy === "OrderedReady" && pod.status?.phase !== "Running") return;
    }
  };
  objects.onChange(({ collection, object, removed }) => {
    if (removed && collection === "pods" && object.metadata.name.startsWith("db-")) time.after(500, reconcile);
  });
}
