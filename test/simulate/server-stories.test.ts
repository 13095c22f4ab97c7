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

  /**
   * Takes the only server out of the token's sight when the join of a slot begins.
   * @returns a function that shows it again
   */
  const hideServer = (stage: Stage, slot: number, isOff: boolean): (() => void) => {
    const { dc, honest } = stage.world;
    const vm = stage.vm(1000);
    const { pool } = vm;
    let isOver = false;
    stage.world.defect = (call) => {
      if (!isOver && call.process.name.startsWith(`join-demo-servers-${slot}-`)) {
        isOver = true;
        vm.pool = "theirs";
        stage.world.watcher.struck(vm.name);
        if (isOff) dc.powerCut(vm);
      }
      return honest(call);
    };
    return () => {
      vm.pool = pool;
      if (!vm.running) dc.powerOn(vm);
    };
  };
  const alone = { servers: 1, agents: 1 };
  const replaced = ({ before }: Stage) => {
    const image = stageImages()[1]?.name ?? "";
    return { ...before, servers: { image, count: 1, cores: 4, replaceOnlyServer: true } };
  };
  const grown = ({ before }: Stage) => {
    const image = stageImages()[0]?.name ?? "";
    return { ...before, servers: { image, count: 3, cores: 4 } };
  };
  for (const { what, wish, slot, isOff, says } of [
    {
      what: "a control plane that grows",
      wish: ({ before }: Stage) => ({ ...before, servers: { image: before.image, count: 3, cores: 4 } }),
      slot: 1,
      isOff: false,
      says: /servers-1-.* would make a second cluster demo: slot 0 alone makes one, and its server is not seen/,
    },
    {
      what: "one that answers",
      wish: replaced,
      slot: 0,
      isOff: false,
      says: /servers-0-.* would make a second cluster demo: a server answers, and its VM is not seen/,
    },
    {
      what: "one that is off",
      wish: replaced,
      slot: 0,
      isOff: true,
      says: /servers-0-.* would make a second cluster demo: agents of it were started, and no server is seen/,
    },
  ])
    it(`makes no second cluster beside a server that is not seen any more: ${what} (seed 953842486)`, async () => {
      const stage = new Stage(stageImages(), alone);
      await stage.play(async () => {
        const show = hideServer(stage, slot, isOff);
        assert.equal(await stage.up(wish(stage)), "failed");
        assert.match(stage.engine.why, says);
        stage.world.defect = undefined;
        show();
        await stage.world.time.sleep(120_000);
        assert.equal(await stage.up(wish(stage)), "done", stage.engine.why);
      });
      // Turning the only server off takes the quorum.
      const isOurs = (line: string) => !(isOff && line.startsWith("etcd has no quorum"));
      assert.deepEqual(stage.world.story.violations.filter(isOurs), []);
    });

  for (const [what, unread] of [
    ["does not accept the token for a moment", status(401, "", "")],
    ["cannot be read", status(500, "", "QEMU guest agent is not running")],
  ] as const)
    it(`makes no cluster again while the only server ${what} (seed 739609972)`, async () => {
      const stage = new Stage(stageImages(), alone);
      const { world } = stage;
      const written: string[] = [];
      await stage.play(async () => {
        const until = world.time.elapsed() + 60_000;
        // Of the agents no VM is seen that would tell of a cluster.
        const agent = stage.vm(1100);
        const { pool } = agent;
        let asked = 0;
        world.defect = (call) => {
          if (!call.process.name.startsWith("join-demo-servers-0-")) return world.honest(call);
          if (call.path.endsWith("/1000/agent/file-write")) written.push(call.body);
          agent.pool = "theirs";
          if (call.path === "/cacerts") return status(503, "", "");
          if (!call.path.endsWith("/1000/agent/file-read")) return world.honest(call);
          asked += 1;
          return asked === 1 || (unread.status === 500 && world.time.elapsed() < until) ? unread : world.honest(call);
        };
        await stage.up(grown(stage));
        assert.ok(asked > 0);
        world.defect = undefined;
        agent.pool = pool;
        assert.equal(await stage.up(grown(stage)), "done", stage.engine.why);
      });
      assert.deepEqual(written, []);
      assert.deepEqual(world.story.violations, []);
    });

  it("makes no second cluster beside a server that is off by now, and with it all that was started", async () => {
    const stage = new Stage(stageImages(), alone);
    const { world } = stage;
    await stage.play(async () => {
      let isOver = false;
      world.defect = (call) => {
        if (!isOver && call.process.name.startsWith("join-demo-servers-0-")) {
          isOver = true;
          stage.cutPower(1000, 1100);
        }
        return world.honest(call);
      };
      assert.equal(await stage.up(replaced(stage)), "failed");
      assert.match(stage.engine.why, /would make a second cluster demo: servers of it exist, and none of them answers/);
    });
    const isOurs = (line: string) => !line.startsWith("etcd has no quorum");
    assert.deepEqual(world.story.violations.filter(isOurs), []);
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
        assert.equal(dc.vms.get(1003)?.running, hasPower);
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
});

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

