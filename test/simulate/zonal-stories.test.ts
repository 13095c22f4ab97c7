import assert from "node:assert/strict";
import { renderClusterPlan } from "../../src/program/cluster-plan.ts";
import { Chance } from "./chance.ts";
import type { Wish } from "./scenario.ts";
import { Stage, stageImages } from "./stage.ts";
import { bindZonalVolume, onVolume, zonalVolumesOf, zones } from "./zonal-volumes.ts";

interface Setting {
  agents: number;
  keepDays?: 7;
  others?: NonNullable<Wish["others"]>;
}

/** Stories of volumes that are bound to a zone, and of the last node in it. */
describe("volumes of a zone, in virtual time", function () {
  this.timeout(60_000);

  /** A server and the agents of even slots in zone a, the others in zone b, and there a pod with a volume. */
  async function play(
    { agents, keepDays, others }: Setting,
    work: (stage: Stage, base: Wish) => Promise<void>,
  ): Promise<void> {
    const stage = new Stage(stageImages(), { servers: 1, agents, ...(keepDays && { keepDays }) });
    const base: Wish = { ...stage.before, site: { zones } };
    await stage.play(async () => {
      assert.equal(await stage.up({ ...base, ...(others && { others }) }), "done", stage.engine.why);
      bindZonalVolume(stage.world.cluster, "db", "b");
      stage.world.cluster.pods.deploy(onVolume("db"));
      await stage.world.time.sleep(10_000);
      assert.equal(zoneOfPod(stage), "b");
      await work(stage, base);
    });
    assert.deepEqual(stage.world.story.violations, []);
  }

  function zoneOfPod({ world: { cluster } }: Stage): string | undefined {
    const pod = cluster.objects.list("pods").find(({ metadata }) => metadata.labels?.app === "db");
    const node = cluster.objects.get("nodes", String(pod?.spec?.nodeName));
    return node?.metadata.labels?.["topology.kubernetes.io/zone"];
  }

  const wordsOf = ({ engine: { clusterPlan } }: Stage) =>
    clusterPlan ? renderClusterPlan(clusterPlan).join("\n") : "";

  const ways: [string, (base: Wish, image: string) => Wish][] = [
    ["a pool is made smaller", (base) => ({ ...base, slots: 1 })],
    ["a rollout finds other hosts", (base, image) => ({ ...base, image, pool: { hosts: ["pve1"] } })],
    ["zones get other names", (base) => ({ ...base, site: { zones: { ...zones, pve2: "c" } } })],
  ];
  for (const [title, changed] of ways)
    it(`refuse a run when ${title}; by consent it is done, says so, keeps no VM and waits for no pod`, async () => {
      await play({ agents: 2 }, async (stage, base) => {
        const wish = changed(base, stage.agentsOf(1).image);
        for (const run of [1, 2]) {
          assert.equal(await stage.up(wish), "refused", `run ${run}`);
          assert.match(stage.engine.why, /zone=b: .* now, and after this run there is none: load\/db \(1Gi\), used by/);
        }
        assert.equal(zoneOfPod(stage), "b");
        const agreed = { ...wish, pool: { ...wish.pool, localVolumes: "keep" } };
        assert.equal(await stage.up(agreed), "done", stage.engine.why);
        assert.match(wordsOf(stage), /after this run there is none: load\/db .* no VM is kept for it/);
        const isOff = [...stage.world.dc.vms.values()].filter(({ owner, running }) => owner === "ours" && !running);
        assert.deepEqual(isOff, []);
        assert.equal(await stage.up(agreed), "done", stage.engine.why);
        assert.deepEqual(stage.engine.ran, []);
      });
    });

  for (const keepDays of [undefined, 7] as const)
    it(
      keepDays === undefined ? "refuse to remove a pool" : "let all nodes of a removed pool go by consent",
      async () => {
        const strategy = { kind: "rolling", surge: 1, maxUnavailable: 1 };
        const gpu = { name: "gpu", first: 1200, slots: 3, rollout: 0, strategy, image: stageImages()[0]?.name ?? "" };
        await play({ agents: 1, others: [gpu], ...(keepDays && { keepDays }) }, async (stage, base) => {
          const outcome = await stage.up(base);
          const left = stage.world.cluster.objects
            .list("nodes")
            .filter(({ metadata }) => metadata.name.includes("-gpu-"));
          if (keepDays === undefined) assert.match(stage.engine.why, /after this run there is none: load\/db/);
          assert.deepEqual([outcome, left.length], keepDays === undefined ? ["refused", 3] : ["done", 0]);
        });
      },
    );

  it("hold the next node when what comes is on another host than was planned, until one is there again", async () => {
    await play({ agents: 3 }, async (stage, base) => {
      const { dc, cluster } = stage.world;
      const wish = { ...base, image: stage.agentsOf(1).image };
      const run = stage.up(wish);
      const fresh = () => [...dc.vms.values()].find(({ name }) => /^demo-workers-1-(?!cfcccdce)/.test(name));
      await stage.until(() => fresh()?.lock === undefined && fresh() !== undefined);
      const moved = fresh();
      assert.ok(moved);
      moved.host = "pve1";
      assert.equal(await run, "failed");
      for (const again of [1, 2]) {
        assert.match(stage.engine.why, /pods that were evicted for demo-workers-1-\w+ have found no place .*load\/db-/);
        assert.notEqual(cluster.objects.get("nodes", stage.nameOf(1102))?.spec?.unschedulable, true);
        assert.equal(await stage.up(wish), "failed", `run ${again}`);
      }
      moved.host = "pve2";
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      assert.equal(zoneOfPod(stage), "b");
    });
  });

  it("may lose their nodes in every story in which volumes on disks may: one key lets both", () => {
    const seeds = Array.from({ length: 40 }, (_, seed) => seed);
    const drawn = seeds.flatMap((seed) => zonalVolumesOf(new Chance(seed, "zonal volumes"), true) ?? []);
    assert.ok(drawn.length > 0 && drawn.every(({ mayLeave }) => mayLeave));
  });
});
