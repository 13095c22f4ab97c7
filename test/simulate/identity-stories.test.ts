import assert from "node:assert/strict";
import { tagsOf } from "../../src/clients/proxmox/tags.ts";
import { status } from "./fault-kinds.ts";
import { Stage, stageImages } from "./stage.ts";

/** VMs and Nodes that have the number, the name or the uuid of another. */
describe("agents and the identity of their VMs, in virtual time", function () {
  this.timeout(60_000);

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

describe("a node to whose VM somebody gave another number, in virtual time", function () {
  this.timeout(60_000);

  for (const isOn of [true, false])
    it(`stays, and serves on once it has its number back, when it is ${isOn ? "on" : "off"}`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
      const { world, engine, before } = stage;
      const { dc, time } = world;
      await stage.play(async () => {
        const was = stage.vm(1101);
        const give = async (from: number, to: number) => {
          const vm = Object.assign(stage.vm(from), { vmid: to });
          dc.vms.delete(from);
          dc.vms.set(to, vm);
          await time.sleep(120_000);
        };
        if (!isOn) stage.cutPower(1101);
        await give(1101, 1150);
        assert.equal(await stage.up(before), "refused");
        assert.match(
          engine.why,
          /was made as VM 1101, which is gone, and VM 1150 has its name.* give it its number back/,
        );
        const vms = [1000, 1100, 1101].map((vmid) => ({ vmid, name: (dc.vms.get(vmid) ?? was).name, urn: `${vmid}` }));
        const { why, said, refreshed } = await stage.mend({ vms });
        assert.match(why, /was made as VM 1101, which is gone/);
        assert.ok(!said.join().includes("destroy"), said.join());
        assert.equal(refreshed, undefined);
        await give(1150, 1101);
        assert.equal(await stage.up(before), "done", engine.why);
        assert.equal(dc.vms.get(1101), was);
        assert.ok(was.running);
      });
      assert.deepEqual(world.story.violations, []);
    });
});

describe("a node whose VM has another SMBIOS uuid, in virtual time", function () {
  this.timeout(60_000);

  for (const isOurs of [true, false])
    it(
      isOurs ? "serves on once its VM has the former one back" : "is let go once the stranger has another number",
      async () => {
        const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
        const { world, engine } = stage;
        const { dc, time } = world;
        const wish = isOurs ? stage.before : { ...stage.before, slots: 1 };
        await stage.play(async () => {
          const vms = [1000, 1100, 1101].map((vmid) => ({ vmid, name: stage.nameOf(vmid), urn: stage.nameOf(vmid) }));
          stage.cutPower(1101);
          const vm = stage.vm(1101);
          const { uuid, name } = vm;
          Object.assign(vm, { uuid: dc.uuid() });
          await time.sleep(60_000);
          assert.equal(await stage.up(wish), "refused");
          assert.ok(engine.why.includes(`qm set 1101 --smbios1 uuid=${uuid}`), engine.why);
          assert.match(engine.why, /take our name and our tags off it and give it another number.* evergreen repair/);
          if (isOurs) Object.assign(vm, { uuid });
          else {
            Object.assign(vm, { vmid: 1150, name: "web", tags: [], owner: "stranger" });
            dc.vms.delete(1101);
            dc.vms.set(1150, vm);
            await time.sleep(60_000);
            const { why, refreshed } = await stage.mend({ vms }, { wish });
            assert.deepEqual([why, refreshed], ["", []]);
            engine.state.forgets(name);
          }
          assert.equal(await stage.up(wish), "done", engine.why);
        });
        assert.deepEqual(world.story.violations, []);
      },
    );
});

describe("a node whose VM was deleted by hand and whose number a stranger has, in virtual time", function () {
  this.timeout(60_000);

  it("is made again once the stranger has another number, as the message says", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { world, engine, before } = stage;
    const { dc, time } = world;
    await stage.play(async () => {
      const { name, uuid } = stage.vm(1101);
      stage.cutPower(1101);
      dc.vms.delete(1101);
      engine.state.forgets(name);
      const web = { owner: "stranger" as const, name: "web", host: "pve1", pool: "nodes", uuid: dc.uuid() };
      dc.add({ ...web, vmid: 1101 });
      await time.sleep(120_000);
      assert.equal(await stage.up(before), "refused");
      assert.match(engine.why, /`evergreen repair` heals it, once no stranger's VM has its number/);
      dc.vms.delete(1101);
      dc.add({ ...web, vmid: 150 });
      await time.sleep(15_000);
      const { why, said } = await stage.mend({});
      assert.equal(why, "");
      assert.match(said.join(), /VM 1101 of \S+ is gone, and it was not retired -> deleted the Node/);
      assert.equal(await stage.up(before), "done", engine.why);
      assert.ok(![...dc.vms.values()].some((vm) => vm.uuid === uuid));
    });
    assert.deepEqual(world.story.violations, []);
  });
});

describe("the number of a VM that no claim in the state proves, in virtual time", function () {
  this.timeout(60_000);

  const theirs = { cluster: "staging", pool: "workers", slot: 0, generation: "22222222" };
  for (const [whose, vmid] of [
    ["of another cluster", 1105],
    ["of this cluster", 1100],
  ] as const)
    it(`leads the engine to no node ${whose} that has the number now`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
      const { world, engine, before } = stage;
      const { dc, time, story } = world;
      await stage.play(async () => {
        const name = "staging-workers-0-22222222";
        if (vmid === 1105)
          dc.add({ owner: "stranger", vmid, name, host: "pve1", pool: "nodes", uuid: dc.uuid(), tags: tagsOf(theirs) });
        engine.state.knows({ name: "demo-workers-1-11111111", vmid, host: "pve1" });
        await time.sleep(15_000);
        assert.equal(await stage.up(before), "refused");
        assert.match(
          engine.why,
          /is not demo-workers-1-11111111 any more: .* state delete .*'demo-workers-1-11111111'/,
        );
        engine.state.forgets("demo-workers-1-11111111");
        assert.equal(await stage.up(before), "done", engine.why);
        assert.ok(dc.vms.has(vmid));
      });
      assert.deepEqual(story.violations, []);
    });
});

