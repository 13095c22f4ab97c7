import assert from "node:assert/strict";
import { status } from "./fault-kinds.ts";
import { Stage, stageImages } from "./stage.ts";

describe("a server that an unfinished run left, and that is a voter by now", function () {
  this.timeout(60_000);

  it("stays while its API server is still to come, where its slot has nobody else (seed 535170376)", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { etcd, servers } = world.cluster.control;
    const young = () => [...servers].find(({ vm }) => vm.vmid === 1003);
    await stage.play(async () => {
      stage.cutPower(1000);
      await world.time.sleep(60_000);
      // The plan takes it for incomplete: its kubelet is not ready either.
      const { nodes } = world.cluster;
      const speaks = nodes.speaks.bind(nodes);
      nodes.speaks = (name, after) => speaks(name, name === stage.nameOf(1003) ? undefined : after);
      const serves = () => young()?.serves === true;
      assert.equal(await stage.dieAt(stage.serversOf(1), serves), "killed");
      assert.equal(etcd.voters().length, 3);
      // The looks that decide on it come before it serves, and its removal after that.
      let looks = 0;
      let isReadyNow = false;
      const isDecided = () => world.cluster.objects.get("leases", "evergreen-system/slot-servers-0") !== undefined;
      world.believes = ({ path, host, process }) => {
        if (!process.name.startsWith("rollout-") || !isDecided()) return undefined;
        if (!isReadyNow) speaks(stage.nameOf(1003), 0);
        isReadyNow = true;
        if (path !== "/readyz" || host !== young()?.address) return undefined;
        looks += 1;
        return looks <= 2 ? status(503, "ServiceUnavailable", "etcd is not ready") : undefined;
      };
      assert.equal(await stage.up(stage.serversOf(2)), "done", stage.engine.why);
      assert.ok(looks > 2);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("leaves once it has had the time to serve, and does not", async () => {
    const stage = new Stage(stageImages("never-ready"), { servers: 3, agents: 1 });
    const { etcd } = stage.world.cluster.control;
    await stage.play(async () => {
      stage.cutPower(1000);
      await stage.world.time.sleep(60_000);
      const isIn = () => etcd.voters().some(({ node }) => node === stage.nameOf(1003));
      assert.equal(await stage.dieAt(stage.serversOf(1), isIn), "killed");
      const { time } = stage.world;
      const began = time.elapsed();
      let wentAfter = 0;
      etcd.onChange(() => {
        if (!isIn()) wentAfter ||= time.elapsed() - began;
      });
      assert.equal(await stage.up(stage.serversOf(2)), "done", stage.engine.why);
      assert.ok(wentAfter > 120_000 && wentAfter < 200_000);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});
