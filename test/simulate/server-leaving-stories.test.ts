import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import { status } from "./fault-kinds.ts";
import { isReady } from "./nodes.ts";
import { Stage, stageImages } from "./stage.ts";

/** Stories that a seed found, reduced to their smallest form. */
describe("a server that is replaced in virtual time", function () {
  this.timeout(60_000);

  it("has handed over what it leads before its member goes, and controllers work in the end", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { dc, cluster } = stage.world;
    const { control, objects } = cluster;
    await stage.play(async () => {
      for (const vmid of [1000, 1001, 1002]) dc.vms.get(vmid)?.disk.set(guest.yielded, "handover-of-then");
      const asked = new Map<string, boolean>();
      objects.onChange(({ collection, object: { metadata } }) => {
        const { name, annotations = {} } = metadata;
        if (collection !== "nodes" || annotations["etcd.rke2.cattle.io/remove"] !== "true" || asked.has(name)) return;
        asked.set(
          name,
          [...control.servers].some(({ vm, yielding }) => vm.name === name && yielding),
        );
      });
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
      assert.equal(control.managers.pausedBy, undefined);
      assert.deepEqual([...asked.values()], [true, true, true]);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});

describe("the last server of a rollout that a run could not empty, days ago", function () {
  this.timeout(60_000);

  it("does not leave before there is another etcd snapshot", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      const spec = { attacher: "csi.example", nodeName: stage.nameOf(1002), source: { persistentVolumeName: "pv-7" } };
      objects.put("volumeattachments", { metadata: { name: "csi-7" }, spec });
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.match(stage.engine.why, /servers-2-handover: gave up/);
      await stage.world.time.sleep(48 * 3_600_000);
      objects.remove("volumeattachments", "csi-7");
      assert.equal(objects.list("etcdsnapshotfiles").length, 1);
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
      assert.equal(objects.list("etcdsnapshotfiles").length, 2);
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
      assert.deepEqual(stage.engine.ran, []);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});

describe("a server that was emptied while another one fell", function () {
  this.timeout(60_000);

  it("stays in etcd, and serves again", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { dc, cluster, time, watcher } = stage.world;
    await stage.play(async () => {
      const [old, fallen] = [stage.nameOf(1000), dc.vms.get(1002)];
      assert.ok(fallen);
      const spec = { attacher: "csi.example", nodeName: old, source: { persistentVolumeName: "pv-7" } };
      cluster.objects.put("volumeattachments", { metadata: { name: "csi-7" }, spec });
      const isCordoned = () => cluster.objects.get("nodes", old)?.spec?.unschedulable === true;
      const run = stage.up(stage.serversOf(1));
      await stage.until(isCordoned);
      watcher.struck(fallen.name);
      dc.powerCut(fallen);
      await time.sleep(40_000);
      cluster.objects.remove("volumeattachments", "csi-7");
      assert.equal(await run, "failed");
      assert.match(
        stage.engine.why,
        /servers-0-\w+ may not be taken out of etcd now: demo-servers-2-\w+ is a voter and not/,
      );
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("stays in etcd also when the other one falls while the lease of its slot is asked for", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { cluster, time } = world;
    await stage.play(async () => {
      const old = stage.nameOf(1000);
      const spec = { attacher: "csi.example", nodeName: old, source: { persistentVolumeName: "pv-7" } };
      cluster.objects.put("volumeattachments", { metadata: { name: "csi-7" }, spec });
      const run = stage.up(stage.serversOf(1));
      await stage.until(() => cluster.objects.get("nodes", old)?.spec?.unschedulable === true);
      stage.loseLease("handover-");
      await time.sleep(15_000);
      cluster.objects.remove("volumeattachments", "csi-7");
      await time.sleep(5000);
      stage.cutPower(1002);
      await time.sleep(20_000);
      world.believes = () => undefined;
      assert.equal(await run, "failed");
    });
    assert.match(
      stage.engine.why,
      /servers-0-\w+ may not be taken out of etcd now: demo-servers-2-\w+ is a voter and not/,
    );
    assert.deepEqual(world.story.violations, []);
  });
});

describe("a server whose kubeconfig is cut off, as on a full disk", function () {
  this.timeout(60_000);

  for (const text of ["", "\0\0\0", "apiVersion: v1\nclusters:\n- cluster: {server"])
    it(`is passed over for another one, and named when there is none: ${JSON.stringify(text)}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
      await stage.play(async () => {
        stage.vm(1000).disk.set(guest.kubeconfig, text);
        assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
        for (const vmid of [1001, 1002]) stage.vm(vmid).disk.set(guest.kubeconfig, text);
        assert.equal(await stage.up(stage.agentsOf(2)), "refused");
      });
      assert.match(stage.engine.why, /demo-servers-0-\w+: the kubeconfig (has no|is cut off or broken)/);
      assert.deepEqual(stage.world.story.violations, []);
    });
});

describe("most servers that are off", function () {
  this.timeout(60_000);

  it("keep an update from beginning, and are named", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    await stage.play(async () => {
      stage.cutPower(1001, 1002);
      await stage.world.time.sleep(20_000);
      assert.equal(await stage.up(stage.agentsOf(1)), "refused");
    });
    assert.match(
      stage.engine.why,
      /etcd has lost its quorum: 1 of 3 servers runs.*demo-servers-1-\w+ \(VM 1001\) is off/,
    );
    const isOurs = (line: string) => !line.startsWith("etcd has no quorum");
    assert.deepEqual(stage.world.story.violations.filter(isOurs), []);
  });
});

describe("the last server that is replaced", function () {
  this.timeout(60_000);

  it("is not gone before the others are well without it", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { dc, cluster, time } = stage.world;
    await stage.play(async () => {
      const last = stage.nameOf(1002);
      let wellAt = Infinity;
      cluster.objects.onChange(({ collection, object: { metadata }, removed }) => {
        if (collection !== "nodes" || metadata.name !== last || !removed) return;
        wellAt = time.elapsed() + 45_000;
        dc.vms.get(1003)?.guest?.server?.partition(45_000);
      });
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
      assert.ok(time.elapsed() >= wellAt);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});

describe("a server whose member is out of etcd already", function () {
  this.timeout(60_000);

  it("is not drained by the next run while its Node still looks Ready: nobody there ends a pod", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { etcd } = stage.world.cluster.control;
    const { dc, cluster } = stage.world;
    await stage.play(async () => {
      const { name, uuid } = dc.vms.get(1000) ?? { name: "", uuid: "" };
      const run = stage.dieAt(stage.serversOf(1), () => !etcd.members.some((member) => member.uuid === uuid));
      assert.equal(await run, "killed");
      const node = cluster.objects.get("nodes", name);
      assert.ok(node);
      // The Node keeps looking Ready, as within its grace period, however long the step takes.
      cluster.objects.onChange(({ collection, object, removed }) => {
        if (collection === "nodes" && object.metadata.name === name && !removed && !isReady(object))
          cluster.objects.put("nodes", { ...object, status: { ...object.status, ...node.status } });
      });
      // A pod that tolerates the cordon came back.
      cluster.objects.put("pods", {
        metadata: {
          name: "agent-1",
          namespace: "load",
          ownerReferences: [{ kind: "ReplicaSet", name: "agent", uid: "owner-agent", controller: true }],
        },
        spec: { nodeName: name },
        status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] },
      });
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
    });
  });
});

describe("a server whose retirement was broken off after it had left etcd", function () {
  this.timeout(60_000);

  const isOut = (stage: Stage, vmid: number) => {
    const { uuid } = stage.world.dc.vms.get(vmid) ?? { uuid: "" };
    return () => stage.world.cluster.control.etcd.members.every((member) => member.uuid !== uuid);
  };
  const fall = async ({ world }: Stage, ...vmids: number[]): Promise<void> => {
    for (const vm of vmids.flatMap((vmid) => world.dc.vms.get(vmid) ?? [])) {
      world.watcher.struck(vm.name);
      world.dc.powerCut(vm);
    }
    await world.time.sleep(60_000);
  };

  for (const isHeld of [false, true])
    it(`goes before the join of another slot, which comes first because its server has fallen since${isHeld ? ", be it that a finalizer holds its Node for a while" : ""}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
      const { world } = stage;
      await stage.play(async () => {
        assert.equal(await stage.dieAt(stage.serversOf(1), isOut(stage, 1000)), "killed");
        // Together with the clone that boots ahead, and as if after the rollout step, so that it removes nothing.
        await fall(stage, 1002, 1004);
        world.skips = (urn) => urn === "demo-servers-rollout";
        const node = `/api/v1/nodes/${stage.nameOf(1000)}`;
        world.defect = (call) => {
          if (!isHeld || call.method !== "DELETE" || call.path !== node) return world.honest(call);
          world.time.after(10_000, () => world.honest(call));
          return { status: 200, reason: "OK", body: "{}" };
        };
        assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("goes before the join of its own slot", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      const [isLeft, node] = [isOut(stage, 1000), stage.nameOf(1000)];
      await fall(stage, 1000);
      world.defect = (call) =>
        call.method === "DELETE" && call.path === `/api/v1/nodes/${node}`
          ? status(500, "InternalError", "no leader")
          : world.honest(call);
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.ok(isLeft(), stage.engine.why);
      world.defect = undefined;
      await fall(stage, 1003, 1004);
      world.skips = (urn) => urn === "demo-servers-rollout";
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("goes before a handover whose node has joined already, when its own slot is no more", async () => {
    const stage = new Stage(stageImages(), { servers: 5, agents: 1 });
    const { world } = stage;
    const { dc, cluster } = world;
    const roll = stage.serversOf(1);
    await stage.play(async () => {
      const hasJoined = () =>
        JSON.stringify(cluster.objects.get("configmaps", "evergreen-system/slot-servers-0")?.data).includes(
          String.raw`phase\":\"joined`,
        );
      assert.equal(await stage.dieAt(roll, hasJoined), "killed");
      const isLeft = isOut(stage, 1004);
      await fall(stage, 1004);
      const node = `/api/v1/nodes/${stage.nameOf(1004)}`;
      world.defect = (call) => {
        const isLast = call.method === "DELETE" && call.path === node;
        // Later its VM is out of reach for the rollout alone.
        const isSilent = call.process.name.startsWith("rollout-") && call.path.endsWith("/1004/status/current");
        if (isSilent) return { status: 595, reason: "No route to host" };
        return isLast && call.process.name.startsWith("join-")
          ? status(500, "InternalError", "no leader")
          : world.honest(call);
      };
      assert.equal(await stage.up(roll), "failed");
      assert.ok(isLeft(), stage.engine.why);
      const { servers = { image: "", count: 0, cores: 0 }, ...agents } = roll;
      assert.equal(await stage.up({ ...agents, servers: { ...servers, count: 3 } }), "done", stage.engine.why);
      assert.ok(dc.vms.get(1004) === undefined);
    });
    assert.deepEqual(world.story.violations, []);
  });
});

describe("a server whose retirement was broken off while it was a voter still", function () {
  this.timeout(60_000);

  it("leaves the turn to one that has fallen since and never comes back: only the dead may go then", async () => {
    for (const [fallen, then] of [
      [1002, 1],
      [1003, 2],
    ] as const) {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
      const { cluster, time } = stage.world;
      await stage.play(async () => {
        const { uuid } = stage.vm(1001);
        const isRetired = () =>
          JSON.stringify(cluster.objects.get("configmaps", "evergreen-system/slot-servers-1")?.data).includes(
            String.raw`\"phase\":\"retired`,
          );
        assert.equal(await stage.dieAt(stage.serversOf(1), isRetired), "killed");
        assert.ok(cluster.control.etcd.voters().some((voter) => voter.uuid === uuid));
        stage.cutPower(fallen);
        await time.sleep(60_000);
        assert.equal(await stage.up(stage.serversOf(then)), "done", stage.engine.why);
      });
      assert.deepEqual(stage.world.story.violations, []);
    }
  });
});

describe("a server whose removal was asked for by a step that failed", function () {
  this.timeout(60_000);

  it("goes on leaving when its member goes in the middle of that (seed 680020738)", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { etcd, servers, watcher } = world.cluster.control;
    await stage.play(async () => {
      const member = etcd.members.find(({ uuid }) => uuid === world.dc.vms.get(1000)?.uuid);
      assert.ok(member);
      let isAsked = false;
      world.defect = (call) => {
        const answer = world.honest(call);
        const isFile = call.path.endsWith("/1000/agent/file-write");
        const file = isFile && new URLSearchParams(call.body).get("file");
        if (file !== guest.yield || isAsked) return answer;
        isAsked = true;
        etcd.remove(member.uuid, () => watcher.removes(member, true));
        for (const server of servers) if (server.vm.vmid === 1000) server.stopControlPlane("removed");
        return answer;
      };
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
      assert.ok(isAsked);
    });
    assert.deepEqual(world.story.violations, []);
  });
});

describe("a server that is drained, and of whose members one answer is lost", function () {
  this.timeout(60_000);

  it("leaves all the same: RKE2 is asked again", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { control, objects } = world.cluster;
    await stage.play(async () => {
      const unreachable = control.unreachable.bind(control);
      const isDrained = () => objects.get("nodes", stage.nameOf(1000))?.spec?.unschedulable === true;
      let isLost = false;
      control.unreachable = (call) => {
        const isLook = call.path === "/db/info" && call.process.name === "handover-demo-servers-0";
        if (isLost || !isLook || !isDrained()) return unreachable(call);
        isLost = true;
        return { lost: { after: false, how: "hang up" } };
      };
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
      assert.ok(isLost);
    });
    assert.deepEqual(world.story.violations, []);
  });
});

describe("a server that a killed run left as a learner without a Node", function () {
  this.timeout(60_000);

  it("is not turned off when it gets its vote, and leaves once it has its Node", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { control, nodes } = world.cluster;
    const { etcd } = control;
    const change = (uuid: string, to: Partial<(typeof etcd.members)[number]>) =>
      (etcd.members = etcd.members.map((one) => (one.uuid === uuid ? { ...one, ...to } : one)));
    let registers = (): unknown => undefined;
    let isVoter = false;
    await stage.play(async () => {
      const register = nodes.register.bind(nodes);
      nodes.register = (name, ...rest) => {
        if (name !== stage.nameOf(1003) || isVoter) return register(name, ...rest);
        registers = () => nodes.register(name, ...rest);
        return false;
      };
      const isLearner = () => etcd.learners().some(({ uuid }) => uuid === stage.vm(1003).uuid);
      assert.equal(await stage.dieAt(stage.serversOf(1), isLearner), "killed");
      const { name, uuid } = stage.vm(1003);
      change(uuid, { readyAt: Infinity });
      world.defect = (call) => {
        if (!isVoter && call.process.name.startsWith("rollout-") && call.path.endsWith("/db/info")) {
          isVoter = true;
          world.time.after(30_000, () => {
            change(uuid, { learner: false });
          });
          world.time.after(50_000, () => {
            registers();
            nodes.reachAt(name, etcd.member(uuid)?.address ?? "");
            nodes.speaks(name, 1000);
            control.tell(name);
          });
        }
        const isDead = isVoter && etcd.member(uuid) !== undefined && world.dc.vms.get(1003)?.running !== true;
        assert.equal(isDead, false, "a voter is off");
        return world.honest(call);
      };
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      assert.ok(isVoter);
      assert.equal(etcd.member(uuid), undefined);
    });
    assert.deepEqual(world.story.violations, []);
  });
});
