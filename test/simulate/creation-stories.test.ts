import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import { calm } from "./faults.ts";
import { imageOf } from "./scenario.ts";
import { Stage, stageImages } from "./stage.ts";

describe("the first creation of a cluster, in virtual time", function () {
  this.timeout(60_000);

  const founder = ({ world }: Stage) => world.dc.vms.get(1000);
  const boots = (stage: Stage) => () => founder(stage)?.running === true;

  for (const servers of [1, 3])
    it(`makes ${servers} servers and two agents from nothing`, async () => {
      const stage = new Stage(stageImages(), { servers, agents: 2, empty: true });
      await stage.play(async () => {
        assert.equal(await stage.up(stage.before), "done", stage.engine.why);
        assert.equal(stage.world.cluster.control.etcd.voters().length, servers);
        assert.equal(await stage.up(stage.before), "done", stage.engine.why);
        assert.deepEqual(stage.engine.ran, []);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });

  for (const change of ["nothing", "the size of the servers"])
    for (const servers of [1, 3])
      it(`goes on when its run was killed while the first of ${servers} servers booted, and ${change} is changed`, async () => {
        const stage = new Stage(stageImages(), { servers, agents: 1, empty: true });
        const { world, before } = stage;
        const cores = change === "nothing" ? 4 : 8;
        const wish = { ...before, servers: { image: before.image, count: servers, cores } };
        await stage.play(async () => {
          assert.equal(await stage.dieAt(before, boots(stage)), "killed");
          assert.equal(founder(stage)?.disk.has(guest.marker), false);
          await world.time.sleep(30_000);
          if (cores === 8) {
            // Nothing remembers the uuid of the one that booted, so it is left to the operator.
            assert.equal(await stage.up(wish), "failed");
            assert.match(stage.engine.why, /nobody recorded its SMBIOS uuid .* shut it down in Proxmox/);
            world.dc.powerCut(stage.vm(1000));
            await world.time.sleep(30_000);
          }
          assert.equal(await stage.up(wish), "done", stage.engine.why);
          assert.equal(await stage.up(wish), "done", stage.engine.why);
          assert.deepEqual(stage.engine.ran, []);
          const nodes = [...world.dc.vms.values()].filter(({ owner }) => owner === "ours");
          assert.equal(nodes.length, servers + 1);
        });
        assert.deepEqual(world.story.violations, []);
      });

  it("goes on by itself when the clone of the first server could not be configured", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1, empty: true });
    const { world, before } = stage;
    await stage.play(async () => {
      world.faults.strike = { request: "provider configure", fault: "refused" };
      world.faults.weather = { ...calm };
      assert.equal(await stage.up(before), "failed");
      world.faults.weather = calm;
      await world.time.sleep(30_000);
      assert.equal(await stage.up(before), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("goes on when the plugin was killed in the first create: nothing is in the state then", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1, empty: true });
    const { world, before } = stage;
    await stage.play(async () => {
      assert.equal(await stage.up(before, { request: 2, side: "after", what: "plugin" }), "failed");
      assert.ok(founder(stage));
      await world.time.sleep(30_000);
      assert.equal(await stage.up(before), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("tells a first server nothing more that has made the cluster and cannot be asked for a while", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1, empty: true });
    const { world, before } = stage;
    await stage.play(async () => {
      assert.equal(await stage.dieAt(before, () => founder(stage)?.disk.has(guest.kubeconfig) === true), "killed");
      await world.time.sleep(30_000);
      let isFirst = true;
      world.believes = ({ process }) => {
        if (!isFirst || !process.name.startsWith("join-demo-servers-0-")) return undefined;
        isFirst = false;
        const ends = [stage.vm(1000).guest?.freeze(), world.cluster.control.goAway()];
        world.time.after(20_000, () => ends.forEach((end) => end?.()));
        return undefined;
      };
      if ((await stage.up(before)) !== "done") assert.equal(await stage.up(before), "done", stage.engine.why);
      assert.equal(isFirst, false);
    });
    assert.deepEqual(world.story.violations, []);
  });

  for (const [servers, way] of [
    [1, "the content that it has"],
    [1, "the consent"],
    [3, "the others"],
  ] as const)
    it(`replaces a first server of ${servers} that was not handed its slot once there ${servers === 1 ? "is" : "are"} ${way}`, async () => {
      const stage = new Stage(stageImages(), { servers, agents: 1, empty: true });
      const { world, before } = stage;
      const others = { ...before, servers: { image: before.image, count: servers, cores: 8 } };
      const consent = { ...others, servers: { ...others.servers, replaceOnlyServer: true } };
      await stage.play(async () => {
        const taints = [{ key: "example.com/by-hand", effect: "NoSchedule" }];
        const taint = (some: object[]) => {
          const [node] = world.cluster.objects.list("nodes");
          if (node) world.cluster.objects.put("nodes", { ...node, spec: { ...node.spec, taints: some } });
        };
        void stage.until(() => world.cluster.objects.list("nodes").length > 0).then(() => taint(taints));
        assert.equal(await stage.up(before), "failed");
        assert.match(stage.engine.why, /example.com\/by-hand/);
        taint([]);
        await world.time.sleep(60_000);
        if (servers === 1) {
          assert.equal(await stage.up(others), "failed");
          assert.match(stage.engine.why, /is the only voter, .* Configure the content that this voter has/);
          await world.time.sleep(30_000);
        }
        const wish = way === "the consent" ? consent : way === "the others" ? others : before;
        assert.equal(await stage.up(wish), "done", stage.engine.why);
        assert.equal(world.cluster.control.etcd.voters().length, servers);
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("goes on when its run was killed right after the first server was told to make the cluster", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1, empty: true });
    const { world, before } = stage;
    await stage.play(async () => {
      const isTold = () => founder(stage)?.disk.has(guest.marker) === true;
      assert.equal(await stage.dieAt(before, isTold), "killed");
      await world.time.sleep(60_000);
      assert.equal(await stage.up(before), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("makes the cluster anew when the agent of the first server never answers, by the recipe", async () => {
    const stage = new Stage(stageImages("no-agent"), { servers: 1, agents: 1, empty: true });
    const { world, before } = stage;
    await stage.play(async () => {
      const bad = { ...before, servers: { image: imageOf(1, undefined).name, count: 1, cores: 4 } };
      assert.equal(await stage.up(bad), "failed");
      await world.time.sleep(60_000);
      assert.equal(await stage.up(before), "refused");
      assert.match(stage.engine.why, /A first creation did not get through/);
      const { name } = stage.vm(1000);
      world.dc.powerCut(stage.vm(1000));
      world.dc.vms.delete(1000);
      stage.engine.state.forgets(name);
      await world.time.sleep(30_000);
      assert.equal(await stage.up(before), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  for (const servers of [1, 3])
    it(`says that the first of ${servers} servers is not well when it has made the cluster and is never Ready`, async () => {
      const stage = new Stage(stageImages("never-ready"), { servers, agents: 1, empty: true });
      const { world, before } = stage;
      await stage.play(async () => {
        const bad = { ...before, servers: { image: imageOf(1, undefined).name, count: servers, cores: 4 } };
        assert.equal(await stage.up(bad), "failed");
        for (let run = 0; run < 2; run += 1) {
          await world.time.sleep(60_000);
          assert.equal(await stage.up(before), "failed");
        }
        assert.match(stage.engine.why, /is a voter and not healthy .* "A server did not get through its join"/);
      });
      assert.deepEqual(world.story.violations, []);
    });
});
