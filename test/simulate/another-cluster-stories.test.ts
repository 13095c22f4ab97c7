import assert from "node:assert/strict";
import { messageOf } from "../../src/runtime/errors.ts";
import { Chance } from "./chance.ts";
import type { Vm } from "./data-centre.ts";
import { Killer } from "./killer.ts";
import type { Ending } from "./process.ts";
import { database } from "./server.ts";
import { forks } from "./site-off.ts";
import { Stage, stageImages } from "./stage.ts";
import { giveNamedTag, uidTags } from "./uid-tags.ts";

/** What of the engine the delete of one resource uses. */
interface Insides {
  step: (urn: string, verb: string, environment: object, previous: string, killer: Killer) => Promise<Ending<unknown>>;
}

/** A server that was started without its data has founded another cluster of the name, behind the same address. */
describe("the VMs of a cluster beside another one of its name, in virtual time", function () {
  this.timeout(60_000);

  const oursIn = ({ world }: Stage): Vm[] => [...world.dc.vms.values()].filter(({ owner }) => owner === "ours");
  const serversIn = (stage: Stage): Vm[] => oursIn(stage).filter(({ name }) => name.includes("-servers-"));
  const wait = async ({ world }: Stage): Promise<void> => await world.time.sleep(120_000);
  const setting = { servers: 3, agents: 1, allowDestroy: true };
  const says = /the cluster demo that answers is another one than that of 4 VMs of this name, so nothing is done/;

  /** All lose their power, and one is started with its data moved away. */
  const startWithoutData = async (stage: Stage): Promise<Vm> => {
    const [first] = serversIn(stage);
    assert.ok(first);
    stage.cutPower(...serversIn(stage).map(({ vmid }) => vmid));
    await wait(stage);
    first.disk.delete(database);
    stage.world.dc.powerOn(first);
    await wait(stage);
    return first;
  };

  /** Runs a step of a delete. @returns why it failed */
  const deleteBy = async (stage: Stage, verb: string, node: string): Promise<string> => {
    const engine = stage.engine as unknown as Insides;
    const [urn = "", { step } = {}] =
      [...stage.engine.state.resources].find(([key]) => key.startsWith(node) && key.endsWith("-join")) ?? [];
    assert.ok(step);
    const killer = new Killer(stage.world, new Chance(1, "killer"));
    const ending = await engine.step(urn, verb, step.environment, step.stdout, killer);
    return ending.how === "failed" ? messageOf(ending.error) : ending.how;
  };

  it("keep their disks, however often a schedule runs evergreen up, repair or a destroy", async () => {
    const stage = new Stage(stageImages(), setting);
    const founders = forks(stage.world);
    await stage.play(async () => {
      assert.deepEqual([...new Set(oursIn(stage).map((vm) => uidTags(vm).length))], [1]);
      await startWithoutData(stage);
      assert.equal(founders.length, 1);
      const before = oursIn(stage);
      const { objects } = stage.world.cluster;
      const ofRuns = () =>
        [...objects.list("configmaps"), ...objects.list("leases")].map(({ metadata }) => metadata.name);
      const had = ofRuns();
      for (const wish of [stage.before, stage.serversOf(1), { ...stage.before, slots: 0 }]) {
        assert.equal(await stage.up(wish), "refused");
        assert.match(stage.engine.why, says);
        assert.match(await stage.repair(wish), says);
        await wait(stage);
      }
      assert.equal(await stage.destroy(), "failed");
      assert.match(stage.engine.why, says);
      for (const verb of ["retire", "release"]) {
        assert.match(await deleteBy(stage, verb, "demo-servers-2"), says);
      }
      assert.deepEqual(ofRuns(), had);
      const left = oursIn(stage);
      assert.deepEqual(
        before.filter((vm) => !left.includes(vm)),
        [],
      );
    });
  });

  it("stop a run in whose middle the other one has come", async () => {
    const stage = new Stage(stageImages(), setting);
    const founders = forks(stage.world);
    await stage.play(async () => {
      const before = oursIn(stage);
      let isOver = false;
      stage.onLease("slot-workers-0", () => (isOver = true));
      const run = stage.up(stage.agentsOf(1));
      await stage.until(() => isOver);
      await startWithoutData(stage);
      assert.equal(await run, "failed");
      await wait(stage);
      assert.equal(founders.length, 1);
      assert.equal(await stage.up(stage.before), "refused");
      const left = oursIn(stage);
      assert.deepEqual(
        before.filter((vm) => !left.includes(vm)),
        [],
      );
    });
  });

  it("are not destroyed when it comes while one is released", async () => {
    const stage = new Stage(stageImages(), setting);
    const { world } = stage;
    await stage.play(async () => {
      const agent = oursIn(stage).find(({ name }) => name.includes("-workers-"));
      let asked = 0;
      world.defect = (call) => {
        const answer = world.honest(call);
        if (!call.process.name.startsWith("release-") || !call.path.endsWith("/namespaces/kube-system")) return answer;
        asked += 1;
        return asked === 1 ? answer : { ...answer, body: JSON.stringify({ metadata: { uid: "another" } }) };
      };
      assert.equal(await stage.up({ ...stage.before, slots: 0 }), "failed");
      assert.match(stage.engine.why, says);
      assert.ok(agent && oursIn(stage).includes(agent));
    });
  });

  it("give way to it once people have decided so, by the recipe of the recovery guide", async () => {
    const stage = new Stage(stageImages(), setting);
    forks(stage.world);
    const { dc } = stage.world;
    await stage.play(async () => {
      const founder = await startWithoutData(stage);
      for (const { vmid, name } of oursIn(stage))
        if (vmid !== founder.vmid) {
          dc.vms.delete(vmid);
          stage.engine.state.forgets(name);
        }
      assert.equal(await stage.up(stage.before), "refused");
      giveNamedTag(stage.engine.why, [founder]);
      assert.equal(await stage.repair(stage.before), "");
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      assert.equal(oursIn(stage).length, 4);
      assert.equal(new Set(oursIn(stage).flatMap(uidTags)).size, 1);
    });
  });

  it("are left alone at the first update of this version too, while they show no uid yet", async () => {
    const stage = new Stage(stageImages(), setting);
    const founders = forks(stage.world);
    const { dc } = stage.world;
    await stage.play(async () => {
      for (const vm of oursIn(stage))
        vm.tags = vm.tags.filter((tag) => tag !== "eg-member" && !tag.startsWith("eg-uid-"));
      const founder = await startWithoutData(stage);
      assert.deepEqual(founders, [founder.name]);
      const before = oursIn(stage).map(({ name, tags, revision }) => [name, tags, revision]);
      const unknown =
        /3 VMs run or ran for a cluster demo that nobody knows, and the one that answers remembers none of them/;
      for (const wish of [stage.before, stage.serversOf(1), { ...stage.before, slots: 0 }]) {
        assert.equal(await stage.up(wish), "refused");
        assert.match(stage.engine.why, unknown);
        assert.match(await stage.repair(wish), unknown);
        await wait(stage);
      }
      assert.deepEqual(
        oursIn(stage).map(({ name, tags, revision }) => [name, tags, revision]),
        before,
      );
      for (const { vmid, name } of oursIn(stage).filter((vm) => vm !== founder)) {
        dc.vms.delete(vmid);
        stage.engine.state.forgets(name);
      }
      assert.equal(await stage.repair(stage.before), "");
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
    });
  });

  it("get the tag of their cluster from the first update of this version, which is all that it does", async () => {
    const stage = new Stage(stageImages(), setting);
    await stage.play(async () => {
      const [tag] = new Set(oursIn(stage).flatMap(uidTags));
      for (const vm of oursIn(stage)) vm.tags = vm.tags.filter((one) => one !== tag);
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      assert.deepEqual(oursIn(stage).map(uidTags), [[tag], [tag], [tag], [tag]]);
    });
  });

  it("have that tag from their first start on, also those of a cluster that is made now", async () => {
    const stage = new Stage(stageImages(), { ...setting, empty: true });
    await stage.play(async () => {
      assert.equal(await stage.up(stage.before), "done", stage.engine.why);
      const tags = oursIn(stage).map(uidTags);
      assert.deepEqual([tags.length, new Set(tags.map(String)).size, tags[0]?.length], [4, 1, 1]);
    });
  });
});