describe("a server that is made, in virtual time", function () {
  this.timeout(60_000);

  for (const address of ["10.0.1.13", "FD00:0::1:13"])
    it(`gets no address that a Node of others has: ${address}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
      const { world, before } = stage;
      await stage.play(async () => {
        const addresses = ["192.0.2.7", address].map((one) => ({ type: "InternalIP", address: one }));
        world.cluster.objects.put("nodes", { metadata: { name: "of-others" }, status: { addresses, conditions: [] } });
        const wish = { ...before, servers: { image: before.image, count: 3, cores: 8 } };
        assert.equal(await stage.up(wish), "done", stage.engine.why);
        const made = [...world.dc.vms.keys()].filter((vmid) => vmid < 1100);
        assert.deepEqual(made.toSorted(), [1004, 1005, 1006], "1003 would have the address");
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("is not asked of a clone that nobody has claimed by the record of a retired namesake, be tags edited", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
      // The former generation comes again, and the run dies between the clone and its claim.
      let hasCloned = false;
      world.believes = ({ api, process }) => {
        if (api !== "kube" || !process.name.startsWith("claim-demo-workers-0")) return undefined;
        hasCloned = true;
        return status(503, "ServiceUnavailable", "etcdserver: request timed out");
      };
      assert.equal(await stage.dieAt(stage.before, () => hasCloned), "killed");
      world.believes = () => undefined;
      await world.time.sleep(30_000);
      const tagged = { ...stage.before, pool: { tags: ["team-a"] } };
      assert.equal(await stage.up(tagged), "done", stage.engine.why);
      assert.equal(await stage.up(tagged), "done", stage.engine.why);
      assert.ok(stage.vm(1102).tags.includes("team-a"));
    });
    assert.deepEqual(world.story.violations, []);
  });
});
