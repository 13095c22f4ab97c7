import assert from "node:assert/strict";
import type { Vm } from "./data-centre.ts";
import type { Wish } from "./scenario.ts";
import { forks, withoutSigns } from "./site-off.ts";
import { Stage, stageImages } from "./stage.ts";

describe("servers that are off and do not start with their hosts, in virtual time", function () {
  this.timeout(60_000);

  const oursIn = ({ world }: Stage): Vm[] => [...world.dc.vms.values()].filter(({ owner }) => owner === "ours");
  const isServer = ({ name }: Vm): boolean => name.includes("-servers-");
  const isMarked = ({ tags }: Vm): boolean => tags.includes("eg-member");
  const wait = async ({ world }: Stage): Promise<void> => await world.time.sleep(120_000);
  const setting = { servers: 3, agents: 1, allowDestroy: true };

  /** People shut the site down, and see to it that nothing starts by itself. */
  const shutDown = async (stage: Stage): Promise<void> => {
    for (const vm of oursIn(stage)) {
      vm.onBoot = false;
      if (vm.running) stage.cutPower(vm.vmid);
    }
    await wait(stage);
  };

  /** `pulumi destroy` is broken off once all servers are off. */
  const beginDestroy = async (stage: Stage): Promise<void> => {
    const isOff = () => oursIn(stage).every(({ running }) => !running);
    assert.equal(await stage.destroyUntil(isOff), "killed");
    await wait(stage);
  };

  const all = (stage: Stage): Wish => ({ ...stage.serversOf(1), image: stage.agentsOf(1).image });
  const planned = /servers that were members: demo-servers-\d-\w+ \(VM \d+ on pve\d\), .* do: +start the server VMs/;
  const destroyed =
    /do: +a destroy of it was broken off: go on with it \(pulumi destroy\), or, .* start the server VMs/;

  for (const [what, off, wish, says] of [
    ["people have shut the site down for maintenance, and the image is a newer one", shutDown, all, planned],
    ["a destroy was broken off, and the image is a newer one", beginDestroy, all, destroyed],
    [
      "people have shut the site down, and a slot had gone back before",
      shutDown,
      ({ before }: Stage) => before,
      planned,
    ],
  ] as const)
    it(`are taken for no cluster, and lead on once they are started: ${what}`, async () => {
      const stage = new Stage(stageImages(), setting);
      const founders = forks(stage.world);
      const { violations } = stage.world.story;
      let ofOff = 0;
      await stage.play(async () => {
        if (wish(stage) === stage.before) {
          const isOver = () => !stage.world.dc.vms.get(1000)?.running;
          assert.equal(await stage.dieAt(stage.serversOf(1), isOver), "killed");
          assert.equal(await stage.up(stage.before), "done", stage.engine.why);
        }
        await off(stage);
        ofOff = violations.length;
        const before = oursIn(stage);
        assert.deepEqual(
          before.filter(({ running, onBoot }) => running || onBoot),
          [],
        );
        assert.equal(await stage.up(wish(stage)), "refused");
        assert.match(stage.engine.why, says);
        assert.match(await stage.repair(wish(stage)), says);
        assert.deepEqual(oursIn(stage), before);
        for (const vm of before.filter((one) => isServer(one) && isMarked(one))) stage.world.dc.powerOn(vm);
        await wait(stage);
        // The destroy has taken the agents away already.
        if (off === beginDestroy) assert.equal(await stage.repair(wish(stage)), "");
        assert.equal(await stage.up(wish(stage)), "done", stage.engine.why);
      });
      assert.deepEqual(founders, []);
      const isOurs = (line: string) => !line.startsWith("etcd has no quorum");
      assert.deepEqual(violations.slice(ofOff).filter(isOurs), []);
    });

  it("have got the tag of a member from the first update of this version, and lose it when they leave", async () => {
    const stage = new Stage(stageImages(), setting);
    const gone: Vm[] = [];
    stage.world.watcher.onDestroyed = (vm) => void gone.push(vm);
    await stage.play(async () => {
      assert.deepEqual(oursIn(stage).map(isMarked), [true, true, true, true]);
      assert.equal(await stage.up(all(stage)), "done", stage.engine.why);
      assert.deepEqual(oursIn(stage).map(isMarked), [true, true, true, true]);
      assert.deepEqual(gone.map(isMarked), [false, false, false, false]);
    });
  });

  it("are not destroyed on the word of another cluster, if one was made all the same", async () => {
    const stage = new Stage(stageImages(), setting);
    const founders = forks(stage.world, () => (stage.world.defect = undefined));
    await stage.play(async () => {
      assert.equal(await stage.up(all(stage)), "done", stage.engine.why);
      await shutDown(stage);
      const before = oursIn(stage);
      stage.world.defect = withoutSigns(stage.world);
      assert.equal(await stage.up({ ...stage.serversOf(2), image: stage.agentsOf(2).image }), "failed");
      assert.equal(founders.length, 1);
      assert.match(stage.engine.why, /the cluster demo that answers is another one than that of 4 VMs of this name/);
      const left = oursIn(stage);
      assert.deepEqual(
        before.filter((vm) => !left.includes(vm)),
        [],
      );
    });
  });
});
