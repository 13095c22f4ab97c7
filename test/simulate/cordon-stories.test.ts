import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import { Stage, stageImages } from "./stage.ts";

/** Stories that a seed found, reduced to their smallest form. */
describe("a node that cannot be emptied", function () {
  this.timeout(60_000);

  const nodeOf = ({ world }: Stage, name: string) => {
    const node = world.cluster.objects.get("nodes", name);
    assert.ok(node, `there is no Node ${name}`);
    return node;
  };
  /** Runs `happens` at the moment when a step cordons the node. */
  function onCordon({ world }: Stage, name: string, happens: () => void): void {
    let done = false;
    world.cluster.objects.onChange(({ collection, object }) => {
      if (done || collection !== "nodes" || object.metadata.name !== name || object.spec?.unschedulable !== true)
        return;
      done = true;
      happens();
    });
  }

  it("serves again when the last pod before its cordon has bound a volume on it alone", async () => {
    const workloads = [{ name: "app", replicas: 2, minAvailable: 1, slowestEnd: 1000, claims: false }];
    const stage = new Stage(stageImages(), { servers: 1, agents: 1, workloads });
    const { world } = stage;
    const name = await stage.play(async () => {
      const old = stage.nameOf(1100);
      onCordon(stage, old, () => bindOn(stage, old));
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      return old;
    });
    assert.match(stage.engine.why, /leaves, and a volume with data is on it alone: load\/late/);
    assert.notEqual(nodeOf(stage, name).spec?.unschedulable, true);
    assert.equal(world.cluster.pods.servingOn(name).length, 2, "nobody was evicted");
    assert.deepEqual(world.story.violations, []);
  });

  it("is asked for its pods once more: a scheduler may bind one a moment after the cordon", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const asked: string[] = [];
    world.defect = (call) => {
      if (call.path.endsWith("/eviction")) asked.push(call.path);
      return world.honest(call);
    };
    await stage.play(async () => {
      const old = stage.nameOf(1100);
      onCordon(stage, old, () =>
        world.time.after(500, () => {
          const metadata = { name: "late", namespace: "load" };
          world.cluster.objects.put("pods", { metadata, spec: { nodeName: old }, status: { phase: "Pending" } });
        }),
      );
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(asked, ["/api/v1/namespaces/load/pods/late/eviction"]);
    assert.deepEqual(world.story.violations, []);
  });

  it("stays with a volume on it alone also when somebody deletes its Node in the middle of the run", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { world } = stage;
    await stage.play(async () => {
      stage.onLease("slot-workers-1", () => {
        bindOn(stage, stage.nameOf(1101));
        world.cluster.objects.remove("nodes", stage.nameOf(1101));
      });
      assert.equal(await stage.up({ ...stage.before, slots: 1 }), "failed");
    });
    assert.match(stage.engine.why, /leaves, and a volume with data is on it alone: load\/late/);
    assert.ok(stage.vm(1101).running);
    assert.deepEqual(world.story.violations, []);
  });

  it("stays cordoned when another process has its slot by now", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const name = await stage.play(async () => {
      const old = stage.nameOf(1100);
      onCordon(stage, old, () => takeLease(stage, "slot-workers-0"));
      holdVolume(stage, old);
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      return old;
    });
    assert.match(stage.engine.why, /the lease slot-workers-0 was lost: another process took it/);
    assert.equal(nodeOf(stage, name).spec?.unschedulable, true);
  });

  it("gets requests again when it is a server, also from a run that was cancelled", async () => {
    for (const cancelled of [false, true]) {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
      const { world } = stage;
      await stage.play(async () => {
        holdVolume(stage, stage.nameOf(1000));
        const run = stage.up(stage.serversOf(1));
        const old = () => [...world.cluster.control.servers].find(({ vm }) => vm.vmid === 1000);
        await stage.until(() => old()?.yielding === true);
        if (cancelled) for (const process of world.living()) process.cancel("SIGINT was received");
        assert.equal(await run, "failed");
        await world.time.sleep(5000);
        assert.equal(old()?.yielding, false, stage.engine.why);
      });
      assert.notEqual(nodeOf(stage, stage.nameOf(1000)).spec?.unschedulable, true);
      assert.deepEqual(world.story.violations, []);
    }
  });

  it("gets requests again with the next run when its guest could not be told so before", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      holdVolume(stage, stage.nameOf(1000));
      const old = () => [...world.cluster.control.servers].find(({ vm }) => vm.vmid === 1000);
      const run = stage.up(stage.serversOf(1));
      await stage.until(() => old()?.yielding === true);
      world.believes = ({ path }) =>
        path.endsWith("/1000/agent/file-write") ? { status: 595, reason: "No route to host" } : undefined;
      assert.equal(await run, "failed");
      world.believes = () => undefined;
      world.cluster.objects.remove("volumeattachments", "csi-stuck");
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      await world.time.sleep(5000);
      assert.equal(old()?.yielding, false, stage.engine.why);
    });
    assert.notEqual(nodeOf(stage, stage.nameOf(1000)).spec?.unschedulable, true);
    assert.deepEqual(world.story.violations, []);
  });

  it("gets requests again with the next run when its run was killed, and keeps a cordon of somebody else", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      const name = stage.nameOf(1000);
      const node = nodeOf(stage, name);
      world.cluster.objects.put("nodes", { ...node, spec: { ...node.spec, unschedulable: true } });
      holdVolume(stage, name);
      const old = () => [...world.cluster.control.servers].find(({ vm }) => vm.vmid === 1000);
      assert.equal(await stage.dieAt(stage.serversOf(1), () => old()?.yielding === true), "killed");
      world.cluster.objects.remove("volumeattachments", "csi-stuck");
      await world.time.sleep(60_000);
      assert.equal(await stage.up(stage.before), "failed");
      assert.match(stage.engine.why, /it is cordoned, and not by us/);
      await world.time.sleep(5000);
      assert.equal(old()?.yielding, false);
      const { metadata, spec } = nodeOf(stage, name);
      assert.equal(spec?.unschedulable, true);
      assert.equal(metadata.annotations?.["evergreen.dev/emptied-by"], undefined);
      world.cluster.objects.put("nodes", { ...nodeOf(stage, name), spec: { ...spec, unschedulable: false } });
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("gets requests again when its run was killed and its VM is off, and somebody else had cordoned it", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      const name = stage.nameOf(1000);
      const cordoned = (unschedulable: boolean) => {
        const node = nodeOf(stage, name);
        world.cluster.objects.put("nodes", { ...node, spec: { ...node.spec, unschedulable } });
      };
      cordoned(true);
      holdVolume(stage, name);
      const old = () => [...world.cluster.control.servers].find(({ vm }) => vm.vmid === 1000);
      assert.equal(await stage.dieAt(stage.serversOf(1), () => old()?.yielding === true), "killed");
      world.cluster.objects.remove("volumeattachments", "csi-stuck");
      stage.cutPower(1000);
      cordoned(false);
      await world.time.sleep(60_000);
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      await world.time.sleep(5000);
      assert.equal(stage.vm(1000).disk.get(guest.yield), "");
      assert.equal(nodeOf(stage, name).metadata.annotations?.["evergreen.dev/emptied-by"], undefined);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("gets requests again with the next run when its VM was out of sight of a repair", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      holdVolume(stage, stage.nameOf(1000));
      const old = () => [...world.cluster.control.servers].find(({ vm }) => vm.vmid === 1000);
      assert.equal(await stage.dieAt(stage.serversOf(1), () => old()?.yielding === true), "killed");
      world.cluster.objects.remove("volumeattachments", "csi-stuck");
      const { pool } = stage.vm(1000);
      stage.vm(1000).pool = "elsewhere";
      await world.time.sleep(60_000);
      assert.match((await stage.mend({})).why, /VM 1000 of demo-servers-0-\w+ exists, and the token cannot see it/);
      stage.vm(1000).pool = pool;
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      await world.time.sleep(5000);
      assert.equal(old()?.yielding, false);
    });
    assert.notEqual(nodeOf(stage, stage.nameOf(1000)).spec?.unschedulable, true);
    assert.deepEqual(world.story.violations, []);
  });

  it("keeps no repair from what else is left while its guest agent is dead", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      const name = stage.nameOf(1000);
      holdVolume(stage, name);
      const old = () => [...world.cluster.control.servers].find(({ vm }) => vm.vmid === 1000);
      const run = stage.up(stage.serversOf(1));
      await stage.until(() => old()?.yielding === true);
      world.believes = ({ path }) =>
        path.includes("/1000/agent/") ? { status: 500, reason: "QEMU guest agent is not running" } : undefined;
      assert.equal(await run, "failed");
      const { why, done, said } = await stage.mend({}, { asked: "by an update" });
      assert.deepEqual([why, done, said.length], ["", 0, 1], "what is left alone is not repaired");
      assert.match(said.join(), /is cordoned by a run that ended .* -> left as it is, for its guest cannot be told/);
      assert.equal(nodeOf(stage, name).spec?.unschedulable, true);
      assert.equal(await stage.up(stage.before), "failed");
      assert.match(stage.engine.why, /waiting for the guest agent of demo-servers-0-/);
      world.believes = () => undefined;
      world.cluster.objects.remove("volumeattachments", "csi-stuck");
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      await world.time.sleep(5000);
      assert.equal(old()?.yielding, false, stage.engine.why);
      assert.notEqual(nodeOf(stage, name).spec?.unschedulable, true);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("is not disturbed while HA has given its VM up: Proxmox would not turn it off", async () => {
    const workloads = [{ name: "app", replicas: 2, minAvailable: 0, slowestEnd: 1000, claims: false }];
    for (const vmid of [1100, 1000]) {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1, workloads });
      const { world } = stage;
      await stage.play(async () => {
        const [wish, vm] = [vmid === 1100 ? stage.agentsOf(1) : stage.serversOf(1), stage.vm(vmid)];
        vm.ha = "error";
        const pods = world.cluster.pods.servingOn(vm.name).length;
        assert.equal(await stage.up(wish), "failed");
        assert.match(stage.engine.why, /is in the error state of Proxmox HA.*ha-manager remove vm:1\d00/);
        assert.notEqual(nodeOf(stage, vm.name).spec?.unschedulable, true);
        assert.equal(world.cluster.pods.servingOn(vm.name).length, pods);
        vm.ha = false;
        assert.equal(await stage.up(wish), "done", stage.engine.why);
      });
      assert.deepEqual(world.story.violations, []);
    }
  });

  it("is named when HA has given its VM up while it was off: Proxmox would not start it", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    await stage.play(async () => {
      stage.cutPower(1100);
      stage.vm(1100).ha = "error";
      await stage.world.time.sleep(60_000);
      assert.equal(await stage.up(stage.before), "failed");
      assert.match(stage.engine.why, /HA, in which Proxmox neither starts nor stops it.*ha-manager remove vm:1100/);
      stage.vm(1100).ha = false;
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("serves on when somebody lifts its cordon meanwhile, and goes with the next run", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      const old = stage.nameOf(1100);
      let isLifted = false;
      objects.onChange(({ collection, object }) => {
        if (isLifted || collection !== "nodes" || object.metadata.name !== old || object.spec?.unschedulable !== true)
          return;
        isLifted = true;
        stage.world.time.after(500, () => objects.put("nodes", { ...object, spec: {} }));
      });
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /was uncordoned while it was drained/);
      assert.ok(stage.vm(1100).running);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is emptied of a pod that the scheduler binds a moment after the cordon", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { objects, pods } = stage.world.cluster;
    await stage.play(async () => {
      const old = stage.nameOf(1100);
      pods.deploy({ name: "late", replicas: 0, minAvailable: 0, slowestEnd: 1000, claims: false });
      let isBound = false;
      objects.onChange(({ collection, object }) => {
        if (isBound || collection !== "nodes" || object.metadata.name !== old || object.spec?.unschedulable !== true)
          return;
        isBound = true;
        stage.world.time.after(1000, () => pods.bindLate("late", old));
      });
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      assert.ok(isBound);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  function bindOn({ world }: Stage, node: string): void {
    const terms = [{ matchExpressions: [{ key: "kubernetes.io/hostname", operator: "In", values: [node] }] }];
    world.cluster.objects.put("persistentvolumes", {
      metadata: { name: "pv-late" },
      spec: {
        capacity: { storage: "1Gi" },
        claimRef: { namespace: "load", name: "late" },
        nodeAffinity: { required: { nodeSelectorTerms: terms } },
      },
      status: { phase: "Bound" },
    });
  }

  /** A volume that is never detached from its node. */
  function holdVolume({ world }: Stage, nodeName: string): void {
    world.cluster.objects.put("volumeattachments", {
      metadata: { name: "csi-stuck" },
      spec: { attacher: "csi.example", nodeName, source: { persistentVolumeName: "pv-stuck" } },
    });
  }

  function takeLease({ world }: Stage, name: string): void {
    const { objects, aheadMs } = world.cluster;
    const renewTime = new Date(world.time.date() + aheadMs).toISOString().replace("Z", "000Z");
    const metadata = { name, namespace: "evergreen-system" };
    objects.put("leases", { metadata, spec: { holderIdentity: "somebody", leaseDurationSeconds: 15, renewTime } });
  }
});
