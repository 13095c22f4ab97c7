import assert from "node:assert/strict";
import type { Vm } from "./data-centre.ts";
import { Stage, stageImages } from "./stage.ts";

/** A killed run has left a server that has its vote and no Node yet; its machine has lost its power since. */
describe("a voter without a Node that is off, in virtual time", function () {
  this.timeout(60_000);

  const killed = async (stage: Stage, count: number): Promise<Vm> => {
    const { nodes, control } = stage.world.cluster;
    const register = nodes.register.bind(nodes);
    nodes.register = () => false;
    const wish = {
      ...stage.serversOf(1),
      servers: { ...stage.before.servers, image: stage.serversOf(1).servers?.image ?? "", count, cores: 4 },
    };
    assert.equal(await stage.dieAt(wish, () => control.etcd.voters().length === 4), "killed");
    nodes.register = register;
    const { uuid } = control.etcd.voters().at(-1) ?? {};
    const vm = [...stage.world.dc.vms.values()].find((one) => one.uuid === uuid);
    assert.ok(vm);
    stage.cutPower(vm.vmid);
    return vm;
  };

  for (const by of ["a repair", "an update"])
    it(`is not destroyed by ${by} whose state does not know it: nobody could take it out of etcd any more`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
      const { world, engine } = stage;
      await stage.play(async () => {
        const older = engine.state.copy();
        const { vmid, uuid } = await killed(stage, 3);
        engine.state.imports(older);
        await world.time.sleep(120_000);
        if (by === "a repair") await stage.repair(stage.serversOf(1));
        else assert.notEqual(await stage.up(stage.serversOf(1)), "done");
        assert.equal(world.dc.vms.get(vmid)?.uuid, uuid);
        // Started again, it is the voter that it was.
        world.dc.powerOn(stage.vm(vmid));
        await world.time.sleep(120_000);
        assert.deepEqual(
          [world.cluster.control.etcd.voters().length, world.cluster.control.etcd.hasQuorum()],
          [4, true],
        );
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("is started by an update that gives its slot up, and leaves etcd before its VM goes", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world, engine } = stage;
    const { etcd } = world.cluster.control;
    await stage.play(async () => {
      const { vmid, uuid, name } = await killed(stage, 5);
      for (const step of ["claim", "join"]) engine.state.resources.delete(`${name}-${step}`);
      await world.time.sleep(120_000);
      for (let run = 0; run < 2 && world.dc.vms.get(vmid)?.uuid === uuid; run += 1) await stage.up(stage.before);
      assert.equal(world.dc.vms.has(vmid), false, engine.why);
      assert.deepEqual([etcd.members.length, etcd.hasQuorum()], [3, true]);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("is not recorded as retired by a run that waited for its Node in vain, and is a member once the Node comes", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world, engine } = stage;
    const { nodes, control } = world.cluster;
    await stage.play(async () => {
      const register = nodes.register.bind(nodes);
      let blocked = "";
      nodes.register = (name, ...rest) => (name === (blocked ||= stage.nameOf(1003)) ? false : register(name, ...rest));
      assert.equal(await stage.dieAt(stage.serversOf(1), () => control.etcd.voters().length === 4), "killed");
      await world.time.sleep(30_000);
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.match(engine.why, /has no Node; it is a voter of etcd, so it was not given up/);
      const slot = world.cluster.objects.get("configmaps", "evergreen-system/slot-servers-0");
      assert.match(JSON.stringify(slot), new RegExp(`${blocked}[^}]*made`));
      nodes.register = register;
      stage.cutPower(1003);
      world.dc.powerOn(stage.vm(1003));
      await world.time.sleep(120_000);
      for (let run = 0; run < 2 && (await stage.up(stage.serversOf(1))) !== "done"; run += 1);
      assert.deepEqual([engine.why, stage.nameOf(1003), control.etcd.members.length], ["", blocked, 3]);
    });
    assert.deepEqual(world.story.violations, []);
  });
});
