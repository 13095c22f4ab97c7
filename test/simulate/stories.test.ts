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
      await stage.world.time.sleep(60_000);
      assert.equal(await stage.up(stage.agentsOf(2)), "failed");
      assert.match(stage.engine.why, /workers-0-handover: pods that earlier handovers .* load\/pinned-/);
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
