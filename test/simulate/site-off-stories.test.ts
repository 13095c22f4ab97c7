import assert from "node:assert/strict";
import { Chance } from "./chance.ts";
import type { Vm } from "./data-centre.ts";
import { Killer } from "./killer.ts";
import type { Wish } from "./scenario.ts";
import { forks, withoutSigns } from "./site-off.ts";
import { Stage, stageImages } from "./stage.ts";

/** What of the engine a destroy uses: the simulation plays none. */
interface Insides {
  step: (urn: string, verb: string, environment: object, previous: string, killer: Killer) => Promise<{ how: string }>;
}

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

  /** `pulumi destroy` is broken off once all servers are off: nothing is destroyed yet. */
  const beginDestroy = async (stage: Stage): Promise<void> => {
    const engine = stage.engine as unknown as Insides;
    const killer = new Killer(stage.world, new Chance(1, "killer"));
    const joins = [...stage.engine.state.resources].filter(([urn]) => urn.endsWith("-join"));
    const guard = joins[0]?.[1].step?.environment ?? {};
    assert.equal((await engine.step("demo-guard", "unguard", guard, "", killer)).how, "done");
    const retired = joins.map(async ([urn, { step }]) => {
      assert.ok(step);
      return (await engine.step(urn, "retire", step.environment, step.stdout, killer)).how;
    });
    assert.deepEqual(new Set(await Promise.all(retired)), new Set(["done"]));
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
