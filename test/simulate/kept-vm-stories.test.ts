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
});
