import assert from "node:assert/strict";
import { status } from "./fault-kinds.ts";
import { Stage, stageImages } from "./stage.ts";

/** Stories that a seed found, reduced to their smallest form. */
describe("a join that could make a second cluster, in virtual time", function () {
  this.timeout(60_000);

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
    it(`makes none beside a server that is not seen any more: ${what} (seed 953842486)`, async () => {
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

  for (const onBoot of [true, false])
    it(`makes none beside a server that is off by now, and with it all that was started${onBoot ? "" : ", and starts with its host no more"}`, async () => {
      const stage = new Stage(stageImages(), alone);
      const { world } = stage;
      await stage.play(async () => {
        let isOver = false;
        world.defect = (call) => {
          if (!isOver && call.process.name.startsWith("join-demo-servers-0-")) {
            isOver = true;
            stage.cutPower(1000, 1100);
            for (const vmid of [1000, 1100]) stage.vm(vmid).onBoot = onBoot;
          }
          return world.honest(call);
        };
        assert.equal(await stage.up(replaced(stage)), "failed");
        assert.match(
          stage.engine.why,
          /would make a second cluster demo: servers of it exist, and none of them answers/,
        );
      });
      const isOurs = (line: string) => !line.startsWith("etcd has no quorum");
      assert.deepEqual(world.story.violations.filter(isOurs), []);
    });
});
