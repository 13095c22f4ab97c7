import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import type { Workload } from "./pods.ts";
import { Stage, stageImages } from "./stage.ts";

const app: Workload = { name: "app", replicas: 6, minAvailable: 5, slowestEnd: 1000, claims: false };

describe("a node that becomes another one while its machine cannot be turned off, in virtual time", function () {
  this.timeout(60_000);

  it("stays on when it gets its vote while the lock of a backup is waited for: a server without a Node", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world, engine } = stage;
    const { control, nodes } = world.cluster;
    const { etcd } = control;
    const change = (uuid: string, to: Partial<(typeof etcd.members)[number]>) =>
      (etcd.members = etcd.members.map((one) => (one.uuid === uuid ? { ...one, ...to } : one)));
    await stage.play(async () => {
      const register = nodes.register.bind(nodes);
      let registers = (): unknown => undefined;
      nodes.register = (name, ...rest) => {
        if (name !== stage.nameOf(1003)) return register(name, ...rest);
        registers = () => register(name, ...rest);
        return false;
      };
      const isLearner = () => etcd.learners().some(({ uuid }) => uuid === stage.vm(1003).uuid);
      assert.equal(await stage.dieAt(stage.serversOf(1), isLearner), "killed");
      const vm = stage.vm(1003);
      change(vm.uuid, { readyAt: Infinity });
      vm.lock = "backup";
      const getsVote = () => {
        change(vm.uuid, { learner: false });
        nodes.register = register;
      };
      world.defect = (call) => {
        if (call.path.includes("/qemu/1003/agent/")) vm.guest?.hang(600_000);
        return world.honest(call);
      };
      world.time.after(100_000, getsVote);
      world.time.after(120_000, () => (vm.lock = undefined));
      assert.notEqual(await stage.up(stage.before), "done");
      assert.match(
        engine.why,
        /become a voter|is a voter without a Node|has a Node by now|may not be taken out of etcd/,
      );
      world.defect = undefined;
      await world.time.sleep(300_000);
      assert.equal(etcd.member(vm.uuid)?.learner, false);
      assert.equal(world.dc.vms.get(1003)?.running, true, "a voter is off, and was never asked to leave");
      registers();
      nodes.reachAt(vm.name, etcd.member(vm.uuid)?.address ?? "");
      nodes.speaks(vm.name, 1000);
      control.tell(vm.name);
      await world.time.sleep(60_000);
      for (let run = 0; run < 3 && etcd.voters().length > 3; run += 1) {
        await stage.up(stage.before);
        await world.time.sleep(120_000);
      }
      assert.deepEqual([etcd.voters().length, world.dc.vms.has(1003)], [3, false], engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("is drained as ever when it registers while the lock of a backup is waited for: an agent without a Node", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2, workloads: [app] });
    const { world, engine } = stage;
    const { nodes, objects } = world.cluster;
    let had = 0;
    await stage.play(async () => {
      const register = nodes.register.bind(nodes);
      const held: string[] = [];
      let isHeld = true;
      nodes.register = (name, ...rest) => (isHeld && held.includes(name) ? false : register(name, ...rest));
      const isTold = () => (world.dc.vms.get(1102)?.disk.get(guest.marker) ?? "") !== "";
      const until = stage.until(() => world.dc.vms.has(1102)).then(() => held.push(stage.nameOf(1102)));
      assert.equal(await stage.dieAt(stage.agentsOf(1), isTold), "killed");
      await until;
      const vm = stage.vm(1102);
      vm.lock = "backup";
      world.defect = (call) => {
        if (call.path.includes("/qemu/1102/agent/")) vm.guest?.hang(600_000);
        return world.honest(call);
      };
      const pods = () => objects.list("pods");
      world.time.after(100_000, () => (isHeld = false));
      // Its owner makes the pods of a deployment anew: these go to the node with the fewest.
      world.time.after(130_000, () => {
        for (const { metadata } of pods().filter((pod) => /^app-[1-4]$/.test(pod.metadata.name)))
          objects.remove("pods", `${metadata.namespace ?? ""}/${metadata.name}`);
      });
      world.time.after(160_000, () => {
        had = pods().filter(({ spec }) => spec?.nodeName === vm.name).length;
        vm.lock = undefined;
      });
      const outcome = await stage.up(stage.before);
      world.defect = undefined;
      if (outcome !== "done") await world.time.sleep(700_000);
      assert.equal(outcome === "done" ? outcome : await stage.up(stage.before), "done", engine.why);
    });
    assert.ok(had > 0);
    assert.deepEqual(world.story.violations, []);
  });

  for (const what of ["its file systems are frozen", "a backup locks its VM"])
    it(`is drained as ever when it comes back while ${what}: an agent whose kubelet was dead`, async () => {
      const claiming: Workload = { ...app, replicas: 2, minAvailable: 1, claims: true };
      const stage = new Stage(stageImages(), { servers: 3, agents: 2, workloads: [claiming] });
      const { cluster, time, watcher } = stage.world;
      let isOver = false;
      await stage.play(async () => {
        const name = stage.nameOf(1100);
        const vm = stage.vm(1100);
        watcher.struck(name);
        cluster.nodes.silent(name);
        await time.sleep(600_000);
        stage.world.defect = (call) => {
          if (!isOver && call.process.name.startsWith("handover-") && call.path.endsWith("/1100/agent/file-write")) {
            isOver = true;
            assert.ok(vm.guest);
            if (what.startsWith("its")) vm.guest.frozen = true;
            else {
              vm.guest.hang(600_000);
              vm.lock = "backup";
            }
            time.after(15_000, () => cluster.nodes.speaks(name, 0));
            time.after(20_000, () => cluster.pods.deploy({ ...app, name: "late" }));
            time.after(90_000, () => {
              vm.lock = undefined;
              if (vm.guest) vm.guest.frozen = false;
            });
          }
          return stage.world.honest(call);
        };
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      });
      assert.ok(isOver);
      assert.deepEqual(stage.world.story.violations, []);
    });

  it("is turned off again when somebody starts it while the last look before its destruction waits for a lock", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { dc, time, story } = stage.world;
    let isOver = false;
    await stage.play(async () => {
      const vm = stage.vm(1100);
      stage.world.defect = (call) => {
        if (!isOver && call.process.name.startsWith("release-") && call.path.endsWith("/1100/config")) {
          isOver = true;
          vm.lock = "backup";
          time.after(30_000, () => dc.powerOn(vm));
          time.after(60_000, () => (vm.lock = undefined));
        }
        return stage.world.honest(call);
      };
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.equal(dc.vms.has(1100), false);
    });
    assert.ok(isOver);
    assert.deepEqual(story.violations, []);
  });
});
