import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import { labels } from "../../src/domain/model/formats.ts";
import { takeLease } from "./by-hand.ts";
import type { Vm } from "./data-centre.ts";
import { isUp } from "./etcd.ts";
import { status } from "./fault-kinds.ts";
import { isReady } from "./nodes.ts";
import { Stage, stageImages } from "./stage.ts";

/** Stories that a seed found, reduced to their smallest form. */
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
      // The machine of the program goes down with the guest: no step is left to judge the generation.
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

  for (const answers of [true, false])
    it(`is not let in beside another one when the dead voter goes that kept it out (seed 630000386${answers ? "" : ", its agent is silent"})`, async () => {
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
        const { guest: told } = stage.vm(1003);
        if (told) told.agentUp = answers;
        assert.equal(await stage.up(stage.serversOf(1)), "failed");
        assert.match(stage.engine.why, /servers-2-.*-join: gave up after .* to be Ready/);
        assert.equal(dc.vms.get(1003)?.running, false);
        assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });

  it("is not asked to leave etcd once more when the first request got no answer and another voter has fallen", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    let asked = 0;
    await stage.play(async () => {
      const old = stage.nameOf(1000);
      world.defect = (call) => {
        if (call.method !== "PATCH" || !call.body.includes("etcd.rke2.cattle.io/remove")) return world.honest(call);
        asked += 1;
        if (asked > 1) return world.honest(call);
        world.watcher.struck(stage.nameOf(1002));
        stage.cutPower(1002);
        return status(503, "ServiceUnavailable", "etcdserver: request timed out");
      };
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.match(stage.engine.why, new RegExp(`${old} may not be taken out of etcd now: demo-servers-2-`));
      assert.ok(world.cluster.control.etcd.voters().some(({ node }) => node === old));
    });
    assert.equal(asked, 1);
    assert.deepEqual(world.story.violations, []);
  });

  it("is replaced, and no voter without a Node, when somebody has taken the label of a server off its Node", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      for (const vmid of [1000, 1002]) {
        const node = objects.get("nodes", stage.nameOf(vmid));
        assert.ok(node);
        const { [labels.server]: role, ...others } = node.metadata.labels ?? {};
        assert.equal(role, "true");
        objects.put("nodes", { ...node, metadata: { ...node.metadata, labels: others } });
      }
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("waits with its slot for that of a voter that has fallen since, which lets nobody in (seed 37421691)", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      const fall = (vmid: number) => {
        world.watcher.struck(stage.nameOf(vmid));
        stage.cutPower(vmid);
      };
      const isMember = () => world.cluster.control.etcd.voters().length === 4;
      assert.equal(await stage.dieAt(stage.serversOf(1), isMember), "killed");
      fall(1001);
      await world.time.sleep(60_000);
      const isOut = () => world.cluster.control.etcd.voters().length === 3;
      assert.equal(await stage.dieAt(stage.serversOf(1), isOut), "killed");
      fall(1002);
      await world.time.sleep(60_000);
      await stage.up(stage.serversOf(1));
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("is not taken for another VM that has its number, its name and its tags by now", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { dc, time } = world;
    await stage.play(async () => {
      const isTold = () => [...dc.vms.values()].some(({ vmid, disk }) => vmid === 1003 && disk.has(guest.marker));
      assert.equal(await stage.dieAt(stage.serversOf(1), isTold), "killed");
      stage.cutPower(1002);
      await time.sleep(60_000);
      world.defect = (call) => {
        const { owner, name, host, pool, tags } = stage.vm(1003);
        if (owner === "ours" && call.process.name.startsWith("join-demo-servers-2-")) {
          const other = { owner: "stranger" as const, vmid: 1003, name, host, pool, tags, uuid: dc.uuid() };
          stage.cutPower(1003);
          dc.add({ ...other, running: true, onBoot: true });
        }
        return world.honest(call);
      };
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.match(stage.engine.why, /servers-2-\w+-join: VM 1003 is not demo-servers-0-\w+: SMBIOS uuid/);
      assert.ok(dc.vms.get(1003)?.running);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("is not turned off any more when it has got in while its agent was waited for", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { dc, cluster, time } = world;
    const { etcd } = cluster.control;
    await stage.play(async () => {
      const isTold = () => [...dc.vms.values()].some(({ vmid, disk }) => vmid === 1003 && disk.has(guest.marker));
      assert.equal(await stage.dieAt(stage.serversOf(1), isTold), "killed");
      stage.cutPower(1002);
      await time.sleep(60_000);
      const { uuid, guest: told } = stage.vm(1003);
      assert.ok(told && etcd.member(uuid) === undefined);
      told.agentUp = false;
      let isAsked = false;
      let wasVoter = false;
      world.defect = (call) => {
        isAsked ||= call.process.name.startsWith("join-") && call.path.endsWith("/1003/agent/file-read");
        wasVoter ||= /\/1003\/status\/(shutdown|stop)$/.test(call.path) && etcd.member(uuid)?.learner === false;
        return world.honest(call);
      };
      const run = stage.up(stage.serversOf(1));
      await stage.until(() => isAsked);
      dc.powerOn(stage.vm(1002));
      await stage.until(() => etcd.member(uuid)?.learner === false);
      told.agentUp = true;
      await run;
      assert.equal(wasVoter, false);
      await time.sleep(60_000);
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("is turned off by nobody who has lost its slot while its agent was waited for, and could not ask", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { dc, time } = world;
    await stage.play(async () => {
      const isTold = () => [...dc.vms.values()].some(({ vmid, disk }) => vmid === 1003 && disk.has(guest.marker));
      assert.equal(await stage.dieAt(stage.serversOf(1), isTold), "killed");
      stage.cutPower(1002);
      await time.sleep(60_000);
      const { guest: told } = stage.vm(1003);
      assert.ok(told);
      told.agentUp = false;
      let isAsked = false;
      const requests: string[] = [];
      world.defect = (call) => {
        isAsked ||= call.process.name.startsWith("join-") && call.path.endsWith("/1003/agent/file-read");
        if (isAsked && /\/1003\/(status|config)/.test(call.path) && call.method !== "GET") requests.push(call.path);
        return world.honest(call);
      };
      const run = stage.up(stage.serversOf(1));
      await stage.until(() => isAsked);
      stage.loseLease("join-");
      await time.sleep(20_000);
      takeLease(stage, "slot-servers-0");
      told.agentUp = true;
      await time.sleep(10_000);
      world.believes = () => undefined;
      assert.equal(await run, "failed");
      assert.match(stage.engine.why, /the lease slot-servers-0 was lost: another process took it/);
      assert.deepEqual(requests, []);
    });
    assert.deepEqual(world.story.violations, []);
  });

  for (const phase of ["made", "failed"])
    it(`is not let in when the dead owner of its slot goes, for it is given up (${phase})`, async () => {
      const stage = new Stage(stageImages("never-ready"), { servers: 3, agents: 1 });
      const { dc, cluster, time } = stage.world;
      await stage.play(async () => {
        const isTold = () => [...dc.vms.values()].some(({ vmid, disk }) => vmid === 1003 && disk.has(guest.marker));
        assert.equal(await stage.dieAt(stage.serversOf(1), isTold), "killed");
        const record = cluster.objects.get("configmaps", "evergreen-system/slot-servers-0");
        assert.ok(record);
        const facts = JSON.stringify(record.data).replace('\\"phase\\":\\"made', `\\"phase\\":\\"${phase}`);
        cluster.objects.put("configmaps", { ...record, data: JSON.parse(facts) as object });
        const { uuid } = stage.vm(1003);
        stage.cutPower(1000);
        await time.sleep(60_000);
        let wasIn = false;
        cluster.control.etcd.onChange(() => {
          wasIn ||= cluster.control.etcd.member(uuid) !== undefined;
        });
        assert.equal(await stage.up(stage.serversOf(2)), "done", stage.engine.why);
        assert.equal(wasIn, false);
        assert.equal(dc.vms.get(1003), undefined);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });

  for (const hasPower of [true, false])
    it(`is not given up incomplete while it is a voter whose Node is still to come, ${hasPower ? "on" : "off"}: nobody could take it out of etcd any more (seed 966592554)`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
      const { dc, cluster } = stage.world;
      const { etcd } = cluster.control;
      await stage.play(async () => {
        const register = cluster.nodes.register.bind(cluster.nodes);
        cluster.nodes.register = () => false;
        const isVoter = () => etcd.voters().length === 4;
        assert.equal(await stage.dieAt(stage.serversOf(1), isVoter), "killed");
        if (!hasPower) stage.cutPower(1003);
        for (const wish of [stage.serversOf(2), stage.before]) {
          assert.equal(await stage.up(wish), "failed");
          assert.match(stage.engine.why, /demo-servers-0-09c3448c/);
        }
        // One that was off is started.
        assert.equal(dc.vms.get(1003)?.running, true);
        assert.equal(isVoter(), true);
        cluster.nodes.register = register;
        dc.powerCut(stage.vm(1003));
        dc.powerOn(stage.vm(1003));
        await stage.world.time.sleep(60_000);
        assert.equal(await stage.up(stage.serversOf(2)), "done", stage.engine.why);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });

  it("stays beside the owner of its slot while another slot is empty: it is the third voter (seed 217754575)", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { cluster, time } = stage.world;
    const { etcd } = cluster.control;
    await stage.play(async () => {
      const isThere = () => etcd.voters().length === 4 && cluster.objects.list("nodes").filter(isReady).length === 5;
      assert.equal(await stage.dieAt(stage.serversOf(1), isThere), "killed");
      cluster.objects.remove("nodes", stage.nameOf(1001));
      await time.sleep(60_000);
      assert.equal(await stage.up(stage.before), "failed");
      assert.match(stage.engine.why, /demo-servers-1-\w+ was a member, and its Node was deleted/);
      let fewest = etcd.voters().length;
      etcd.onChange(() => (fewest = Math.min(fewest, etcd.voters().length)));
      for (let again = 0; again < 2; again += 1) assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      assert.equal(fewest, 3);
      assert.equal(etcd.voters().length, 3);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("comes before the handover of another slot, whose node must come up first: etcd has lost its voter (seed 686527616)", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { cluster, time } = stage.world;
    const { etcd } = cluster.control;
    await stage.play(async () => {
      const isThere = () => etcd.voters().length === 4 && cluster.objects.list("nodes").filter(isReady).length === 5;
      assert.equal(await stage.dieAt(stage.serversOf(1), isThere), "killed");
      cluster.objects.remove("nodes", stage.nameOf(1002));
      await stage.until(() => etcd.voters().length === 3);
      stage.cutPower(1003);
      await time.sleep(60_000);
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
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
        // The first boot is slow.
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
        // Right after the join data: the guest joins only once the marker is written.
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

  it("is told only while the others are well: also when a backup has frozen its guest at that moment", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { dc, time } = world;
    let isFrozen = false;
    await stage.play(async () => {
      world.defect = (call) => {
        const file = call.path.endsWith("/1003/agent/file-write") && new URLSearchParams(call.body).get("file");
        const own = dc.vms.get(1003)?.guest;
        if (file === guest.marker && own && !isFrozen) {
          isFrozen = own.frozen = true;
          time.after(10_000, () => stage.cutPower(1001));
          time.after(30_000, () => (own.frozen = false));
        }
        return world.honest(call);
      };
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
      assert.match(stage.engine.why, /servers-1-.* is a voter and not healthy/);
      assert.equal(dc.vms.get(1003)?.disk.has(guest.marker), false);
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("is not judged for the time in which a voter was away that is back by the end of it (seed 670713974)", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { dc, watcher } = stage.world;
    await stage.play(async () => {
      const run = stage.up(stage.serversOf(1));
      await stage.until(() => dc.vms.get(1003)?.disk.has(guest.marker) === true);
      const away = dc.vms.get(1001);
      watcher.touchedByFate(away?.name ?? "");
      away?.guest?.server?.partition(112_000);
      assert.equal(await run, "failed");
      assert.match(
        stage.engine.why,
        /to be Ready.*for 1\d\d s of that time demo-servers-1-\w+ is a voter and not healthy/,
      );
      assert.equal(judgedFailed(stage, "servers"), false);
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("is judged although another server did not say at one look that it serves", async () => {
    const stage = new Stage(stageImages("never-ready"), { servers: 3, agents: 1 });
    const { dc } = stage.world;
    let missed = 0;
    await stage.play(async () => {
      stage.world.believes = ({ path, process }) => {
        const isLook = path === "/readyz" && process.name.startsWith("join-demo-servers-0-");
        if (!isLook || missed > 0 || dc.vms.get(1003)?.disk.has(guest.marker) !== true) return undefined;
        missed += 1;
        return status(500, "InternalError", "[-]etcd failed: reason withheld");
      };
      assert.equal(await stage.up(stage.serversOf(1)), "failed");
    });
    assert.match(stage.engine.why, /to be Ready \| {3}where: Ready is False: KubeletNotReady \|/);
    assert.deepEqual([missed, judgedFailed(stage, "servers")], [1, true]);
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("brings a fallen voter back beside an incomplete one that is not healthy and could not leave without it (seed 771964)", async () => {
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

  it("beside the only one comes after an etcd snapshot, for of two voters neither may fail", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { objects, control } = stage.world.cluster;
    const grown = { ...stage.before, servers: { image: stage.before.image, count: 3, cores: 4 } };
    const made = () => objects.list("etcdsnapshotfiles").length;
    await stage.play(async () => {
      assert.equal(made(), 0);
      const two = stage.until(() => control.etcd.voters().length === 2).then(made);
      assert.equal(await stage.up(grown), "done", stage.engine.why);
      assert.deepEqual([await two, made()], [1, 1]);
      const words = stage.engine.clusterPlan?.controlPlane.words.join("\n") ?? "";
      assert.match(
        words,
        /etcd has two voters for a while, of which neither may fail: a snapshot is made and proved before/,
      );
      assert.equal(await stage.up(grown), "done", stage.engine.why);
      assert.deepEqual(stage.engine.ran, []);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});
