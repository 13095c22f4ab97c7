import assert from "node:assert/strict";
import { parse } from "yaml";
import { guest } from "../../images/contract.ts";
import type { Vm } from "./data-centre.ts";
import { memberName, type Member } from "./etcd.ts";
import { addressOf } from "./server.ts";
import { Stage, stageImages } from "./stage.ts";

/**
 * A run that was killed has left a server without a Node, and the next run goes back to what was before. etcd promotes a
 * learner that has caught up whether or not it lives.
 */
describe("a server without a Node that may get its vote while it is off, in virtual time", function () {
  this.timeout(60_000);

  /** A stage with so many servers. Its new server registers only once `registers` is called. */
  function staged(servers: number) {
    const stage = new Stage(stageImages(), { servers, agents: 1 });
    const { world } = stage;
    const { control, nodes } = world.cluster;
    const { etcd } = control;
    const register = nodes.register.bind(nodes);
    nodes.register = (name, ...rest) => (isNew(name) ? false : register(name, ...rest));
    const isNew = (name: string) => name === newServer()?.name;
    const newServer = (): Vm | undefined => world.dc.vms.get(1000 + Math.max(servers, 1));
    const change = (to: Partial<Member>) =>
      (etcd.members = etcd.members.map((one) => (one.uuid === newServer()?.uuid ? { ...one, ...to } : one)));
    const wish =
      servers === 1
        ? { ...stage.before, servers: { image: stage.before.image, count: 3, cores: 4 } }
        : stage.serversOf(1);
    const leaveLearner = async () => {
      const isLearner = () => etcd.learners().some(({ uuid }) => uuid === newServer()?.uuid);
      assert.equal(await stage.dieAt(wish, isLearner), "killed");
    };
    /** The new server was told to join, and etcd admits nobody before the function returned is called. */
    const leaveTold = async () => {
      const add = etcd.add.bind(etcd);
      etcd.add = () => "etcdserver: unhealthy cluster";
      const isTold = () => (newServer()?.disk.get(guest.marker) ?? "") !== "";
      assert.equal(await stage.dieAt(wish, isTold), "killed");
      await world.time.sleep(30_000);
      return () => (etcd.add = add);
    };
    /** The new server joins etcd and catches up at once. */
    const joins = () => {
      const vm = newServer();
      assert.ok(vm);
      const identity = { node: vm.name, address: addressOf(vm.vmid), uuid: vm.uuid };
      assert.equal(etcd.add(identity), undefined);
      vm.disk.set(guest.member, memberName(identity));
      etcd.start(vm.uuid);
      change({ readyAt: world.time.elapsed() });
    };
    /** The new server has a Node. */
    const appears = () => {
      const vm = newServer();
      assert.ok(vm);
      const data = parse(vm.disk.get(guest.join) ?? "") as { "node-label": string[] };
      assert.ok(register(vm.name, data["node-label"], vm.uuid, "v1.33.5+rke2r1", 1));
    };
    const endsWell = async () => {
      for (let run = 0; run < 3; run += 1) {
        await world.time.sleep(180_000);
        if ((await stage.up(stage.before)) === "done") break;
      }
      const up = etcd.voters().filter(({ upSince }) => upSince !== undefined);
      assert.deepEqual([etcd.members.length, up.length], [servers, servers], stage.engine.why);
      assert.equal(newServer(), undefined);
    };
    return {
      stage,
      world,
      etcd,
      change,
      leaveLearner,
      leaveTold,
      joins,
      appears,
      endsWell,
      newServer,
      registers: () => (nodes.register = register),
    };
  }

  const isShutdown = ({ path }: { path: string }) => path.endsWith("/status/shutdown");

  for (const servers of [1, 3])
    it(`stays on while it is a learner, until RKE2 has removed it: beside ${servers}`, async () => {
      const { stage, world, etcd, change, leaveLearner, endsWell, newServer } = staged(servers);
      await stage.play(async () => {
        await leaveLearner();
        // It takes a while to catch up, as with a large etcd, and would have done so right before it is turned off.
        change({ readyAt: Infinity });
        world.defect = (call) => {
          if (call.path.startsWith(`/nodes/`) && isShutdown(call)) change({ readyAt: world.time.elapsed() });
          return world.honest(call);
        };
        assert.equal(await stage.up(stage.before), "done", stage.engine.why);
        assert.equal(newServer(), undefined);
        assert.equal(etcd.hasQuorum(), true);
        await endsWell();
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("stays on while it is a learner, and leaves as a voter once it has its Node", async () => {
    const { stage, world, registers, leaveLearner, endsWell } = staged(3);
    await stage.play(async () => {
      await leaveLearner();
      registers();
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      await endsWell();
    });
    assert.deepEqual(world.story.violations, []);
  });

  for (const [servers, how] of [
    [1, "without a Node"],
    [3, "without a Node"],
    [1, "with its Node"],
    [3, "with its Node"],
    [1, "with its Node, and gets its vote once it is off"],
    [3, "with its Node, and gets its vote once it is off"],
  ] as const)
    it(`is started again when it has joined while it shut down: beside ${servers}, ${how}`, async () => {
      const { stage, world, etcd, change, registers, leaveTold, joins, appears, endsWell, newServer } = staged(servers);
      let isOver = false;
      await stage.play(async () => {
        const admits = await leaveTold();
        world.defect = (call) => {
          const answer = world.honest(call);
          if (!isOver && isShutdown(call)) {
            isOver = true;
            admits();
            joins();
            registers();
            if (how !== "without a Node") appears();
            if (how.endsWith("once it is off")) {
              change({ readyAt: Infinity });
              world.time.after(10_000, () => change({ readyAt: 0 }));
            }
          }
          return answer;
        };
        const outcome = await stage.up(stage.before);
        assert.ok(isOver);
        if (outcome !== "done")
          assert.match(stage.engine.why, /a voter of etcd.* started|may not be taken out of etcd now/);
        await world.time.sleep(120_000);
        assert.equal(etcd.hasQuorum(), true);
        if (outcome !== "done") assert.equal(newServer()?.running, true);
        await endsWell();
      });
      // Nothing can be known of what comes after the request to shut down.
      const isCrossed = (line: string) =>
        /turns .* off, which is a voter/.test(line) || (servers === 1 && line.includes("etcd has no quorum"));
      assert.deepEqual(
        world.story.violations.filter((line) => !isCrossed(line)),
        [],
      );
    });

  it("is started again when it gets its vote after its machine has lost its power", async () => {
    const { stage, world, etcd, change, registers, leaveLearner, endsWell, newServer } = staged(3);
    await stage.play(async () => {
      await leaveLearner();
      change({ readyAt: Infinity });
      await stage.until(() => etcd.learners()[0]?.upSince !== undefined);
      const vm = newServer();
      assert.ok(vm);
      stage.cutPower(vm.vmid);
      world.time.after(40_000, () => {
        change({ readyAt: 0 });
        registers();
      });
      const outcome = await stage.up(stage.before);
      if (outcome !== "done") assert.match(stage.engine.why, /has become a voter of etcd while it was off/);
      await endsWell();
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("keeps its join data while it is turned off: etcd admits it while a backup locks its VM", async () => {
    const { stage, world, registers, leaveTold, joins, endsWell, newServer } = staged(3);
    await stage.play(async () => {
      const admits = await leaveTold();
      const vm = newServer();
      assert.ok(vm);
      vm.lock = "backup";
      world.time.after(30_000, () => {
        admits();
        joins();
      });
      let marker: string | undefined = "";
      world.time.after(90_000, () => {
        marker = vm.disk.get(guest.marker);
        vm.lock = undefined;
        registers();
        world.dc.powerCut(vm);
        world.dc.powerOn(vm);
      });
      await stage.up(stage.before);
      assert.match(marker, /^server/);
      await endsWell();
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("is not let go when somebody has started it after it was retired, and etcd has it since", async () => {
    const { stage, world, etcd, registers, leaveTold, joins, endsWell, newServer } = staged(3);
    let isOver = false;
    await stage.play(async () => {
      const admits = await leaveTold();
      world.defect = (call) => {
        const vm = newServer();
        if (!isOver && call.process.name.startsWith("release-") && vm) {
          isOver = true;
          admits();
          joins();
          etcd.stop(vm.uuid);
          registers();
        }
        return world.honest(call);
      };
      const outcome = await stage.up(stage.before);
      assert.ok(isOver);
      if (outcome !== "done") assert.match(stage.engine.why, /a voter of etcd/);
      await endsWell();
    });
    assert.deepEqual(world.story.violations, []);
  });
});
