import assert from "node:assert/strict";
import { keyOf } from "./objects.ts";
import type { Workload } from "./pods.ts";
import { Stage, stageImages } from "./stage.ts";

const app: Workload = { name: "app", replicas: 2, minAvailable: 1, slowestEnd: 1000, claims: true };

/** Updates two agents after the kubelet of the first has died, while its VM is still on. */
async function replacing(silentFor: number, then: (stage: Stage, name: string) => void = () => undefined) {
  const stage = new Stage(stageImages(), { servers: 3, agents: 2, workloads: [app] });
  let name = "";
  const seen: string[] = [];
  const outcome = await stage.play(async () => {
    const { dc, cluster, time, watcher } = stage.world;
    name = dc.vms.get(1100)?.name ?? "";
    watcher.struck(name);
    cluster.nodes.silent(name);
    cluster.objects.onChange(({ collection, object, removed }) => {
      if (collection !== "nodes" || object.metadata.name !== name) return;
      const power = dc.vms.get(1100)?.running === true ? "on" : "off";
      const attached = cluster.objects.list("volumeattachments").filter(({ spec }) => spec?.nodeName === name);
      if (JSON.stringify(object.spec).includes("out-of-service")) seen.push(`out of service, ${power}`);
      if (removed) seen.push(`gone, ${power}, ${attached.length} volumes`);
    });
    await time.sleep(silentFor * 1000);
    then(stage, name);
    return await stage.up(stage.agentsOf(1));
  });
  const record = JSON.stringify(stage.world.cluster.objects.get("configmaps", "evergreen-system/pool-workers")?.data);
  return { outcome, stage, record, name, seen };
}

describe("a node whose kubelet is dead while its VM runs", function () {
  this.timeout(60_000);

  it("is turned off and replaced, not drained: nobody there ends a pod any more", async () => {
    const { outcome, stage, record, name, seen } = await replacing(600);
    assert.equal(outcome, "done", stage.engine.why);
    assert.deepEqual([seen[0], seen.at(-1)], ["out of service, off", "gone, off, 0 volumes"]);
    assert.doesNotMatch(record, /\\"state\\":\\"failed\\"/);
    assert.equal(stage.world.dc.vms.get(1100), undefined);
    assert.deepEqual(
      stage.world.cluster.objects.list("volumeattachments").filter(({ spec }) => spec?.nodeName === name),
      [],
    );
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is turned off also when its file systems stay frozen, which may be what it died of", async () => {
    const { outcome, stage, seen } = await replacing(600, ({ world: { dc } }) => {
      const guest = dc.vms.get(1100)?.guest;
      assert.ok(guest);
      guest.frozen = true;
    });
    assert.equal(outcome, "done", stage.engine.why);
    assert.deepEqual([seen[0], seen.at(-1)], ["out of service, off", "gone, off, 0 volumes"]);
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is given the time in which it may come back, before it counts as dead", async () => {
    const { outcome, stage } = await replacing(60);
    assert.equal(outcome, "done", stage.engine.why);
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is not waited for when no pod has to leave it, as one that never got Ready", async () => {
    let began = 0;
    const { outcome, stage } = await replacing(60, ({ world: { cluster } }, name) => {
      for (const pod of cluster.pods.servingOn(name)) cluster.objects.remove("pods", keyOf(pod));
      for (const { metadata } of cluster.objects.list("volumeattachments"))
        cluster.objects.remove("volumeattachments", metadata.name);
      began = cluster.time.elapsed();
    });
    assert.equal(outcome, "done", stage.engine.why);
    assert.ok(stage.world.time.elapsed() - began < 300_000, "the update did not wait for six minutes");
  });

  it("is drained as ever when it comes back in that time", async () => {
    const { outcome, stage } = await replacing(60, ({ world: { cluster, time } }, name) => {
      time.after(90_000, () => cluster.nodes.speaks(name, 0));
    });
    assert.equal(outcome, "done", stage.engine.why);
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is drained as ever when it comes back while its VM is locked by Proxmox", async () => {
    const { outcome, stage } = await replacing(600, (stage, name) => {
      const { dc, cluster, time } = stage.world;
      const vm = dc.vms.get(1100);
      assert.ok(vm);
      vm.lock = "backup";
      stage.onLease("ticket-workers-0", () => {
        time.after(20_000, () => cluster.nodes.speaks(name, 0));
        time.after(25_000, () => cluster.pods.deploy({ ...app, name: "late", replicas: 6, claims: false }));
        time.after(60_000, () => (vm.lock = undefined));
      });
    });
    assert.equal(outcome, "done", stage.engine.why);
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("serves again when the run that has turned it off was killed, and the operator has gone back", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 2, workloads: [app] });
    const { dc, cluster, time, watcher } = stage.world;
    await stage.play(async () => {
      const name = stage.nameOf(1100);
      watcher.struck(name);
      cluster.nodes.silent(name);
      await time.sleep(600_000);
      const isFenced = () => JSON.stringify(cluster.objects.get("nodes", name)?.spec).includes("out-of-service");
      assert.equal(await stage.dieAt(stage.agentsOf(1), isFenced), "killed");
      await time.sleep(60_000);
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      assert.ok(dc.vms.get(1100)?.running);
      assert.deepEqual(cluster.objects.get("nodes", name)?.spec?.taints ?? [], []);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});

describe("a server whose kubelet is dead while its VM runs, and its etcd with it", function () {
  this.timeout(60_000);

  for (const count of [1, 3])
    it(`leaves etcd before it is turned off: its vote may be needed for that, of ${count} servers`, async () => {
      const stage = new Stage(stageImages(), { servers: count, agents: 1 });
      const { world } = stage;
      const { objects, control } = world.cluster;
      const image = stageImages()[1]?.name ?? "";
      const wish = { ...stage.before, servers: { image, count, cores: 4, replaceOnlyServer: true } };
      await stage.play(async () => {
        const old = stage.vm(1000);
        const ownerReferences = [{ kind: "ReplicaSet", name: "web", uid: "owner-web", controller: true }];
        objects.put("pods", {
          metadata: { name: "web-1", namespace: "load", ownerReferences },
          spec: { nodeName: old.name },
          status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] },
        });
        const record = () => JSON.stringify(objects.get("configmaps", "evergreen-system/slot-servers-0") ?? "");
        assert.equal(await stage.dieAt(wish, () => record().includes("joined")), "killed");
        world.watcher.struck(old.name);
        world.cluster.nodes.silent(old.name);
        await world.time.sleep(600_000);
        let hadVote: boolean | undefined;
        world.defect = (call) => {
          if (/\/1000\/(agent\/file-write|status\/shutdown)$/.test(call.path))
            hadVote ??= control.etcd.member(old.uuid) !== undefined;
          return world.honest(call);
        };
        assert.equal(await stage.up(wish), "done", stage.engine.why);
        assert.equal(hadVote, false);
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("keeps others out while it is on, and is replaced once it is off, as its recipe says", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      const { name } = stage.vm(1001);
      world.watcher.struck(name);
      world.cluster.nodes.silent(name);
      await world.time.sleep(600_000);
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.match(stage.engine.why, new RegExp(`${name} is a voter and not healthy .*"A server is dead"`));
      assert.ok(stage.vm(1001).running);
      stage.cutPower(1001);
      await world.time.sleep(10_000);
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });
});
