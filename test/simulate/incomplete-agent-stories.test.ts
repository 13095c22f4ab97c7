import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import { status } from "./fault-kinds.ts";
import type { Stored } from "./objects.ts";
import { Stage, stageImages } from "./stage.ts";

/** Clones that never joined, and nodes that never got their slot: who takes their place, and when. */
describe("agents beside what a run left incomplete, in virtual time", function () {
  this.timeout(60_000);

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
});
