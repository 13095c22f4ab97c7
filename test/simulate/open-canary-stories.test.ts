import assert from "node:assert/strict";
import type { Stored } from "./objects.ts";
import { Stage, stageImages } from "./stage.ts";

/** Pods of the workload start on none of these nodes. */
function startNothingOn({ world: { cluster } }: Stage, nodes: ReadonlySet<string>): void {
  const { objects } = cluster;
  const put = objects.put.bind(objects);
  const containerStatuses = [{ restartCount: 0, state: { waiting: { reason: "ContainerCreating" } } }];
  const isHit = ({ metadata, spec }: Stored) =>
    metadata.labels?.app === "app" && typeof spec?.nodeName === "string" && nodes.has(spec.nodeName);
  objects.put = (collection, object) =>
    put(
      collection,
      collection === "pods" && isHit(object as Stored)
        ? { ...object, status: { phase: "Pending", conditions: [], containerStatuses } }
        : object,
    );
}

describe("a canary beside an open handover, in virtual time", function () {
  this.timeout(60_000);

  it("replaces the node first that holds all others, when only a mended image makes its pods start", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, canary: 1, soakSeconds: 30 });
    const { world } = stage;
    const { objects, pods } = world.cluster;
    await stage.play(async () => {
      const names = [1100, 1101, 1102, 1103].map((vmid) => stage.nameOf(vmid));
      const app = { name: "app", replicas: 0, minAvailable: 0, slowestEnd: 1000, claims: false };
      pods.deploy(app);
      for (const name of [...names, ...names]) pods.bindLate("app", name);
      app.replicas = 8;
      objects.put("replicasets", { metadata: { name: "app", namespace: "load" }, spec: { replicas: 8 } });
      await world.time.sleep(30_000);
      // The node of slot 2 dies, so that it is the canary of an image that lacks a driver.
      stage.cutPower(1102);
      await world.time.sleep(60_000);
      const back = pods.lose("driver");
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /workers-2-handover: of the pods that left .* none has started/);
      await world.time.sleep(600_000);
      const isBroken = (name: string) => name.startsWith("demo-workers-2-");
      const broken = objects.list("nodes").map(({ metadata }) => metadata.name);
      startNothingOn(stage, new Set(broken.filter(isBroken)));
      back();
      const mended = stage.agentsOf(2);
      assert.equal(await stage.up(mended), "done", stage.engine.why);
      assert.equal(
        objects.list("nodes").some(({ metadata }) => broken.filter(isBroken).includes(metadata.name)),
        false,
      );
      await world.time.sleep(60_000);
      assert.equal(await stage.up(mended), "done", stage.engine.why);
      assert.equal(await stage.up(mended), "done", stage.engine.why);
      assert.ok(names.every((name) => objects.get("nodes", name) === undefined));
    });
    assert.deepEqual(world.story.violations, []);
  });
});
