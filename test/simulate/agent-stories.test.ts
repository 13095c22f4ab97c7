import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import { giveLabel, pinTo, takeLease } from "./by-hand.ts";
import { status } from "./fault-kinds.ts";
import { calm } from "./faults.ts";
import type { Stored } from "./objects.ts";
import { Stage, stageImages } from "./stage.ts";

interface NodeStatus {
  addresses?: { address: string }[];
}

/** Stories that a seed found, reduced to their smallest form. */
describe("agents in virtual time", function () {
  this.timeout(60_000);

  it("are given no slot by a step that has lost its lease while it waited, and could not ask", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const { objects } = world.cluster;
    await stage.play(async () => {
      const old = stage.nameOf(1100);
      await pinTo(stage, old);
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => objects.get("nodes", old) === undefined);
      stage.loseLease("handover-");
      await world.time.sleep(20_000);
      takeLease(stage, "slot-workers-0");
      giveLabel(stage, stage.nameOf(1101));
      await world.time.sleep(10_000);
      world.believes = () => undefined;
      assert.equal(await run, "failed");
    });
    assert.match(stage.engine.why, /the lease slot-workers-0 was lost: another process took it/);
    assert.deepEqual(world.story.violations, []);
  });

  it("are not remembered as members by a step that has lost their slot while it waited, and could not ask", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const { objects, nodes } = world.cluster;
    const speaks = nodes.speaks.bind(nodes);
    await stage.play(async () => {
      nodes.speaks = (name) => speaks(name, 45_000);
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => objects.get("nodes", stage.nameOf(1101)) !== undefined);
      stage.loseLease("join-");
      await world.time.sleep(30_000);
      takeLease(stage, "slot-workers-0");
      await world.time.sleep(25_000);
      world.believes = () => undefined;
      assert.equal(await run, "failed");
    });
    assert.match(stage.engine.why, /the lease slot-workers-0 was lost: another process took it/);
    assert.deepEqual(world.story.violations, []);
  });

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

  it("are members again once their kubelet has reported, whose guest a broken-off run had told to leave (seed 154327534)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const { nodes, objects } = world.cluster;
    await stage.play(async () => {
      const old = stage.nameOf(1100);
      const isTold = () => stage.vm(1100).disk.get(guest.marker) === "";
      world.believes = ({ method, path }) =>
        method === "PUT" && path.endsWith("/qemu/1100/config") && isTold() ? status(401, "", "") : undefined;
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.ok(isTold() && stage.vm(1100).running && !nodes.hasKubelet(old));
      world.believes = () => undefined;
      const facts = () =>
        (objects.get("configmaps", "evergreen-system/slot-workers-0")?.data ?? {}) as Record<string, string>;
      const hasJoined = () =>
        Object.values(facts()).some((fact) => fact.includes('"joined"') && fact.includes(`"${old}"`));
      const run = stage.up(stage.before);
      await stage.until(hasJoined);
      assert.ok(nodes.hasKubelet(old), "its Node looked Ready from before");
      assert.equal(await run, "done");
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  for (const hasStatistics of [true, false])
    it(`are started in a slot once what an earlier run left incomplete there is off (seed 680012524${hasStatistics ? "" : ", a host without statistics"})`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
      const { world } = stage;
      await stage.play(async () => {
        const grown = { ...stage.agentsOf(0), slots: 3 };
        assert.equal(await stage.dieAt(grown, () => world.dc.vms.get(1102)?.running === true), "killed");
        await world.time.sleep(30_000);
        if (!hasStatistics) world.dc.withoutStatistics.add(stage.vm(1102).host);
        let most = 0;
        // The host is silent for the rollout, and not for its joins.
        world.defect = (call) => {
          const agents = [...world.dc.vms.values()].filter(({ vmid }) => vmid >= 1100 && vmid < 9000);
          most = Math.max(most, agents.filter(({ running }) => running).length);
          const isSilent = call.process.name.startsWith("rollout-") && call.path.includes("/qemu/1102/");
          return isSilent ? { status: 595, reason: "No route to host" } : world.honest(call);
        };
        assert.equal(await stage.up({ ...grown, rollout: 1 }), "done", stage.engine.why);
        assert.equal(most, 4, "three slots, and a surge of one");
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("wait for their turn beside one that a killed run left and that becomes Ready once a run is planned (seed 882635)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { world } = stage;
    const { nodes } = world.cluster;
    const speaks = nodes.speaks.bind(nodes);
    let planned = false;
    let most = 0;
    await stage.play(async () => {
      nodes.speaks = (name) => speaks(name, undefined);
      const grown = { ...stage.agentsOf(0), slots: 3 };
      const isThere = () => world.cluster.objects.get("nodes", stage.nameOf(1102)) !== undefined;
      assert.equal(await stage.dieAt(grown, isThere), "killed");
      nodes.speaks = speaks;
      world.defect = (call) => {
        if (call.process.name.startsWith("rollout-demo-workers") && !planned) {
          planned = true;
          speaks(stage.nameOf(1102), 0);
        }
        const agents = [...world.dc.vms.values()].filter(({ vmid }) => vmid >= 1100 && vmid < 9000);
        most = Math.max(most, agents.filter(({ running }) => running).length);
        return world.honest(call);
      };
      assert.equal(await stage.up({ ...grown, rollout: 1 }), "done", stage.engine.why);
    });
    assert.ok(planned);
    assert.equal(most, 4, "three slots, and a surge of one");
    assert.deepEqual(world.story.violations, []);
  });

  it("are not replaced one after the other while no pod starts on the first new one (kops#7258)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3 });
    const { objects, pods } = stage.world.cluster;
    await stage.play(async () => {
      pods.deploy({ name: "app", replicas: 6, minAvailable: 0, slowestEnd: 1000, claims: false });
      await stage.world.time.sleep(30_000);
      const old = [1100, 1101, 1102].map((vmid) => stage.nameOf(vmid));
      const isBack = unfetched(stage, ({ metadata, spec }) => {
        const node = spec?.nodeName;
        return metadata.labels?.app === "app" && typeof node === "string" && !old.includes(node);
      });
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(
        stage.engine.why,
        /of the pods that left for demo-workers-0-\w+ none has started in .*ImagePullBackOff/,
      );
      assert.ok(stage.vm(1101).running && stage.vm(1102).running);
      assert.doesNotMatch(JSON.stringify(objects.get("configmaps", "evergreen-system/pool-workers")?.data), /failed/);
      isBack();
      for (const pod of objects.list("pods").filter(({ metadata }) => metadata.labels?.app === "app"))
        objects.put("pods", { ...pod, status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] } });
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are not replaced either while no pod of a dead one starts elsewhere", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { pods } = stage.world.cluster;
    await stage.play(async () => {
      pods.deploy({ name: "app", replicas: 4, minAvailable: 0, slowestEnd: 1000, claims: false });
      await stage.world.time.sleep(30_000);
      stage.cutPower(1100);
      await stage.world.time.sleep(70_000);
      const old = [1100, 1101].map((vmid) => stage.nameOf(vmid));
      unfetched(stage, ({ metadata, spec }) => {
        const node = spec?.nodeName;
        return metadata.labels?.app === "app" && typeof node === "string" && !old.includes(node);
      });
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /of the pods that left for demo-workers-0-\w+ none has started/);
      assert.ok(stage.vm(1101).running);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are done beside a workload that has started nowhere, and had waited for their room", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { objects, pods } = stage.world.cluster;
    const small = { minAvailable: 0, slowestEnd: 1000, claims: false };
    await stage.play(async () => {
      pods.deploy({ ...small, name: "app", replicas: 4 });
      await stage.world.time.sleep(30_000);
      unfetched(stage, ({ metadata }) => metadata.labels?.app === "broken");
      const run = stage.up({ ...stage.before, slots: 2 });
      const isThere = () => JSON.stringify(objects.get("nodes", stage.nameOf(1101)) ?? {}).includes('"status":"True"');
      await stage.until(isThere);
      pods.deploy({ ...small, name: "broken", replicas: 1 });
      assert.equal(await run, "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are not judged while a registry gives none of their daemons, which older ones have", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      const old = [1100, 1101].map((vmid) => stage.nameOf(vmid));
      const isOnNew = (node: unknown) =>
        typeof node === "string" && node.startsWith("demo-workers-") && !old.includes(node);
      const isBack = unfetched(
        stage,
        ({ metadata, spec }) => metadata.labels?.daemon === "rke2-canal" && isOnNew(spec?.nodeName),
      );
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /its daemons cannot be fetched: kube-system\/rke2-canal-.*: ImagePullBackOff/);
      assert.ok(stage.vm(1100).running && stage.vm(1101).running);
      isBack();
      for (const pod of objects.list("pods").filter(({ spec }) => isOnNew(spec?.nodeName)))
        objects.put("pods", { ...pod, status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] } });
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
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

  it("are not begun under the name of another machine's Node", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      const name = stage.nameOf(1100).replace(/-[0-9a-f]{8}$/, "-09c3448c");
      const nodeInfo = { systemUUID: "6b0124f9-0000-4000-8000-000000000101" };
      world.cluster.objects.put("nodes", { metadata: { name }, status: { nodeInfo, conditions: [] } });
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /a Node demo-workers-0-09c3448c exists and is another machine/);
      assert.equal(world.dc.vms.get(1101)?.running, false);
    });
    assert.deepEqual(world.story.violations, []);
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

  it("do not come beside incomplete ones that hold pods and cannot be emptied: more than surge would run (seed 7801079)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const grown = { ...stage.before, slots: 4 };
    const serving = () =>
      world.cluster.objects.list("nodes").filter(({ metadata }) => /workers-[123]/.test(metadata.name));
    await stage.play(async () => {
      assert.equal(await stage.dieAt(grown, () => serving().length === 3), "killed");
      await world.time.sleep(60_000);
      world.cluster.pods.deploy({ name: "app", replicas: 8, minAvailable: 0, slowestEnd: 1000, claims: false });
      await world.time.sleep(30_000);
      world.defect = (call) =>
        call.path.endsWith("/eviction") ? status(500, "InternalError", "a webhook is away") : world.honest(call);
      assert.equal(await stage.up({ ...grown, rollout: 1 }), "failed");
      assert.match(stage.engine.why, /workers-0-handover: demo-workers-0-.* could not be emptied/);
      world.defect = undefined;
      assert.equal(await stage.up({ ...grown, rollout: 1 }), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("take over from an incomplete one that alone has pods once the next one is there (seed 570052720)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const grown = { ...stage.before, slots: 2 };
    const isNew = ({ metadata }: Stored) => metadata.name.startsWith("demo-workers-1-");
    await stage.play(async () => {
      assert.equal(await stage.dieAt(grown, () => world.cluster.objects.list("nodes").some(isNew)), "killed");
      // Somebody has cordoned the only other one: a pod that is evicted finds no place, and the next one is held.
      const first = world.cluster.objects.get("nodes", stage.nameOf(1100));
      assert.ok(first);
      world.cluster.objects.put("nodes", { ...first, spec: { ...first.spec, unschedulable: true } });
      await world.time.sleep(60_000);
      world.cluster.pods.deploy({ name: "app", replicas: 2, minAvailable: 1, slowestEnd: 1000, claims: false });
      await world.time.sleep(30_000);
      assert.equal(await stage.up({ ...grown, rollout: 1 }), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("are left incomplete beside an owner that falls while the join of its successor waits for a ticket", async () => {
    const workloads = [{ name: "app", replicas: 4, minAvailable: 0, slowestEnd: 1000, claims: false }];
    const stage = new Stage(stageImages(), { servers: 1, agents: 1, workloads });
    const { world } = stage;
    await stage.play(async () => {
      const isNew = ({ metadata }: Stored) => metadata.name.endsWith("-09c3448c");
      assert.equal(
        await stage.dieAt(stage.agentsOf(1), () => world.cluster.objects.list("nodes").some(isNew)),
        "killed",
      );
      await world.time.sleep(60_000);
      const incomplete = stage.vm(1101);
      let isWaiting = false;
      world.defect = (call) => {
        const { process, method, path, body } = call;
        // The host is silent for the rollout, and a process that has died holds the disruption lease that the join
        // needs.
        if (process.name.startsWith("rollout-") && path.includes("/qemu/1101/"))
          return { status: 595, reason: "No route to host" };
        if (!isWaiting && method === "POST" && path.endsWith("/leases") && body.includes("ticket-workers-0")) {
          isWaiting = process.name.startsWith("join-");
          if (isWaiting) {
            stage.cutPower(1100);
            const metadata = { name: "ticket-workers-0", namespace: "evergreen-system" };
            world.cluster.objects.put("leases", {
              metadata,
              spec: { holderIdentity: "one", leaseDurationSeconds: 15 },
            });
          }
        }
        return world.honest(call);
      };
      const run = stage.up(stage.agentsOf(2));
      await stage.until(() => isWaiting);
      await world.time.sleep(25_000);
      assert.ok(incomplete.running);
      assert.equal(await run, "done", stage.engine.why);
      assert.equal(world.dc.vms.get(1101), undefined);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("are left incomplete in a slot that nobody has when they register while the join of their successor waits for a ticket", async () => {
    const workloads = [{ name: "app", replicas: 4, minAvailable: 0, slowestEnd: 1000, claims: false }];
    const stage = new Stage(stageImages(), { servers: 1, agents: 2, workloads });
    const { world } = stage;
    const { objects } = world.cluster;
    const isNew = ({ metadata }: Stored) => metadata.name.startsWith("demo-workers-2-");
    world.watcher.availability.promises.set("workers", { fewest: 2, most: 3, surge: 1, maxUnavailable: 1 });
    await stage.play(async () => {
      const grown = { ...stage.before, slots: 3 };
      assert.equal(await stage.dieAt(grown, () => objects.list("nodes").some(isNew)), "killed");
      await world.time.sleep(60_000);
      const node = objects.list("nodes").find(isNew);
      assert.ok(node);
      objects.remove("nodes", node.metadata.name);
      let isWaiting = false;
      world.defect = (call) => {
        const { process, method, path, body } = call;
        // The host is silent for the rollout, and a process that has died holds the disruption lease that the join
        // needs.
        if (process.name.startsWith("rollout-") && path.includes("/qemu/1102/"))
          return { status: 595, reason: "No route to host" };
        const asks = method === "POST" && path.endsWith("/leases") && body.includes("ticket-workers-0");
        if (!isWaiting && asks && process.name.startsWith("join-demo-workers-2-")) {
          isWaiting = true;
          stage.cutPower(1100, 1101);
          const metadata = { name: "ticket-workers-0", namespace: "evergreen-system" };
          objects.put("leases", { metadata, spec: { holderIdentity: "one", leaseDurationSeconds: 15 } });
          objects.put("nodes", node);
          for (const pod of objects.list("pods").filter(({ metadata: { labels } }) => labels?.app === "app"))
            objects.put("pods", { ...pod, spec: { ...pod.spec, nodeName: node.metadata.name } });
        }
        return world.honest(call);
      };
      // Slots 0 and 1 come after it in this run, and are down.
      assert.equal(await stage.up({ ...grown, rollout: 1 }), "failed");
      assert.match(stage.engine.why, /slot 2 of pool workers, whose demo-workers-2-\w+ serves on/);
      assert.ok(isWaiting);
      assert.ok(stage.vm(1102).running);
      assert.equal(await stage.up({ ...grown, rollout: 1 }), "done", stage.engine.why);
      assert.equal(world.dc.vms.get(1102), undefined);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("are not left incomplete for one write that failed on a host that answers (seed 680011497)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      assert.equal(await stage.dieAt(stage.agentsOf(1), () => world.dc.vms.get(1101)?.running === true), "killed");
      await world.time.sleep(30_000);
      world.defect = (call) =>
        call.method === "PUT" && call.path.endsWith("/1101/config")
          ? { status: 596, reason: "Broken pipe" }
          : world.honest(call);
      assert.equal(await stage.up(stage.agentsOf(2)), "failed");
      assert.match(stage.engine.why, /workers-rollout: .*Broken pipe/);
      world.defect = undefined;
      assert.equal(await stage.up(stage.agentsOf(2)), "done", stage.engine.why);
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

  for (const step of ["rollout", "claim", "join", "handover", "verify"])
    it(`are changed no more by a ${step} whose engine has lost the cluster`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
      const { world, engine } = stage;
      await stage.play(async () => {
        const writes: string[] = [];
        const isIt = (name: string) => name.startsWith(`${step}-demo-workers`);
        world.defect = (call) => {
          if (call.method !== "GET" && isIt(call.process.name)) writes.push(`${call.method} ${call.path}`);
          return world.honest(call);
        };
        engine.mayUpdate = (name) => !isIt(name);
        assert.equal(await stage.up(stage.agentsOf(1)), "failed");
        assert.match(engine.why, new RegExp(`-${step}: the lease update was lost`));
        assert.deepEqual(writes, []);
      });
      assert.deepEqual(world.story.violations, []);
    });

  // Lost with the network of the VMs: the storage on which the statistics daemon of the host waits.
  for (const also of ["", ", whose statistics hang"]) {
    it(`are not judged in their soak for the network of one host, on which nobody is heard for a minute${also}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 4, soakSeconds: 120 });
      const { world } = stage;
      const { objects, nodes } = world.cluster;
      const record = () => JSON.stringify(objects.get("configmaps", "evergreen-system/pool-workers")?.data);
      await stage.play(async () => {
        const run = stage.up(stage.agentsOf(1));
        await stage.until(() => record().includes("soaking"));
        await world.time.sleep(20_000);
        const away = [...world.dc.vms.values()].filter(({ running, host }) => running && host === "pve1");
        if (also !== "") world.dc.withoutStatistics.add("pve1");
        for (const { name } of away) world.watcher.touchedByFate(name);
        const ends = away.map(({ name }) => nodes.stall(name));
        await world.time.sleep(60_000);
        for (const end of ends) end();
        assert.equal(await run, "failed");
        assert.match(stage.engine.why, /was disturbed.* no node on the Proxmox host pve1 was heard: demo-servers-0/);
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
        assert.doesNotMatch(record(), /failed|soaking/);
      });
      assert.deepEqual(world.story.violations, []);
    });

    it(`are not judged for the network of one host, on which nobody else is heard when they do not register${also}`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 5 });
      const { world } = stage;
      const { objects, nodes } = world.cluster;
      const record = () => JSON.stringify(objects.get("configmaps", "evergreen-system/pool-workers")?.data);
      await stage.play(async () => {
        const away = [...world.dc.vms.values()].filter(({ running, host }) => running && host === "pve2");
        if (also !== "") world.dc.withoutStatistics.add("pve2");
        for (const { name } of away) world.watcher.touchedByFate(name);
        const ends = away.map(({ name }) => nodes.stall(name));
        await world.time.sleep(60_000);
        world.watcher.availability.runBegins();
        const register = nodes.register.bind(nodes);
        const isAway = (name: string) =>
          [...world.dc.vms.values()].some((vm) => vm.name === name && vm.host === "pve2");
        nodes.register = (name, ...rest) => !isAway(name) && register(name, ...rest);
        assert.equal(await stage.up(stage.agentsOf(1)), "failed");
        assert.match(
          stage.engine.why,
          /to be Ready.*no node on the Proxmox host pve2 is heard: demo-workers-\d-cfcccdce, demo-/,
        );
        assert.doesNotMatch(record(), /failed/);
        nodes.register = register;
        for (const end of ends) end();
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      });
      assert.deepEqual(world.story.violations, []);
    });
  }

  it("are judged when they do not register on a host whose only other nodes are off", async () => {
    const stage = new Stage(stageImages("never-ready"), { servers: 1, agents: 5 });
    const { world } = stage;
    const { objects, nodes } = world.cluster;
    await stage.play(async () => {
      const off = [...world.dc.vms.values()].filter(({ running, host }) => running && host === "pve2");
      stage.cutPower(...off.map(({ vmid }) => vmid));
      await world.time.sleep(60_000);
      world.watcher.availability.runBegins();
      nodes.register = () => false;
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /it never registered/);
      assert.match(JSON.stringify(objects.get("configmaps", "evergreen-system/pool-workers")?.data), /failed/);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("are watched in their soak from its beginning, and not from before a slot that is no more was cleared", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1, soakSeconds: 60 });
    const { world } = stage;
    const { objects, nodes } = world.cluster;
    const isIn = (slot: number) => (one: Stored) => one.metadata.name.startsWith(`demo-workers-${slot}-`);
    await stage.play(async () => {
      const grown = { ...stage.before, slots: 2 };
      assert.equal(await stage.dieAt(grown, () => objects.list("nodes").some(isIn(1))), "killed");
      await world.time.sleep(60_000);
      const incomplete = stage.vm(1101);
      let isCleared = false;
      world.defect = (call) => {
        const { process, path } = call;
        if (process.name.startsWith("rollout-demo-workers") && path.includes("/qemu/1101/"))
          return { status: 595, reason: "No route to host" };
        if (!isCleared && process.name.startsWith("verify-demo-workers") && path.includes("/qemu/1101/")) {
          isCleared = true;
          incomplete.lock = "backup";
          nodes.flap(objects.list("nodes").find(isIn(0))?.metadata.name ?? "", 60_000);
          world.time.after(90_000, () => (incomplete.lock = undefined));
        }
        return world.honest(call);
      };
      assert.equal(await stage.up({ ...stage.agentsOf(1), slots: 1 }), "done", stage.engine.why);
      assert.ok(isCleared);
    });
    assert.deepEqual(world.story.violations, []);
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

  for (const [what, step, vmid] of [
    ["started", "join-", 1101],
    ["turned off", "handover-", 1100],
  ] as const)
    it(`are ${what} by their identity: another VM takes the number while their power is read`, async () => {
      for (const last of [1, 2, 3, 4]) {
        const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
        const { world } = stage;
        const { dc } = world;
        let reads = 0;
        await stage.play(async () => {
          world.defect = (call) => {
            const answer = world.honest(call);
            const isRead = call.process.name.startsWith(step) && call.path.endsWith(`/qemu/${vmid}/status/current`);
            if (!isRead || (reads += 1) !== last) return answer;
            const { name, host, pool, tags, running, onBoot } = stage.vm(vmid);
            if (running) stage.cutPower(vmid);
            dc.add({ owner: "stranger", vmid, name, host, pool, tags, uuid: dc.uuid(), running, onBoot });
            return answer;
          };
          assert.equal(await stage.up(stage.agentsOf(1)), reads < last ? "done" : "failed");
        });
        assert.deepEqual(world.story.violations, [], `read ${last} of ${step}`);
      }
    });

  it("are the VMs of their numbers, and no backup that somebody restores under a lower one in the middle of a run", async () => {
    const workloads = [{ name: "app", replicas: 4, minAvailable: 0, slowestEnd: 1000, claims: false }];
    for (const step of ["rollout-", "join-", "handover-"]) {
      const stage = new Stage(stageImages(), { servers: 1, agents: 2, workloads });
      const { world } = stage;
      const { dc } = world;
      await stage.play(async () => {
        let wish = stage.agentsOf(1);
        let vmid = 1100;
        if (step !== "handover-") {
          assert.equal(await stage.dieAt(wish, () => dc.vms.get(1102)?.running === true), "killed");
          await world.time.sleep(60_000);
          [wish, vmid] = [stage.agentsOf(2), 1102];
        }
        const { name, host, pool, tags, uuid } = stage.vm(vmid);
        let isRestored = false;
        world.defect = (call) => {
          if (!isRestored && call.process.name.startsWith(step)) {
            isRestored = true;
            const all = [...dc.vms.values()];
            dc.vms.clear();
            dc.add({ owner: "stranger", vmid: 1050, name, host, pool, tags, uuid, onBoot: true });
            for (const vm of all) dc.vms.set(vm.vmid, vm);
          }
          // The host is silent for the rollout, and not for the join of the slot.
          const isSilent =
            step === "join-" && call.process.name.startsWith("rollout-") && call.path.includes("/qemu/1102/");
          return isSilent ? { status: 595, reason: "No route to host" } : world.honest(call);
        };
        assert.equal(await stage.up(wish), "done", stage.engine.why);
        assert.ok(isRestored);
        assert.ok(dc.vms.get(1050)?.onBoot);
      });
      assert.deepEqual(world.story.violations, [], step);
    }
  });
});

/** The images of some pods cannot be fetched. @returns a function that ends it, for pods that come later */
function unfetched({ world }: Stage, isHit: (pod: Stored) => boolean): () => void {
  const { objects } = world.cluster;
  const waiting = { reason: "ImagePullBackOff", message: "429 Too Many Requests" };
  const status = { phase: "Pending", containerStatuses: [{ restartCount: 0, state: { waiting } }] };
  const put = objects.put.bind(objects);
  objects.put = (collection, object) =>
    put(collection, collection === "pods" && isHit(object as Stored) ? { ...object, status } : object);
  return () => (objects.put = put);
}