describe("a server whose delete no update has asked for", function () {
  this.timeout(60_000);

  it("stays while nobody has told yet how many are wanted, as after a first creation", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      world.defect = (call) => {
        const answer = world.honest(call);
        const asks = call.process.name.startsWith("retire-demo-servers-") && call.path.endsWith("/configmaps/cluster");
        return asks ? status(404, "NotFound", "configmaps cluster not found") : answer;
      };
      assert.equal(
        await stage.up({ ...stage.before, servers: { image: stageImages()[0]?.name ?? "", count: 1, cores: 4 } }),
        "failed",
      );
      assert.match(
        stage.engine.why,
        /demo-servers-\d-\w+ is a server of a cluster that stays, and is not taken out of etcd/,
      );
      assert.equal(world.cluster.control.etcd.voters().length, 3);
    });
    assert.deepEqual(world.story.violations, []);
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
        // Together with the clone that boots ahead: the plan is the same as before, so no rollout step removes anything.
        await fall(stage, 1002, 1004);
        const node = `/api/v1/nodes/${stage.nameOf(1000)}`;
        world.defect = (call) => {
          if (!isHeld || call.method !== "DELETE" || call.path !== node) return world.honest(call);
          world.time.after(10_000, () => world.honest(call));
          return { status: 200, reason: "OK", body: "{}" };
        };
        assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
        assert.ok(!stage.engine.ran.includes("demo-servers-rollout"));
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
      assert.equal(await stage.up(stage.serversOf(1)), "done", stage.engine.why);
      assert.ok(!stage.engine.ran.includes("demo-servers-rollout"));
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

describe("a server of a slot that is given up", function () {
  this.timeout(60_000);

  const fewerServers = ({ before: { image } }: Stage) => ({ servers: { image, count: 1, cores: 4 } });

  it("goes before the agents when its retirement was broken off after it had left etcd", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    const { etcd } = world.cluster.control;
    await stage.play(async () => {
      const fewer = { ...stage.before, ...fewerServers(stage) };
      assert.equal(await stage.dieAt(fewer, () => etcd.voters().length === 2), "killed");
      await world.time.sleep(60_000);
      assert.equal(await stage.up({ ...fewer, image: stage.agentsOf(1).image }), "done", stage.engine.why);
      assert.equal(etcd.voters().length, 1);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("goes before the agents when it has fallen since a run failed that gave its slot up", async () => {
    const workloads = [{ name: "app", replicas: 2, minAvailable: 1, slowestEnd: 1000, claims: false }];
    const stage = new Stage(stageImages(), { servers: 3, agents: 1, workloads });
    const { world } = stage;
    await stage.play(async () => {
      world.cluster.refusesEvictions = status(500, "InternalError", "a webhook is away");
      const wish = { ...stage.agentsOf(1), ...fewerServers(stage) };
      assert.equal(await stage.up(wish), "failed");
      world.cluster.refusesEvictions = undefined;
      stage.cutPower(1002);
      await world.time.sleep(60_000);
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      assert.equal(world.cluster.control.etcd.voters().length, 1);
    });
    assert.deepEqual(world.story.violations, []);
  });

  for (const { count, slot } of [
    { count: 3, slot: 0 },
    { count: 5, slot: 3 },
  ])
    it(`goes before ${count === 3 ? "a handover whose node has joined already" : "the incomplete server of another such slot"}`, async () => {
      const stage = new Stage(stageImages(), { servers: 5, agents: 1 });
      const { world } = stage;
      const { objects, control } = world.cluster;
      const roll = (servers: number) => {
        const image = stageImages()[1]?.name ?? "";
        return { ...stage.before, servers: { image, count: servers, cores: 4 } };
      };
      await stage.play(async () => {
        const record = () => JSON.stringify(objects.get("configmaps", `evergreen-system/slot-servers-${slot}`) ?? "");
        assert.equal(await stage.dieAt(roll(count), () => record().includes("joined")), "killed");
        await world.time.sleep(60_000);
        stage.cutPower(1004);
        await world.time.sleep(60_000);
        assert.equal(await stage.up(roll(3)), "done", stage.engine.why);
        assert.equal(control.etcd.voters().length, 3);
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

describe("a control plane that shrinks while the host of its last server did not answer, and does by then", function () {
  this.timeout(60_000);

  it("loses no voter that etcd still counts, and its cluster does not count as being torn down", async () => {
    const stage = new Stage(stageImages(), { servers: 5, agents: 1, allowDestroy: true });
    const { world } = stage;
    await stage.play(async () => {
      stage.vm(1004).host = "pve3";
      await world.time.sleep(15_000);
      world.dc.silent.add("pve3");
      const fewer = { ...stage.before, servers: { image: stage.before.image, count: 3, cores: 4 } };
      const run = stage.up(fewer);
      await stage.until(() => stage.engine.ran.includes("demo-servers-rollout"));
      world.dc.silent.clear();
      assert.equal(await run, "failed");
      assert.match(stage.engine.why, /servers-3-\w+-join: .* may not be taken out of etcd now/);
      assert.ok(stage.vm(1003).running);
    });
    assert.deepEqual(world.story.violations, []);
  });
});

describe("a control plane that shrinks and is rolled at once", function () {
  this.timeout(60_000);

  it("loses a dead server first whose slot is given up: no other one could join before", async () => {
    const stage = new Stage(stageImages(), { servers: 5, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      stage.cutPower(1003);
      await world.time.sleep(60_000);
      const image = stageImages()[1]?.name ?? "";
      const fewer = { ...stage.before, servers: { image, count: 3, cores: 4 } };
      assert.equal(await stage.up(fewer), "done", stage.engine.why);
      assert.equal(world.cluster.control.etcd.voters().length, 3);
    });
    assert.deepEqual(world.story.violations, []);
  });
});

describe("a server that has joined beside the owner of its slot, whose host was silent when the run was planned", function () {
  this.timeout(60_000);

  it("leaves etcd when it is down, and its cluster does not count as being torn down", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1, allowDestroy: true });
    const { world } = stage;
    const { objects, control } = world.cluster;
    await stage.play(async () => {
      const record = () => JSON.stringify(objects.get("configmaps", "evergreen-system/slot-servers-2") ?? "");
      assert.equal(await stage.dieAt(stage.serversOf(1), () => record().includes("joined")), "killed");
      stage.vm(1002).host = "pve3";
      await world.time.sleep(60_000);
      world.dc.silent.add("pve3");
      stage.cutPower(1005);
      await world.time.sleep(60_000);
      const run = stage.up(stage.serversOf(1));
      await stage.until(() => stage.engine.ran.includes("demo-servers-rollout"));
      world.dc.silent.clear();
      assert.equal(await run, "done", stage.engine.why);
      assert.ok(!("goingAway" in (objects.get("configmaps", "evergreen-system/cluster")?.data as object)));
      assert.equal(control.etcd.voters().length, 3);
    });
    assert.deepEqual(world.story.violations, []);
  });
});
