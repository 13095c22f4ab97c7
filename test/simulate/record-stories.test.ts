import assert from "node:assert/strict";
import type { NodeRecord, SlotPhase } from "../../src/domain/model/types.ts";
import { byHand, giveLabel } from "./by-hand.ts";
import type { Stored } from "./objects.ts";
import { Stage, stageImages } from "./stage.ts";

describe("a record that was restored to how it was in the middle of a rollout, in virtual time", function () {
  this.timeout(60_000);

  const maps = ({ world }: Stage): Stored[] =>
    world.cluster.objects.list("configmaps").filter(({ metadata }) => metadata.namespace === "evergreen-system");

  /** Puts ConfigMaps back as they were, and removes those that were made since. */
  const restore = (stage: Stage, copies: readonly Stored[]): void => {
    const { objects } = stage.world.cluster;
    for (const { metadata } of maps(stage)) objects.remove("configmaps", `evergreen-system/${metadata.name}`);
    for (const { metadata, data } of copies) objects.put("configmaps", { metadata, data });
  };

  for (const { pool, phase, killed } of [
    { pool: "workers", phase: "made", killed: false },
    { pool: "workers", phase: "joined", killed: false },
    { pool: "workers", phase: "joined", killed: true },
    { pool: "servers", phase: "made", killed: false },
    { pool: "servers", phase: "joined", killed: false },
  ] satisfies { pool: "workers" | "servers"; phase: SlotPhase; killed: boolean }[])
    it(`is brought up to date by the next run: ${pool}, ${phase}${killed ? ", their predecessors off" : ""}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 2 });
      const wish = pool === "workers" ? stage.agentsOf(1) : stage.serversOf(1);
      await stage.play(async () => {
        const old = new Set([...stage.world.dc.vms.values()].map(({ name }) => name));
        const isNew = (slot: number, wanted: SlotPhase): boolean => {
          const map = stage.world.cluster.objects.get("configmaps", `evergreen-system/slot-${pool}-${slot}`);
          const facts = Object.values((map?.data ?? {}) as Record<string, string>);
          const nodes = facts.map((fact) => JSON.parse(fact) as NodeRecord);
          return nodes.some((node) => node.phase === wanted && !old.has(node.name));
        };
        const handedOver = () => isNew(0, "handedOver") && isNew(1, "handedOver");
        const copied = stage
          .until(() => isNew(0, phase) && (phase === "joined" || isNew(1, phase)))
          .then(() => maps(stage).map((map) => structuredClone(map)));
        assert.equal(await (killed ? stage.dieAt(wish, handedOver) : stage.up(wish)), killed ? "killed" : "done");
        restore(stage, await copied);
        await stage.world.time.sleep(60_000);
        // Nodes whose VMs are gone, and are not recorded as retired, an operator gives up.
        await stage.mend({});
        assert.equal(await stage.up(wish), "done", stage.engine.why);
        assert.ok(handedOver());
        assert.equal(await stage.up(wish), "done", stage.engine.why);
        assert.deepEqual(stage.engine.ran, []);
      });
      assert.deepEqual(stage.world.story.violations, []);
    });

  for (const isDeleted of [false, true])
    it(`keeps no slot that is given up: what an earlier rollout wanted is ${isDeleted ? "nowhere" : "there again"}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 3 });
      const { world, before } = stage;
      const { objects } = world.cluster;
      const key = "evergreen-system/cluster";
      const fewer = { ...before, slots: 1, servers: { image: before.image, count: 1, cores: 4 } };
      await stage.play(async () => {
        const copy = structuredClone(objects.get("configmaps", key));
        assert.ok(copy);
        const isGivenUp = () => (objects.get("configmaps", key)?.data as { servers?: string }).servers === "1";
        const isBegun = () => isGivenUp() && stage.engine.ran.includes("demo-workers-rollout");
        assert.equal(await stage.dieAt(fewer, isBegun), "killed");
        objects.remove("configmaps", key);
        if (!isDeleted) objects.put("configmaps", copy);
        await world.time.sleep(60_000);
        assert.equal(await stage.up(fewer), "done", stage.engine.why);
        assert.equal(world.cluster.control.etcd.voters().length, 1);
      });
    });
});

describe("a record that names no slots, as that of an older program", function () {
  this.timeout(60_000);

  it("takes no node that stays for one that leaves: what went there has its place", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3 });
    const { cluster, time, story } = stage.world;
    await stage.play(async () => {
      for (const vmid of [1100, 1102]) giveLabel(stage, stage.nameOf(vmid));
      const pinned = { name: "pinned", minAvailable: 0, slowestEnd: 2000, claims: false, selector: byHand };
      cluster.pods.deploy({ ...pinned, replicas: 4 });
      await time.sleep(30_000);
      const { objects } = cluster;
      const leaving = stage.nameOf(1102);
      const isEmptied = () => objects.get("nodes", leaving)?.spec?.unschedulable === true;
      const forgotten = stage.until(isEmptied, 50).then(() => {
        const map = objects.get("configmaps", "evergreen-system/cluster");
        assert.ok(map);
        const { "slots.workers": slots, ...data } = map.data as Record<string, string>;
        assert.equal(slots, "0-1");
        objects.put("configmaps", { ...map, data });
      });
      assert.equal(await stage.up({ ...stage.before, slots: 2 }), "done", stage.engine.why);
      await forgotten;
    });
    assert.deepEqual(story.violations, []);
  });
});
