import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import { byHand, giveLabel, pinTo, takeLease } from "./by-hand.ts";
import { status } from "./fault-kinds.ts";
import type { Stored } from "./objects.ts";
import { Stage, stageImages } from "./stage.ts";

/** Stories that a seed found, reduced to their smallest form. */
describe("agents that leave, in virtual time", function () {
  this.timeout(60_000);

  it("are taken for no destroy when their slot was handed over while nobody saw them (438752025)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1, allowDestroy: true });
    const { cluster } = stage.world;
    await stage.play(async () => {
      const old = stage.vm(1100);
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => stage.world.dc.vms.get(1101)?.running === true);
      cluster.objects.remove("nodes", old.name);
      const { pool } = old;
      old.pool = "theirs";
      await run;
      old.pool = pool;
      await stage.world.time.sleep(60_000);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      const { data = {} } = cluster.objects.get("configmaps", "evergreen-system/cluster") ?? assert.fail();
      assert.ok(!("goingAway" in (data as object)), "the cluster is being torn down");
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("wait for what was evicted also when a node takes its own slot back, and the run before has failed", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { cluster, watcher } = stage.world;
    await stage.play(async () => {
      const old = stage.nameOf(1100);
      stage.cutPower(1100);
      const isNew = ({ metadata }: Stored) => metadata.name.startsWith("demo-workers-0-") && metadata.name !== old;
      const hasJoined = () =>
        cluster.objects.list("nodes").some(isNew) &&
        JSON.stringify(cluster.objects.get("configmaps", "evergreen-system/slot-workers-0")?.data).includes("joined");
      assert.equal(await stage.dieAt(stage.agentsOf(1), hasJoined), "killed");
      await stage.world.time.sleep(60_000);
      await pinTo(stage, cluster.objects.list("nodes").find(isNew)?.metadata.name ?? "");
      watcher.availability.runBegins();
      // Its pod runs on, since no other node has the label.
      for (const run of [1, 2]) {
        assert.equal(await stage.up(stage.before), "failed", `run ${run}`);
        assert.match(stage.engine.why, /load\/pinned-\d+: demo-workers-0-\w+, where it is, leaves as well/);
      }
    });
  });

  it("leave as many at once as the update says that gives their slots up (edits, seed 2182)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 4, maxUnavailable: 3 });
    const strategy = { kind: "rolling", surge: 1, maxUnavailable: 1, soakSeconds: 0 };
    await stage.play(async () => {
      assert.equal(await stage.up({ ...stage.before, slots: 1, strategy }), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("drain nobody while what an earlier run evicted from another slot has no place (seed 89623945)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    await stage.play(async () => {
      await pinTo(stage, stage.nameOf(1101));
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /workers-1-handover: .* have found no place/);
      // The slot does not count as handed over just because its predecessor is gone.
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /workers-1-handover: .* have found no place/);
      await stage.world.time.sleep(60_000);
      assert.equal(await stage.up(stage.agentsOf(2)), "failed");
      assert.match(stage.engine.why, /workers-1-handover: pods that left earlier nodes .* load\/pinned-/);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("wait for what was evicted also when the node that remembered it was retired and comes again (30980913)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    await stage.play(async () => {
      await pinTo(stage, stage.nameOf(1100));
      const next = stage.agentsOf(1);
      for (const wish of [next, stage.before, stage.before]) {
        assert.equal(await stage.up(wish), "failed");
        assert.match(
          stage.engine.why,
          /workers-0-handover: pods .* (?:have found no place|do not run elsewhere) .* load\/pinned-/,
        );
        await stage.world.time.sleep(60_000);
      }
      assert.equal(await stage.up(next), "failed");
      assert.match(stage.engine.why, /workers-0-handover: pods that left earlier nodes .* load\/pinned-/);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are drained no more than others while what was evicted has no place, when they are heard again by then", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { cluster, time, watcher } = stage.world;
    await stage.play(async () => {
      await pinTo(stage, stage.nameOf(1101));
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /workers-1-handover: .* have found no place/);
      await time.sleep(60_000);
      const [silent] = cluster.objects.list("nodes").filter(({ metadata }) => metadata.name.includes("workers-0-"));
      assert.ok(silent);
      cluster.pods.deploy({ name: "app", replicas: 2, minAvailable: 0, slowestEnd: 1000, claims: false });
      await time.sleep(30_000);
      watcher.struck(silent.metadata.name);
      cluster.nodes.flap(silent.metadata.name, 200_000);
      await time.sleep(60_000);
      assert.equal(await stage.up(stage.agentsOf(2)), "failed");
      assert.match(stage.engine.why, /workers-0-handover: pods that left earlier nodes .* load\/pinned-/);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("stay while their successor falls, be it that the lease of their slot is asked for meanwhile", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const { dc, time, cluster } = world;
    await stage.play(async () => {
      const old = stage.vm(1100);
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => cluster.objects.get("nodes", stage.nameOf(1101)) !== undefined);
      // The handover waits for the backup before it cordons.
      old.lock = "backup";
      await stage.until(() => cluster.objects.get("leases", "evergreen-system/ticket-workers-0") !== undefined);
      await time.sleep(10_000);
      stage.loseLease("handover-");
      await time.sleep(15_000);
      stage.cutPower(1101);
      await time.sleep(5000);
      old.lock = undefined;
      await time.sleep(20_000);
      world.believes = () => undefined;
      assert.equal(await run, "failed");
      assert.match(stage.engine.why, /workers-0-\w+ does not serve, so nobody leaves its slot: its VM does not run/);
      assert.ok(dc.vms.get(1100)?.running);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("stay when their successor gets a taint after it was seen to serve, while other answers take long", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const { objects } = world.cluster;
    await stage.play(async () => {
      const old = stage.nameOf(1100);
      const isCordoned = () => objects.get("nodes", old)?.spec?.unschedulable === true;
      const taint = () => {
        const [node] = objects.list("nodes").filter(({ metadata }) => metadata.name.endsWith("-workers-0-09c3448c"));
        const taints = [{ key: "example.com/by-hand", effect: "NoSchedule" }];
        if (node) objects.put("nodes", { ...node, spec: { ...node.spec, taints } });
      };
      const asked = new Map<string, number>();
      let isChangeable = false;
      world.defect = (call) => {
        const { method, path, process } = call;
        if (process.name !== "handover-demo-workers-0") return world.honest(call);
        isChangeable ||= method === "PUT" && path.endsWith("/1100/config");
        if (!isChangeable || method !== "GET") return world.honest(call);
        const tries = (asked.get(path) ?? 0) + 1;
        asked.set(path, tries);
        if (tries === 1 && path.endsWith("/1101/status/current")) taint();
        // Each answer comes with the last try.
        if (tries % 4 === 0) return world.honest(call);
        return { status: path.startsWith("/api") ? 503 : 596, reason: "Connection timed out", body: "" };
      };
      let wasCordoned = false;
      objects.onChange(() => (wasCordoned ||= isCordoned()));
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(
        stage.engine.why,
        /does not serve, so nobody leaves its slot: it has the taint example.com\/by-hand/,
      );
      assert.equal(wasCordoned, false);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("are not taken out further by a step that has lost their slot while it waited, and could not ask", async () => {
    const workloads = [{ name: "app", replicas: 2, minAvailable: 1, slowestEnd: 1000, claims: false }];
    for (const wait of ["its pods", "its volumes", "its guest", "its shutdown"] as const) {
      const stage = new Stage(stageImages(), { servers: 1, agents: 1, workloads });
      const { world } = stage;
      const { objects } = world.cluster;
      await stage.play(async () => {
        const old = stage.nameOf(1100);
        const volume = { attacher: "csi.example", nodeName: old, source: { persistentVolumeName: "pv-7" } };
        if (wait === "its volumes") objects.put("volumeattachments", { metadata: { name: "csi-7" }, spec: volume });
        if (wait === "its pods") world.cluster.refusesEvictions = status(500, "InternalError", "a webhook is away");
        const own = stage.vm(1100);
        // A backup freezes the guest when its join data is wiped.
        if (wait === "its guest" && own.guest) own.guest.frozen = true;
        const marker = own.disk.get(guest.marker);
        const isThere = () =>
          wait !== "its shutdown"
            ? objects.get("nodes", old)?.spec?.unschedulable === true
            : [...world.dc.tasks.values()].some(({ type, vmid }) => type === "qmshutdown" && vmid === 1100);
        // A slow shutdown: the guest still runs when another process holds the lease of its slot.
        world.defect = (call) =>
          wait === "its shutdown" &&
          call.path.includes("/tasks/") &&
          call.path.endsWith("/status") &&
          isThere() &&
          isAway()
            ? { status: 200, reason: "OK", body: JSON.stringify({ data: { status: "running" } }) }
            : world.honest(call);
        const run = stage.up(stage.agentsOf(1));
        await stage.until(isThere);
        stage.loseLease("handover-");
        await world.time.sleep(20_000);
        takeLease(stage, "slot-workers-0");
        objects.remove("volumeattachments", "csi-7");
        world.cluster.refusesEvictions = undefined;
        if (own.guest) own.guest.frozen = false;
        world.defect = undefined;
        await world.time.sleep(10_000);
        world.believes = () => undefined;
        assert.equal(await run, "failed", wait);
        assert.match(stage.engine.why, /the lease slot-workers-0 was lost: another process took it/);
        assert.ok(objects.get("nodes", old), wait);
        if (wait !== "its shutdown") assert.equal(own.disk.get(guest.marker), marker, wait);

        function isAway(): boolean {
          return objects.get("leases", "evergreen-system/slot-workers-0")?.spec?.holderIdentity !== "somebody";
        }
      });
      assert.deepEqual(world.story.violations, []);
    }
  });

  it("owe nothing any more once their slot is handed over, nor does a node that was given up", async () => {
    const workloads = [{ name: "app", replicas: 2, minAvailable: 1, slowestEnd: 1000, claims: false }];
    const stage = new Stage(stageImages(), { servers: 1, agents: 1, workloads });
    const { cluster } = stage.world;
    const record = () => JSON.stringify(cluster.objects.get("configmaps", "evergreen-system/slot-workers-0")?.data);
    await stage.play(async () => {
      assert.equal(await stage.dieAt(stage.agentsOf(1), () => record().includes("displaced")), "killed");
      assert.equal(await stage.up(stage.agentsOf(2)), "done", stage.engine.why);
      assert.ok(!record().includes("displaced"), record());
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("go beside others that fell while they have been not Ready themselves: that takes nobody away (seed 670714130)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3 });
    const { dc, cluster, watcher, time } = stage.world;
    await stage.play(async () => {
      cluster.nodes.flap(stage.nameOf(1100), 250_000);
      await time.sleep(46_000);
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => dc.vms.get(1103)?.running === true);
      for (const vmid of [1101, 1102]) {
        const other = dc.vms.get(vmid);
        assert.ok(other);
        watcher.struck(other.name);
        dc.powerCut(other);
      }
      await run;
      assert.equal(dc.vms.get(1100)?.running ?? false, false);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are emptied also when their Node comes after the look that found them without one", async () => {
    const workloads = [{ name: "app", replicas: 2, minAvailable: 1, slowestEnd: 1000, claims: false }];
    const stage = new Stage(stageImages(), { servers: 1, agents: 2, workloads });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      const [node] = objects.list("nodes").filter(({ metadata }) => metadata.name.startsWith("demo-workers-0-"));
      assert.ok(node);
      objects.remove("nodes", node.metadata.name);
      await stage.world.time.sleep(60_000);
      let isBack = false;
      objects.onChange(({ collection, object }) => {
        if (isBack || collection !== "leases" || object.metadata.name !== "ticket-workers-0") return;
        isBack = true;
        objects.put("nodes", node);
        for (const pod of objects.list("pods").filter(({ metadata }) => metadata.labels?.app === "app"))
          objects.put("pods", { ...pod, spec: { ...pod.spec, nodeName: node.metadata.name } });
      });
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.ok(isBack);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("drain nobody while another slot of the pool has fallen in the same run, until it serves again", async () => {
    for (const comesBack of [true, false]) {
      const stage = new Stage(stageImages(), { servers: 1, agents: 3 });
      const { dc, cluster, watcher, time } = stage.world;
      const left = () => [...dc.vms.values()].filter(({ vmid, running }) => vmid <= 1102 && running).length;
      await stage.play(async () => {
        const run = stage.up(stage.agentsOf(1));
        await stage.until(() => left() === 3 && cluster.objects.get("nodes", stage.nameOf(1100)) === undefined);
        const fallen = dc.vms.get(1103);
        assert.ok(fallen);
        watcher.struck(fallen.name);
        dc.powerCut(fallen);
        // Long before Kubernetes marks the Node not Ready.
        await time.sleep(60_000);
        assert.equal(left(), 3, "two old agents, and the server");
        if (comesBack) dc.powerOn(fallen);
        assert.equal(await run, comesBack ? "done" : "failed", stage.engine.why);
        if (!comesBack)
          assert.match(
            stage.engine.why,
            /workers-1-handover: .*nobody serves in slot 0 .* at most 1 may be out at once/,
          );
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      });
      assert.deepEqual(stage.world.story.violations, []);
    }
  });

  it("stay while another slot of the pool falls, be it after their own turn to go has begun", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3 });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      const [old, name] = [stage.vm(1100), stage.nameOf(1100)];
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => objects.get("nodes", stage.nameOf(1103)) !== undefined);
      // The handover holds its disruption lease, and waits for the backup before it cordons.
      old.lock = "backup";
      await stage.until(() => objects.get("leases", "evergreen-system/ticket-workers-0") !== undefined);
      await stage.world.time.sleep(10_000);
      stage.cutPower(1102);
      await stage.world.time.sleep(15_000);
      old.lock = undefined;
      assert.equal(await run, "failed");
      assert.match(stage.engine.why, /workers-0-handover: .*nobody serves in slot 2 .* at most 1 may be out at once/);
      assert.ok(old.running);
      assert.notEqual(objects.get("nodes", name)?.spec?.unschedulable, true);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("that have no Node yet are not called retired before they are off (seed 864855764)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const vm = () => world.dc.vms.get(1101);
    await stage.play(async () => {
      assert.equal(await stage.dieAt(stage.agentsOf(1), () => vm()?.running === true), "killed");
      world.defect = (call) =>
        call.path.endsWith("/1101/status/shutdown")
          ? { status: 599, reason: "Too many redirections" }
          : world.honest(call);
      assert.equal(await stage.up(stage.agentsOf(2)), "failed");
      const record = world.cluster.objects.get("configmaps", "evergreen-system/slot-workers-0");
      assert.equal(vm()?.running, true);
      assert.match(JSON.stringify(record?.data), /09c3448c[^{}]*phase\\+":\\+"made/);
      world.defect = undefined;
      assert.equal(await stage.up(stage.agentsOf(2)), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  for (const isStarted of [false, true])
    it(`that were only made are called retired by nobody but who has their slot (seed 910729377${isStarted ? ", started before that" : ""})`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
      const { world } = stage;
      await stage.play(async () => {
        const isClaimed = () => JSON.stringify(world.cluster.objects.list("configmaps")).includes('phase\\":\\"made');
        assert.equal(await stage.dieAt(stage.agentsOf(1), isClaimed), "killed");
        await world.time.sleep(30_000);
        const made = stage.vm(1101);
        world.defect = (call) => {
          // No rollout or handover sees the VM before its release step does.
          made.pool = /^(rollout|handover)-/.test(call.process.name) ? "theirs" : "nodes";
          // The previous holder of the slot has started the VM by then.
          const asks = call.method === "POST" && call.path.endsWith("/leases") && call.body.includes("slot-workers-0");
          if (isStarted && asks && call.process.name.startsWith("release-")) world.dc.powerOn(made);
          return world.honest(call);
        };
        assert.equal(await stage.up(stage.before), "done", stage.engine.why);
        assert.equal(world.dc.vms.get(1101), undefined);
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("are taken out of the cluster, and not whoever has registered under their name since", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const { objects } = world.cluster;
    const name = await stage.play(async () => {
      const old = stage.nameOf(1100);
      world.defect = (call) => {
        const node = objects.get("nodes", old);
        if (call.path.endsWith("/1100/status/shutdown") && node) {
          const metadata = { name: old, labels: node.metadata.labels ?? {} };
          objects.remove("nodes", old);
          const nodeInfo = { systemUUID: "6b0124f9-0000-4000-8000-000000000101" };
          objects.put("nodes", { ...node, metadata, status: { ...node.status, nodeInfo } });
        }
        return world.honest(call);
      };
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      return old;
    });
    assert.match(stage.engine.why, /the precondition of .* does not hold/);
    assert.ok(objects.get("nodes", name));
    assert.deepEqual(world.story.violations, []);
  });

  it("get no pods back whose guest may have been told to leave: the answer was lost (seed 96004498)", async () => {
    const workloads = [{ name: "app", replicas: 3, minAvailable: 1, slowestEnd: 1000, claims: false }];
    const stage = new Stage(stageImages(), { servers: 1, agents: 1, workloads });
    const { world } = stage;
    await stage.play(async () => {
      world.defect = (call) => {
        const answer = world.honest(call);
        const file = call.path.endsWith("/1100/agent/file-write") && new URLSearchParams(call.body).get("file");
        return file === guest.marker ? { status: 595, reason: "No route to host" } : answer;
      };
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /file-write/);
      world.defect = undefined;
      assert.equal(await stage.up({ ...stage.agentsOf(1), rollout: 1 }), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are drained when they were off, and serve again by the time that others do", async () => {
    const workloads = [{ name: "app", replicas: 6, minAvailable: 1, slowestEnd: 1000, claims: false }];
    const stage = new Stage(stageImages(), { servers: 1, agents: 3, workloads });
    const { cluster, dc, time } = stage.world;
    await stage.play(async () => {
      const [own, other] = [stage.vm(1100), stage.vm(1101)];
      stage.onLease("ticket-workers-0", () => {
        stage.cutPower(1100, 1101);
        if (other.seen) other.seen.running = false;
        time.after(25_000, () => [own, other].map((vm) => dc.powerOn(vm)));
        // Some of its pods are back before the list of VMs reports the other VM as running.
        time.after(33_000, () => {
          const pods = cluster.objects.list("pods").filter(({ metadata }) => metadata.labels?.app === "app");
          for (const pod of pods.slice(0, 2))
            cluster.objects.put("pods", { ...pod, spec: { ...pod.spec, nodeName: own.name } });
        });
      });
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("join and leave also when their VMs are migrated while their guests are talked to", async () => {
    for (const [role, vmid] of [
      ["agents", 1102],
      ["servers", 1000],
    ] as const) {
      const stage = new Stage(stageImages(), { servers: 3, agents: 2 });
      const { world } = stage;
      await stage.play(async () => {
        let isMoved = false;
        world.defect = (call) => {
          const answer = world.honest(call);
          if (!isMoved && answer.status === 200 && call.path.includes(`/${vmid}/agent/file-`)) {
            // For a server only a write counts: a search for the API access reads through the list of VMs, which knows
            // the host, while a write is the step itself talking to its own guest.
            isMoved = role === "agents" || call.path.endsWith("file-write");
            if (isMoved) stage.vm(vmid).host = "pve2";
          }
          return answer;
        };
        const wish = role === "agents" ? stage.agentsOf(1) : stage.serversOf(1);
        assert.equal(await stage.up(wish), "done", stage.engine.why);
        assert.ok(isMoved);
      });
      assert.deepEqual(world.story.violations, [], role);
    }
  });

  it("are emptied once more when a pod came while their volumes were waited for (seed 910481103)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { cluster, time } = stage.world;
    const { objects } = cluster;
    await stage.play(async () => {
      const old = stage.nameOf(1100);
      const source = { persistentVolumeName: "pv-7" };
      objects.put("volumeattachments", {
        metadata: { name: "csi-7" },
        spec: { nodeName: old, source, attacher: "csi.example" },
      });
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => objects.get("nodes", old)?.spec?.unschedulable === true);
      await time.sleep(5000);
      giveLabel(stage, old);
      const some = { replicas: 1, minAvailable: 0, slowestEnd: 1000, claims: false };
      cluster.pods.deploy({ ...some, name: "late", selector: byHand, toleratesAll: true });
      await time.sleep(5000);
      for (const { metadata } of objects.list("nodes")) if (metadata.name !== old) giveLabel(stage, metadata.name);
      objects.remove("volumeattachments", "csi-7");
      assert.equal(await run, "done");
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("go with a pod that comes back to them however often it is evicted, and with no other (cilium#28549, rke2#10438)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const some = { replicas: 1, slowestEnd: 1000, claims: false };
    await stage.play(async () => {
      const { pods } = stage.world.cluster;
      pods.deploy({ ...some, name: "operator", minAvailable: 0, toleratesAll: true });
      pods.deploy({ ...some, name: "typha", replicas: 2, minAvailable: 1, toleratesAll: true });
      await stage.world.time.sleep(30_000);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  for (const [title, wish, step] of [
    ["whose slots are given up", ({ before }: Stage) => ({ ...before, slots: 1 }), "retire-demo-workers-"],
    ["that are replaced", (stage: Stage) => stage.agentsOf(1), "handover-demo-workers-"],
  ] as const)
    it(`are not drained while a server does not serve: those ${title}`, async () => {
      const workloads = [{ name: "app", replicas: 4, minAvailable: 1, slowestEnd: 1000, claims: false }];
      const stage = new Stage(stageImages(), { servers: 3, agents: 3, workloads });
      const { world } = stage;
      const { objects } = world.cluster;
      await stage.play(async () => {
        const agents = [1100, 1101, 1102].map((vmid) => stage.nameOf(vmid));
        const isDisturbed = () => agents.some((name) => objects.get("nodes", name)?.spec?.unschedulable !== undefined);
        const { uuid } = stage.vm(1002);
        const { address = "" } = world.cluster.control.etcd.members.find((one) => one.uuid === uuid) ?? {};
        world.defect = (call) => {
          const isAsked = call.path === "/readyz" && call.host.split(":")[0] === address;
          const isDown = isAsked && call.process.name.startsWith(step);
          return isDown ? status(500, "InternalError", "[-]etcd failed: reason withheld") : world.honest(call);
        };
        assert.equal(await stage.up(wish(stage)), "failed");
        assert.match(stage.engine.why, /the control plane is not healthy, so nothing is disturbed: demo-servers-2-/);
        assert.equal(isDisturbed(), false);
        world.defect = undefined;
        assert.equal(await stage.up(wish(stage)), "done", stage.engine.why);
      });
      assert.deepEqual(world.story.violations, []);
    });
});
