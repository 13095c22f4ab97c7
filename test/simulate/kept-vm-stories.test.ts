import assert from "node:assert/strict";
import { Stage, stageImages } from "./stage.ts";

describe("VMs that are kept for their data, in virtual time", function () {
  this.timeout(60_000);

  /** Binds a volume on the disk of a node. */
  const bindOn = ({ world }: Stage, node: string): void => {
    const terms = [{ matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: [node] }] }];
    world.cluster.objects.put("persistentvolumes", {
      metadata: { name: "local-0" },
      spec: {
        capacity: { storage: "1Gi" },
        claimRef: { namespace: "load", name: "data-0" },
        nodeAffinity: { required: { nodeSelectorTerms: terms } },
      },
      status: { phase: "Bound" },
    });
  };

  it("are planned and recorded by one moment, wherever the clock is that answers next (seed 216853799)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1, keepDays: 0 });
    const { world } = stage;
    const { cluster, dc } = world;
    await stage.play(async () => {
      bindOn(stage, stage.nameOf(1100));
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.ok(dc.vms.get(1100)?.running === false, "it is kept, off");
      // Its time is over by the clock that the plan is made with, and not by that of the answers after it.
      const ahead = cluster.clockOfServer.bind(cluster);
      let isPlanned = false;
      cluster.clockOfServer = (host) => ahead(host) - (isPlanned ? 3_600_000 : 0);
      world.defect = (call) => {
        isPlanned ||= call.process.name === "program" && call.path.endsWith("/storage/local/status");
        return world.honest(call);
      };
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.ok(isPlanned);
      assert.equal(dc.vms.get(1100), undefined);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("excuse nobody whose claim has a volume by now that other nodes reach", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, keepDays: 7 });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      bindOn(stage, stage.nameOf(1100));
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.equal(stage.vm(1100).running, false);
      // The application gets its claim anew, from network storage.
      objects.put("persistentvolumes", {
        metadata: { name: "local-0" },
        spec: { capacity: { storage: "1Gi" }, claimRef: { namespace: "load", name: "data-0" } },
        status: { phase: "Bound" },
      });
      const nodes = objects.list("nodes").filter(({ metadata }) => metadata.name.includes("-workers-"));
      objects.put("replicasets", { metadata: { name: "web", namespace: "load" }, spec: { replicas: 4 } });
      for (const [n, { metadata }] of nodes.entries())
        objects.put("pods", {
          metadata: {
            name: `web-${n}`,
            namespace: "load",
            labels: {},
            ownerReferences: [{ kind: "ReplicaSet", name: "web", uid: "owner-web", controller: true }],
          },
          spec: {
            nodeName: metadata.name,
            volumes: [{ name: "data", persistentVolumeClaim: { claimName: n === 3 ? "data-0" : `data-${n + 1}` } }],
          },
          status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }], containerStatuses: [] },
        });
      await stage.world.time.sleep(86_400_000);
      // Nobody makes the pods again that are evicted.
      assert.equal(await stage.up(stage.agentsOf(2)), "failed");
      assert.match(stage.engine.why, /ReplicaSet load\/web has 3 of 4 pods/);
      assert.equal(objects.list("pods").filter(({ metadata }) => metadata.name.startsWith("web-")).length, 3);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});
