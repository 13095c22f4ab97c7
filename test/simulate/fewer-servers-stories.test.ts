import assert from "node:assert/strict";
import { status } from "./fault-kinds.ts";
import { Stage, stageImages } from "./stage.ts";

/** Stories that a seed found, reduced to their smallest form. */
describe("a server whose delete no update has asked for", function () {
  this.timeout(60_000);

  it("stays while nobody has told yet how many are wanted, as after a first creation", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      world.defect = (call) => {
        const answer = world.honest(call);
        const asks = call.process.name.startsWith("retire-demo-servers-") && call.path.endsWith("/configmaps/cluster");
        return asks ? status(404, "NotFound", "configmaps cluster not found") : answer;
      };
      assert.equal(
        await stage.up({ ...stage.before, servers: { image: stageImages()[0]?.name ?? "", count: 1, cores: 4 } }),
        "failed",
      );
      assert.match(
        stage.engine.why,
        /demo-servers-\d-\w+ is a server of a cluster that stays, and is not taken out of etcd/,
      );
      assert.equal(world.cluster.control.etcd.voters().length, 3);
    });
    assert.deepEqual(world.story.violations, []);
  });
});

describe("a server of a slot that is given up", function () {
  this.timeout(60_000);

  const fewerServers = ({ before: { image } }: Stage) => ({ servers: { image, count: 1, cores: 4 } });

  it("goes before the agents when its retirement was broken off after it had left etcd", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { etcd } = world.cluster.control;
    await stage.play(async () => {
      const fewer = { ...stage.before, ...fewerServers(stage) };
      assert.equal(await stage.dieAt(fewer, () => etcd.voters().length === 2), "killed");
      await world.time.sleep(60_000);
      assert.equal(await stage.up({ ...fewer, image: stage.agentsOf(1).image }), "done", stage.engine.why);
      assert.equal(etcd.voters().length, 1);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("goes before one that has fallen when its retirement was broken off after it had left etcd", async () => {
    const stage = new Stage(stageImages(), { servers: 5, agents: 1 });
    const { world } = stage;
    const { etcd } = world.cluster.control;
    await stage.play(async () => {
      const fewer = { ...stage.before, ...fewerServers(stage) };
      assert.equal(await stage.dieAt(fewer, () => etcd.voters().length === 4), "killed");
      const left = etcd.voters().map(({ node }) => node);
      const fallen = [1001, 1002, 1003, 1004].find((vmid) => left.includes(stage.nameOf(vmid))) ?? 0;
      stage.cutPower(fallen);
      await world.time.sleep(60_000);
      assert.equal(await stage.up(fewer), "done", stage.engine.why);
      assert.equal(etcd.voters().length, 1);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("goes before the agents when it has fallen since a run failed that gave its slot up", async () => {
    const workloads = [{ name: "app", replicas: 2, minAvailable: 1, slowestEnd: 1000, claims: false }];
    const stage = new Stage(stageImages(), { servers: 3, agents: 1, workloads });
    const { world } = stage;
    await stage.play(async () => {
      world.cluster.refusesEvictions = status(500, "InternalError", "a webhook is away");
      const wish = { ...stage.agentsOf(1), ...fewerServers(stage) };
      assert.equal(await stage.up(wish), "failed");
      world.cluster.refusesEvictions = undefined;
      stage.cutPower(1002);
      await world.time.sleep(60_000);
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      assert.equal(world.cluster.control.etcd.voters().length, 1);
    });
    assert.deepEqual(world.story.violations, []);
  });

  for (const { count, slot } of [
    { count: 3, slot: 0 },
    { count: 5, slot: 3 },
  ])
    it(`goes before ${count === 3 ? "a handover whose node has joined already" : "the incomplete server of another such slot"}`, async () => {
      const stage = new Stage(stageImages(), { servers: 5, agents: 1 });
      const { world } = stage;
      const { objects, control } = world.cluster;
      const roll = (servers: number) => {
        const image = stageImages()[1]?.name ?? "";
        return { ...stage.before, servers: { image, count: servers, cores: 4 } };
      };
      await stage.play(async () => {
        const record = () => JSON.stringify(objects.get("configmaps", `evergreen-system/slot-servers-${slot}`) ?? "");
        assert.equal(await stage.dieAt(roll(count), () => record().includes("joined")), "killed");
        await world.time.sleep(60_000);
        stage.cutPower(1004);
        await world.time.sleep(60_000);
        assert.equal(await stage.up(roll(3)), "done", stage.engine.why);
        assert.equal(control.etcd.voters().length, 3);
      });
      assert.deepEqual(world.story.violations, []);
    });
});

describe("a control plane that shrinks while the host of its last server did not answer, and does by then", function () {
  this.timeout(60_000);

  it("loses no voter that etcd still counts, and its cluster does not count as being torn down", async () => {
    const stage = new Stage(stageImages(), { servers: 5, agents: 1, allowDestroy: true });
    const { world } = stage;
    await stage.play(async () => {
      stage.vm(1004).host = "pve3";
      await world.time.sleep(15_000);
      world.dc.silent.add("pve3");
      const fewer = { ...stage.before, servers: { image: stage.before.image, count: 3, cores: 4 } };
      const run = stage.up(fewer);
      await stage.until(() => stage.engine.ran.includes("demo-servers-rollout"));
      world.dc.silent.clear();
      assert.equal(await run, "failed");
      assert.match(stage.engine.why, /servers-3-\w+-join: .* may not be taken out of etcd now/);
      assert.ok(stage.vm(1003).running);
    });
    assert.deepEqual(world.story.violations, []);
  });
});

describe("a control plane that shrinks and is rolled at once", function () {
  this.timeout(60_000);

  it("loses a dead server first whose slot is given up: no other one could join before", async () => {
    const stage = new Stage(stageImages(), { servers: 5, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      stage.cutPower(1003);
      await world.time.sleep(60_000);
      const image = stageImages()[1]?.name ?? "";
      const fewer = { ...stage.before, servers: { image, count: 3, cores: 4 } };
      assert.equal(await stage.up(fewer), "done", stage.engine.why);
      assert.equal(world.cluster.control.etcd.voters().length, 3);
    });
    assert.deepEqual(world.story.violations, []);
  });
});

describe("a server that has joined beside the owner of its slot, whose host was silent when the run was planned", function () {
  this.timeout(60_000);

  it("leaves etcd when it is down, and its cluster does not count as being torn down", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1, allowDestroy: true });
    const { world } = stage;
    const { objects, control } = world.cluster;
    await stage.play(async () => {
      const record = () => JSON.stringify(objects.get("configmaps", "evergreen-system/slot-servers-2") ?? "");
      assert.equal(await stage.dieAt(stage.serversOf(1), () => record().includes("joined")), "killed");
      stage.vm(1002).host = "pve3";
      await world.time.sleep(60_000);
      world.dc.silent.add("pve3");
      stage.cutPower(1005);
      await world.time.sleep(60_000);
      const run = stage.up(stage.serversOf(1));
      await stage.until(() => stage.engine.ran.includes("demo-servers-rollout"));
      world.dc.silent.clear();
      assert.equal(await run, "done", stage.engine.why);
      assert.ok(!("goingAway" in (objects.get("configmaps", "evergreen-system/cluster")?.data as object)));
      assert.equal(control.etcd.voters().length, 3);
    });
    assert.deepEqual(world.story.violations, []);
  });
});
