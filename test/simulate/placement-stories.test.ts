import assert from "node:assert/strict";
import type { Stored } from "./objects.ts";
import type { Workload } from "./pods.ts";
import { Stage, stageImages } from "./stage.ts";

const workload = (name: string, more: Partial<Workload>): Workload => ({
  name,
  replicas: 2,
  minAvailable: 0,
  slowestEnd: 1000,
  claims: false,
  ...more,
});

/** Stories of pods that have no place, and what waits for them. */
describe("pods that have no place, in virtual time", function () {
  this.timeout(60_000);

  it("are not waited for when an autoscaler has added them meanwhile, and all that were evicted run", async () => {
    // The scheduler places those of `app`, and has no place for more of them.
    const more = workload("more", { replicas: 0, selector: "example.org/never" });
    const stage = new Stage(stageImages(), { servers: 1, agents: 2, workloads: [workload("app", {}), more] });
    const { objects } = stage.world.cluster;
    await stage.play(async () => {
      let hasScaled = false;
      objects.onChange(({ collection, object, removed }) => {
        if (hasScaled || collection !== "pods" || !removed || !object.metadata.name.startsWith("app-")) return;
        hasScaled = true;
        objects.put("replicasets", { metadata: { name: "app", namespace: "load" }, spec: { replicas: 5 } });
        const ownerReferences = [{ kind: "ReplicaSet", name: "app", uid: "owner-app", controller: true }];
        for (const number of [1, 2, 3])
          objects.put("pods", {
            metadata: { name: `more-${number}`, namespace: "load", labels: { app: "more" }, ownerReferences },
            spec: {},
            status: { phase: "Pending", conditions: [] },
          });
      });
      for (const run of [1, 2])
        assert.equal(await stage.up(stage.agentsOf(1)), "done", `run ${run}: ${stage.engine.why}`);
      assert.ok(hasScaled);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("are none when the node of their zone is replaced, wherever other pools have theirs", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    const strategy = { kind: "rolling", surge: 1, maxUnavailable: 1 };
    const others = [{ name: "web", first: 1200, image: stage.before.image, slots: 1, rollout: 0, strategy }];
    const wish = { ...stage.before, site: { zones: { pve1: "a", pve2: "b" } }, others };
    await stage.play(async () => {
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      const { host } = stage.vm(1100);
      // Somebody migrates the node of another pool to the same zone, and the other one has the fewest nodes then.
      stage.vm(1200).host = host;
      const selector = `topology.kubernetes.io/zone=${host === "pve1" ? "a" : "b"}`;
      world.cluster.pods.deploy(workload("db", { replicas: 1, claims: true, selector }));
      await world.time.sleep(5000);
      assert.equal(await stage.up({ ...wish, image: stage.agentsOf(1).image }), "done", stage.engine.why);
      assert.equal(stage.vm(1101).host, host);
    });
    assert.deepEqual(world.story.violations, []);
  });

  for (const [who, adopted, given, manager] of [
    ["somebody", false, { "topology.kubernetes.io/zone": "pve1", "example.org/by-hand": "yes" }, "kubectl-label"],
    ["an adopted node's own configuration", true, { disk: "ssd" }, "kubelet"],
  ] as const)
    it(`are foretold with the labels that ${who} gave to the node that leaves`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 1, adopted });
      const { objects, pods } = stage.world.cluster;
      await stage.play(async () => {
        const node = objects.get("nodes", stage.nameOf(1100));
        assert.ok(node);
        const labels = Object.entries(given);
        const fields = Object.fromEntries(labels.map(([key]) => [`f:${key}`, {}]));
        const args = ["agent", ...labels.map(([key, value]) => `--node-label=${key}=${value}`)];
        const metadata = {
          ...node.metadata,
          labels: { ...node.metadata.labels, ...given },
          annotations: { ...node.metadata.annotations, ...(adopted && { "rke2.io/node-args": JSON.stringify(args) }) },
          managedFields: [{ manager, fieldsV1: { "f:metadata": { "f:labels": fields } } }],
        };
        objects.put("nodes", { ...node, metadata });
        for (const [key] of labels) pods.deploy(workload(`needs-${key.length}`, { replicas: 1, selector: key }));
        await stage.world.time.sleep(5000);
        assert.equal(await stage.up(stage.agentsOf(1)), "failed");
        assert.match(stage.engine.why, /have found no place/);
        const words = stage.engine.clusterPlan?.pools.flatMap((one) => one.words).join("\n") ?? "";
        for (const [key, value] of labels) assert.ok(words.includes(`label ${key}=${value}`), words);
      });
    });

  for (const how of ["fewer slots", "a removed pool"])
    it(`keep the next node from leaving for good (${how})`, async () => {
      const stage = new Stage(stageImages(), { servers: 1, agents: 4 });
      const { objects, pods } = stage.world.cluster;
      await stage.play(async () => {
        const strategy = { kind: "rolling", surge: 1, maxUnavailable: 1 };
        const gpu = { name: "gpu", first: 1200, image: stage.before.image, slots: 3, rollout: 0, strategy };
        const isRemoved = how === "a removed pool";
        if (isRemoved) assert.equal(await stage.up({ ...stage.before, others: [gpu] }), "done", stage.engine.why);
        const leaving = (isRemoved ? [1200, 1201, 1202] : [1101, 1102, 1103]).map((vmid) => stage.nameOf(vmid));
        for (const [number, name] of leaving.entries()) {
          const node = objects.get("nodes", name);
          const label = `example.org/disk-${number}`;
          if (node) objects.put("nodes", labelled(node, label));
          pods.deploy(workload(`app-${number}`, { selector: label }));
        }
        await stage.world.time.sleep(30_000);
        const wish = isRemoved ? stage.before : { ...stage.before, slots: 1 };
        for (const run of [1, 2]) {
          assert.equal(await stage.up(wish), "failed", `run ${run}`);
          assert.match(stage.engine.why, /pods that left earlier nodes of pool \w+ do not run elsewhere/);
          assert.equal(leaving.filter((name) => objects.get("nodes", name)).length, 2);
          if (run > 1) continue;
          const { pools = [], removed = [] } = stage.engine.clusterPlan ?? {};
          const words = [...pools, ...removed].flatMap((one) => one.words).join("\n");
          assert.match(words, /leaves, and load\/app-0-\d+, load\/app-0-\d+ will find no place: no node that stays/);
        }
      });
      assert.deepEqual(stage.world.story.violations, []);
    });
});

function labelled(node: Stored, label: string): Stored {
  return { ...node, metadata: { ...node.metadata, labels: { ...node.metadata.labels, [label]: "yes" } } };
}
