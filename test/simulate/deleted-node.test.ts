import assert from "node:assert/strict";
import { isReady } from "./nodes.ts";
import { Stage, stageImages } from "./stage.ts";

describe("a member whose Node somebody deletes while it runs", function () {
  this.timeout(60_000);

  const generationsOf = ({ world }: Stage, pool: string) =>
    JSON.stringify(world.cluster.objects.get("configmaps", `evergreen-system/pool-${pool}`)?.data);
  async function deleteNode(stage: Stage, vmid: number): Promise<void> {
    stage.world.cluster.objects.remove("nodes", stage.nameOf(vmid));
    await stage.world.time.sleep(60_000);
  }

  it("registers again when it is an agent: a kubelet registers only when it starts", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { world } = stage;
    await stage.play(async () => {
      await deleteNode(stage, 1100);
      const { runsSince } = stage.vm(1100);
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      assert.ok(stage.vm(1100).runsSince > runsSince);
      assert.ok(world.cluster.objects.get("nodes", stage.nameOf(1100)));
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("does not condemn the generation that is rolled out", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2, soakSeconds: 3600 });
    await stage.play(async () => {
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.match(generationsOf(stage, "workers"), /09c3448c.*soaking/);
      await deleteNode(stage, 1102);
      await stage.up(stage.agentsOf(1));
      assert.doesNotMatch(generationsOf(stage, "workers"), /failed/);
      assert.equal(stage.engine.why, "");
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is replaced when it is a server: RKE2 has taken it out of etcd", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      await deleteNode(stage, 1000);
      assert.equal(await stage.up(stage.before), "failed");
      assert.match(
        stage.engine.why,
        /demo-servers-0-\w+ was a member, and its Node was deleted: RKE2 has taken it out/,
      );
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      assert.equal(world.cluster.control.etcd.voters().length, 3);
    });
    assert.deepEqual(world.story.violations, []);
  });

  for (const rolls of [false, true])
    it(`is replaced when it is a server whose member alone was removed from etcd${rolls ? ", also by a rollout" : ""}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
      const { etcd, servers, watcher } = stage.world.cluster.control;
      const wish = rolls ? stage.serversOf(1) : stage.before;
      await stage.play(async () => {
        const { uuid } = stage.vm(1001);
        const member = etcd.member(uuid);
        assert.ok(member);
        watcher.nodeDeletedByHand(member.node, uuid);
        etcd.remove(uuid, () => watcher.removes(member, true));
        for (const server of servers) if (server.vm.uuid === uuid) server.stopControlPlane("removed");
        await stage.world.time.sleep(60_000);
        if (!rolls) {
          assert.equal(await stage.up(wish), "failed");
          assert.match(
            stage.engine.why,
            /servers-1-\w+ was a member, and etcd has it no more: somebody has removed it/,
          );
        }
        assert.equal(await stage.up(wish), "done", stage.engine.why);
        assert.equal(etcd.voters().length, 3);
        assert.doesNotMatch(generationsOf(stage, "servers"), /"failed/);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });

  it("does not condemn its image when it is an agent that was joining, whose run was killed or not", async () => {
    for (const isKilled of [true, false]) {
      const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
      const { objects } = stage.world.cluster;
      await stage.play(async () => {
        const hasNode = () => objects.list("nodes").some(({ metadata }) => metadata.name === stage.nameOf(1101));
        const run = isKilled ? stage.dieAt(stage.agentsOf(1), hasNode) : stage.up(stage.agentsOf(1));
        await stage.until(hasNode);
        objects.remove("nodes", stage.nameOf(1101));
        await run;
        await stage.world.time.sleep(90_000);
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
        assert.doesNotMatch(generationsOf(stage, "workers"), /failed/);
      });
      assert.deepEqual(stage.world.story.violations, []);
    }
  });

  it("leaves no other server out of etcd in the same run: its slot has nobody", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { cluster } = stage.world;
    await stage.play(async () => {
      const hasJoined = () => cluster.control.etcd.voters().length === 4;
      const run = stage.up(stage.serversOf(1));
      await stage.until(() => cluster.control.etcd.learners().length === 1);
      await stage.until(hasJoined);
      cluster.objects.remove("nodes", stage.nameOf(1002));
      assert.equal(await run, "failed");
      assert.equal(cluster.control.etcd.voters().length, 3);
      for (let runs = 0; runs < 3 && (await stage.up(stage.serversOf(1))) !== "done"; runs += 1)
        await stage.world.time.sleep(60_000);
      assert.equal(cluster.control.etcd.voters().length, 3);
      assert.doesNotMatch(generationsOf(stage, "servers"), /"failed/);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is replaced when it is a server, also while the new server of its slot is unhealthy", async () => {
    const stage = new Stage(stageImages("never-ready"), { servers: 3, agents: 1 });
    const { etcd } = stage.world.cluster.control;
    await stage.play(async () => {
      const run = stage.up(stage.serversOf(1));
      await stage.until(() => etcd.voters().length === 4);
      stage.world.cluster.objects.remove("nodes", stage.nameOf(1000));
      assert.equal(await run, "failed");
      await stage.world.time.sleep(60_000);
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.match(stage.engine.why, /demo-servers-0-\w+ was a member, and its Node was deleted/);
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
      assert.equal(etcd.voters().length, 3);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is replaced by other content too, while its successor is a voter whose join was not over", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { cluster } = stage.world;
    const { etcd } = cluster.control;
    await stage.play(async () => {
      const isVoter = () => etcd.voters().length === 4;
      assert.equal(await stage.dieAt(stage.serversOf(1), isVoter), "killed");
      await deleteNode(stage, 1000);
      assert.equal(etcd.voters().length, 3);
      for (let runs = 0; runs < 3 && (await stage.up(stage.serversOf(2))) !== "done"; runs += 1)
        await stage.world.time.sleep(60_000);
      assert.equal(stage.engine.why, "");
      assert.equal(etcd.voters().length, 3);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is replaced by other content too, while its successor is an unhealthy voter and its own VM is off", async () => {
    const stage = new Stage(stageImages("never-ready"), { servers: 3, agents: 1 });
    const { etcd } = stage.world.cluster.control;
    await stage.play(async () => {
      const run = stage.up(stage.serversOf(1));
      await stage.until(() => etcd.voters().length === 4);
      stage.world.cluster.objects.remove("nodes", stage.nameOf(1000));
      assert.equal(await run, "failed");
      stage.cutPower(1000);
      await stage.world.time.sleep(60_000);
      for (let runs = 0; runs < 3 && (await stage.up(stage.serversOf(2))) !== "done"; runs += 1)
        await stage.world.time.sleep(60_000);
      assert.equal(stage.engine.why, "");
      assert.equal(etcd.voters().length, 3);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  for (const isJoining of [true, false])
    it(`is replaced before a slot whose voter no slot was handed to, and whose next one ${isJoining ? "is a voter too" : "comes"}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
      const { cluster, time, dc } = stage.world;
      const { etcd } = cluster.control;
      await stage.play(async () => {
        const areReady = () => etcd.voters().length === 4 && cluster.objects.list("nodes").filter(isReady).length === 5;
        assert.equal(await stage.dieAt(stage.serversOf(1), areReady), "killed");
        stage.cutPower(1000);
        await time.sleep(60_000);
        const isOut = () => dc.vms.has(1000) && etcd.member(stage.vm(1000).uuid) === undefined;
        const joins = () => etcd.voters().length === 4 && isOut();
        const next = stage.serversOf(2);
        assert.equal(
          await stage.dieAt(next, () =>
            isJoining ? joins() : isOut() && !cluster.objects.get("nodes", stage.nameOf(1000)),
          ),
          "killed",
        );
        await time.sleep(30_000);
        await deleteNode(stage, 1002);
        assert.equal(etcd.voters().length, isJoining ? 3 : 2);
        assert.equal(await stage.up(next), "done", stage.engine.why);
        assert.equal(etcd.voters().length, 3);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });

  it("proves nothing when it goes while the controllers are waited for (heavy, seed 433850083)", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { objects } = stage.world.cluster;
    const read = (map: string) => JSON.stringify(objects.get("configmaps", `evergreen-system/${map}`)?.data ?? "");
    await stage.play(async () => {
      const isVerifying = () => stage.world.living().some(({ name }) => name.startsWith("verify-demo-servers"));
      const run = stage.up(stage.serversOf(1));
      await stage.until(isVerifying, 10);
      await stage.world.time.sleep(1000);
      assert.ok(isVerifying());
      await deleteNode(stage, 1003);
      assert.equal(await run, "failed");
      assert.match(stage.engine.why, /demo-servers-0-\w+ has no Node/);
      assert.match(read("pool-servers"), /state[^,]*rolling/);
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is named when it is the only server, which etcd keeps", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    await stage.play(async () => {
      await deleteNode(stage, 1000);
      assert.equal(await stage.up(stage.before), "failed");
      assert.match(stage.engine.why, /its Node was deleted; it has not registered again.*qm reboot 1000/);
      assert.doesNotMatch(generationsOf(stage, "servers"), /failed/);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("registers again when nobody has deleted it but etcd was restored, whose record does not have it", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      const keys = ["pool-workers", "slot-workers-0", "slot-workers-1"].map((name) => `evergreen-system/${name}`);
      const before = keys.flatMap((key) => objects.get("configmaps", key) ?? []);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      for (const map of before) {
        objects.remove("configmaps", `evergreen-system/${map.metadata.name}`);
        objects.put("configmaps", map);
      }
      await deleteNode(stage, 1102);
      await deleteNode(stage, 1103);
      assert.equal((await stage.mend({})).why, "");
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.doesNotMatch(generationsOf(stage, "workers"), /failed/);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});

describe("an etcd that was restored from a snapshot older than the last run, and has the Nodes since", function () {
  this.timeout(60_000);

  for (const pool of ["servers", "workers"])
    it(`gets the record of ${pool} back with the next run, so that their content can be replaced`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 2 });
      const { objects } = stage.world.cluster;
      const wish = (version: number) => (pool === "servers" ? stage.serversOf(version) : stage.agentsOf(version));
      await stage.play(async () => {
        const keys = [`pool-${pool}`, ...[0, 1, 2].map((slot) => `slot-${pool}-${slot}`)];
        const maps = () => keys.flatMap((key) => objects.get("configmaps", `evergreen-system/${key}`) ?? []);
        const before = maps();
        assert.equal(await stage.up(wish(1)), "done", stage.engine.why);
        for (const { metadata } of maps()) objects.remove("configmaps", `evergreen-system/${metadata.name}`);
        for (const map of before) objects.put("configmaps", map);
        assert.equal((await stage.mend({})).why, "");
        assert.equal(await stage.up(wish(1)), "done", stage.engine.why);
        assert.equal(await stage.up(wish(2)), "done", stage.engine.why);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });
});
