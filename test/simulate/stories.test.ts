import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import type { Vm } from "./data-centre.ts";
import { isUp } from "./etcd.ts";
import { calm } from "./faults.ts";
import { Stage, stageImages } from "./stage.ts";

/** Stories that a seed has told once, as small as they can be told. */
describe("a server's join in virtual time", function () {
  this.timeout(60_000);

  const vmOf = ({ world }: Stage, uuid: string): Vm => {
    const vm = [...world.dc.vms.values()].find((one) => one.uuid === uuid);
    if (vm === undefined) throw new Error(`no VM has the uuid ${uuid}`);
    return vm;
  };
  const judgedFailed = ({ world }: Stage, pool: string): boolean =>
    JSON.stringify(world.cluster.objects.get("configmaps", `evergreen-system/pool-${pool}`)?.data).includes(
      '\\"state\\":\\"failed\\"',
    );

  it("gives the slot to another server of the same content when RKE2 has removed the learner meanwhile (seed 770005)", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { etcd } = stage.world.cluster.control;
    await stage.play(async () => {
      const run = stage.up(stage.serversOf(1));
      await stage.until(() => etcd.learners().some(isUp));
      const [learner] = etcd.learners();
      const vm = vmOf(stage, learner?.uuid ?? "");
      // The machine of the program goes down with the guest: no step is left to judge anybody.
      for (const process of stage.world.living()) process.kill();
      stage.world.dc.powerCut(vm);
      assert.equal(await run, "failed");
      await stage.until(() => etcd.learners().length === 0);
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.match(stage.engine.why, /was removed from etcd before its join was over/);
      assert.equal(judgedFailed(stage, "servers"), false);
      assert.equal(await stage.up(stage.serversOf(1)), "done");
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is not let in beside another one when the dead voter goes that kept it out (seed 630000386)", async () => {
    const stage = new Stage(stageImages("never-ready"), { servers: 3, agents: 1 });
    const { dc, watcher, time } = stage.world;
    await stage.play(async () => {
      const isTold = () => [...dc.vms.values()].some(({ vmid, disk }) => vmid === 1003 && disk.has(guest.marker));
      assert.equal(await stage.dieAt(stage.serversOf(1), isTold), "killed");
      const fallen = dc.vms.get(1002);
      assert.ok(fallen);
      watcher.struck(fallen.name);
      dc.powerCut(fallen);
      await time.sleep(60_000);
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.match(stage.engine.why, /servers-2-.*-join: gave up after .* to be Ready/);
      assert.equal(dc.vms.get(1003)?.running, false);
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("boots on when a dead voter goes beside it: nobody has told it anything yet", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { dc, time } = world;
    await stage.play(async () => {
      const fallen = dc.vms.get(1000);
      assert.ok(fallen);
      world.watcher.struck(fallen.name);
      dc.powerCut(fallen);
      await time.sleep(60_000);
      let bootedAt: number | undefined;
      let isTurnedOff = false;
      world.defect = (call) => {
        const ahead = dc.vms.get(1004);
        if (ahead?.running) bootedAt ??= time.elapsed();
        // A first boot that takes its time.
        if (ahead?.guest && bootedAt !== undefined)
          ahead.guest.agentUp = ahead.running && time.elapsed() - bootedAt > 45_000;
        isTurnedOff ||= /\/1004\/status\/(shutdown|stop)$/.test(call.path);
        return world.honest(call);
      };
      const boots = () => dc.vms.get(1004)?.running === true;
      assert.equal(await stage.dieAt(stage.serversOf(1), boots), "killed");
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
      assert.equal(isTurnedOff, false);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("is told only while the others are well: also when an answer before that took a minute (seed 680011299)", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { dc } = world;
    await stage.play(async () => {
      const fallen = dc.vms.get(1001);
      assert.ok(fallen);
      world.defect = (call) => {
        // Right after the join data: the marker is what tells.
        const file = call.path.endsWith("/1003/agent/file-write") && new URLSearchParams(call.body).get("file");
        if (file === guest.join && fallen.running) {
          world.watcher.struck(fallen.name);
          dc.powerCut(fallen);
        }
        return world.honest(call);
      };
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.match(stage.engine.why, /servers-1-.* is a voter and not healthy/);
      assert.equal(dc.vms.get(1003)?.disk.has(guest.marker), false);
      assert.equal(judgedFailed(stage, "servers"), false);
      world.defect = undefined;
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("brings a fallen voter back beside a half-made one that is not well and could not leave without it (seed 771964)", async () => {
    const stage = new Stage(stageImages("never-ready"), { servers: 3, agents: 1 });
    const { etcd } = stage.world.cluster.control;
    await stage.play(async () => {
      const run = stage.up(stage.serversOf(1));
      await stage.until(() => etcd.voters().length === 4);
      const fallen = etcd.voters().find(({ node }) => node.startsWith("demo-servers-1-"));
      const vm = vmOf(stage, fallen?.uuid ?? "");
      stage.world.watcher.struck(vm.name);
      stage.world.dc.powerCut(vm);
      assert.equal(await run, "failed");
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
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
      // One that tolerates the cordon came back.
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

const nameOf = ({ world }: Stage, vmid: number): string => world.dc.vms.get(vmid)?.name ?? "";

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

describe("agents in virtual time", function () {
  this.timeout(60_000);

  it("drain nobody while what an earlier run evicted from another slot has no place (seed 89623945)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { objects, pods } = stage.world.cluster;
    await stage.play(async () => {
      const [node] = objects.list("nodes").filter(({ metadata }) => metadata.name.startsWith("demo-workers-1-"));
      assert.ok(node);
      const named = { ...node.metadata.labels, "example.com/by-hand": "yes" };
      objects.put("nodes", { ...node, metadata: { ...node.metadata, labels: named } });
      const some = { replicas: 1, minAvailable: 0, slowestEnd: 2000, claims: false };
      pods.deploy({ ...some, name: "pinned", selector: "example.com/by-hand" });
      await stage.world.time.sleep(30_000);
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /workers-1-handover: .* have found no place/);
      // Its predecessor is gone: that is no reason to call the slot handed over.
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      assert.match(stage.engine.why, /workers-1-handover: .* have found no place/);
      await stage.world.time.sleep(60_000);
      assert.equal(await stage.up(stage.agentsOf(2)), "failed");
      assert.match(stage.engine.why, /workers-0-handover: pods that earlier handovers .* load\/pinned-/);
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

  it("drain nobody while another slot of the pool has fallen in the same run, until it serves again", async () => {
    for (const comesBack of [true, false]) {
      const stage = new Stage(stageImages(), { servers: 1, agents: 3 });
      const { dc, cluster, watcher, time } = stage.world;
      const left = () => [...dc.vms.values()].filter(({ vmid, running }) => vmid <= 1102 && running).length;
      await stage.play(async () => {
        const run = stage.up(stage.agentsOf(1));
        await stage.until(() => left() === 3 && cluster.objects.get("nodes", nameOf(stage, 1100)) === undefined);
        const fallen = dc.vms.get(1103);
        assert.ok(fallen);
        watcher.struck(fallen.name);
        dc.powerCut(fallen);
        // Long before Kubernetes calls it not Ready.
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

  it("are started in a slot once what an earlier run left half-made there is off (seed 680012524)", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { world } = stage;
    await stage.play(async () => {
      const grown = { ...stage.agentsOf(0), slots: 3 };
      assert.equal(await stage.dieAt(grown, () => world.dc.vms.get(1102)?.running === true), "killed");
      await world.time.sleep(30_000);
      let most = 0;
      // The rollout meets a silent host, and its joins do not.
      world.defect = (call) => {
        most = Math.max(most, [...world.dc.vms.values()].filter(({ vmid, running }) => running && vmid >= 1100).length);
        const isSilent = call.process.name.startsWith("rollout-") && call.path.includes("/qemu/1102/");
        return isSilent ? { status: 595, reason: "No route to host" } : world.honest(call);
      };
      assert.equal(await stage.up({ ...grown, rollout: 1 }), "done", stage.engine.why);
      assert.equal(most, 4, "three slots, and a surge of one");
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("are not left half-made for one write that failed on a host that answers (seed 680011497)", async () => {
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
});

describe("a node that cannot be emptied after its cordon", function () {
  this.timeout(60_000);

  const nodeOf = ({ world }: Stage, name: string) => {
    const node = world.cluster.objects.get("nodes", name);
    assert.ok(node, `there is no Node ${name}`);
    return node;
  };
  /** Something happens the moment one of our steps cordons a node. */
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
      const old = nameOf(stage, 1100);
      onCordon(stage, old, () => bindOn(stage, old));
      assert.equal(await stage.up(stage.agentsOf(1)), "failed");
      return old;
    });
    assert.match(stage.engine.why, /leaves, and a volume with data is on it alone: load\/late/);
    assert.notEqual(nodeOf(stage, name).spec?.unschedulable, true);
    assert.equal(world.cluster.pods.servingOn(name).length, 2, "nobody was evicted");
    assert.deepEqual(world.story.violations, []);
  });

  it("stays cordoned when another process has its slot by now", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const name = await stage.play(async () => {
      const old = nameOf(stage, 1100);
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
        holdVolume(stage, nameOf(stage, 1000));
        const run = stage.up(stage.serversOf(1));
        const old = () => [...world.cluster.control.servers].find(({ vm }) => vm.vmid === 1000);
        await stage.until(() => old()?.yielding === true);
        if (cancelled) for (const process of world.living()) process.cancel("SIGINT was received");
        assert.equal(await run, "failed");
        await world.time.sleep(5000);
        assert.equal(old()?.yielding, false, stage.engine.why);
      });
      assert.notEqual(nodeOf(stage, nameOf(stage, 1000)).spec?.unschedulable, true);
      assert.deepEqual(world.story.violations, []);
    }
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

  /** A volume that does not let go of a node. */
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
