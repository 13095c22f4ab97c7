import assert from "node:assert/strict";
import { calm } from "./faults.ts";
import { Stage, stageImages } from "./stage.ts";

interface NodeStatus {
  addresses?: { address: string }[];
}

/** Stories that a seed found, reduced to their smallest form. */
describe("agents in virtual time", function () {
  this.timeout(60_000);

  it("that have lost their power keep their slot, and serve in it once their new boot has told of itself", async () => {
    // The list of VMs reports it as running for some seconds.
    for (const ms of [1000, 12_000]) {
      const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
      const { dc, cluster, watcher } = stage.world;
      await stage.play(async () => {
        const vm = dc.vms.get(1100);
        assert.ok(vm);
        const boot = () => (cluster.objects.get("nodes", vm.name)?.status?.nodeInfo as { bootID: string }).bootID;
        const before = boot();
        const phases = new Set<string>();
        cluster.objects.onChange(({ collection, object: { metadata, data } }) => {
          if (collection !== "configmaps" || metadata.name !== "slot-workers-0") return;
          for (const fact of Object.values(data as Record<string, string>))
            phases.add((JSON.parse(fact) as { phase: string }).phase);
        });
        watcher.struck(vm.name);
        dc.powerCut(vm);
        await stage.world.time.sleep(ms);
        assert.equal(await stage.up(stage.before), "done", stage.engine.why);
        assert.notEqual(boot(), before);
        assert.deepEqual(
          [...phases].filter((phase) => phase !== "handedOver"),
          [],
        );
      });
      assert.deepEqual(stage.world.story.violations, []);
    }
  });

  it("are members once they stay Ready while their daemons are looked at, and not before", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const { objects, aheadMs } = world.cluster;
    let looks = 0;
    await stage.play(async () => {
      world.defect = (call) => {
        if (!call.process.name.startsWith("join-demo-workers") || !call.path.endsWith("/daemonsets"))
          return world.honest(call);
        looks += 1;
        const node = objects.get("nodes", stage.nameOf(1101));
        const conditions = [
          { type: "Ready", status: "True", lastTransitionTime: new Date(world.time.date() + aheadMs).toISOString() },
        ];
        // The Node was not Ready for a moment.
        if (looks === 1 && node) objects.put("nodes", { ...node, status: { ...node.status, conditions } });
        return world.honest(call);
      };
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    });
    assert.equal(looks, 2);
    assert.deepEqual(world.story.violations, []);
  });

  it("leave no token behind with which somebody could join", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const tokens: string[] = [];
    const { objects } = stage.world.cluster;
    objects.onChange(({ collection, object: { metadata }, removed }) => {
      if (collection === "secrets" && !removed && metadata.name.startsWith("bootstrap-token-"))
        tokens.push(metadata.name);
    });
    await stage.play(async () => {
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.equal(tokens.length, 1);
      assert.deepEqual(
        objects.list("secrets").filter(({ metadata }) => tokens.includes(metadata.name)),
        [],
      );
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("own a slot that nobody had before once they serve, and not before", async () => {
    for (const cut of [false, true]) {
      const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
      const { dc, cluster, watcher } = stage.world;
      const record = () => JSON.stringify(cluster.objects.get("configmaps", "evergreen-system/slot-workers-1")?.data);
      await stage.play(async () => {
        cluster.objects.onChange(() => {
          const vm = [...dc.vms.values()].find(({ name }) => name.startsWith("demo-workers-1-"));
          if (!cut || !vm?.running || !/"phase\\+":\\+"joined/.test(record())) return;
          watcher.struck(vm.name);
          dc.powerCut(vm);
        });
        const outcome = await stage.up({ ...stage.agentsOf(0), slots: 2 });
        assert.equal(outcome, cut ? "failed" : "done", stage.engine.why);
        assert.match(record(), cut ? /"phase\\+":\\+"joined/ : /"phase\\+":\\+"handedOver/);
      });
      assert.deepEqual(stage.world.story.violations, []);
    }
  });

  it("are given no second clone while the first one's create is undecided (seed 89623276)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { dc } = stage.world;
    await stage.play(async () => {
      const run = stage.dieAt(stage.agentsOf(1), () => [...dc.vms.values()].some(({ lock }) => lock === "clone"));
      assert.equal(await run, "killed");
      await stage.world.time.sleep(20_000);
      stage.world.faults.weather = { ...calm };
      stage.world.faults.strike = { request: "pve DELETE /nodes/H/qemu/N", fault: "596" };
      assert.equal(await stage.up(stage.agentsOf(1)), "refused");
      assert.match(stage.engine.why, /does not answer; repair again when it does/);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.equal([...dc.vms.values()].filter(({ name }) => name.startsWith("demo-workers-0-")).length, 1);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are changed by no run while the clock of one server is off: it dates their tokens, their soaks and what is kept", async () => {
    for (const ms of [-7200_000, 7200_000]) {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1, soakSeconds: 3600 });
      const { objects, wrongMs } = stage.world.cluster;
      await stage.play(async () => {
        const { addresses = [] } = (objects.get("nodes", stage.nameOf(1001))?.status ?? {}) as NodeStatus;
        for (const { address } of addresses) wrongMs.set(address, ms);
        assert.equal(await stage.up(stage.agentsOf(1)), "refused");
        assert.match(stage.engine.why, /the clocks of the servers are 7[12]\d\d s apart/);
        assert.ok(stage.vm(1100).running);
        wrongMs.clear();
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      });
      assert.deepEqual(stage.world.story.violations, []);
    }
  });

  it("may be none: a pool without nodes proves no image, and grows again all at once", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const states = (): string[] => {
      const data = stage.world.cluster.objects.get("configmaps", "evergreen-system/pool-workers")?.data ?? {};
      const facts = Object.entries(data as Record<string, string>).filter(([key]) => key.startsWith("generation."));
      return facts.map(([, fact]) => (JSON.parse(fact) as { state: string }).state).toSorted();
    };
    await stage.play(async () => {
      const newer = { ...stage.before, image: "ubuntu-24.04-rke2-v1.1.0" };
      assert.equal(await stage.up({ ...newer, slots: 0 }), "done", stage.engine.why);
      assert.equal(stage.world.dc.vms.has(1100) || stage.world.dc.vms.has(1101), false);
      assert.ok(states().filter((state) => state === "proved").length === 1, states().join());
      assert.equal(await stage.up({ ...newer, slots: 0 }), "done", stage.engine.why);
      assert.equal(await stage.up(newer), "done", stage.engine.why);
      assert.deepEqual(states(), ["proved", "proved"]);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are not called deleted while they are only out of sight", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { world } = stage;
    await stage.play(async () => {
      world.defect = (call) => {
        if (call.process.name.startsWith("claim-demo-workers-0")) stage.vm(1102).pool = "theirs";
        return world.honest(call);
      };
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /workers-0-.*-claim: VM 1102 of .* exists, and the token cannot see it/);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("are brought back as often as they fall", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    await stage.play(async () => {
      for (const time of ["first", "second", "third"]) {
        stage.cutPower(1100);
        await stage.world.time.sleep(60_000);
        assert.equal(await stage.up(stage.before), "done", stage.engine.why);
        assert.ok(stage.vm(1100).running, `the ${time} time`);
      }
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("serve on in the place of an owner whose host is silent, and have the slot once it answers", async () => {
    const workloads = [{ name: "app", replicas: 4, minAvailable: 0, slowestEnd: 1000, claims: false }];
    const stage = new Stage(stageImages(), { servers: 1, agents: 2, workloads });
    const { world } = stage;
    await stage.play(async () => {
      const record = () => JSON.stringify(world.cluster.objects.get("configmaps", "evergreen-system/slot-workers-0"));
      assert.equal(await stage.dieAt(stage.agentsOf(1), () => record().includes("joined")), "killed");
      for (const vmid of [1000, 1102]) stage.vm(vmid).host = "pve2";
      stage.cutPower(1100);
      world.dc.silent.add("pve1");
      await world.time.sleep(60_000);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.ok(stage.vm(1102).running);
      assert.equal(stage.engine.clusterPlan?.pools[0]?.leaving.length, 0);
      world.dc.silent.clear();
      await world.time.sleep(60_000);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.ok(stage.vm(1102).running);
      assert.equal(world.dc.vms.get(1100), undefined);
    });
    assert.deepEqual(world.story.violations, []);
  });
});
