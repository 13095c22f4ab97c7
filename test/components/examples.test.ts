import assert from "node:assert/strict";
import { Cluster } from "../../components/cluster.ts";
import type { ClusterArgs } from "../../components/cluster-args.ts";
import { readConfig } from "../../src/config/config.ts";
import type { PlannedCluster } from "../../src/domain/rollout/planned.ts";
import { graphOf, type Graph } from "../support/graph.ts";
import { plannedPool, plannedServers } from "../support/planned.ts";

/** The plan of a new cluster, in place of one that is made from what both APIs say. */
function planOf(args: ClusterArgs): Promise<PlannedCluster> {
  const { cluster, allowDestroy, controlPlane, pools } = readConfig(args);
  const servers = plannedServers(cluster, controlPlane.servers);
  const agents = pools.map(({ name, slots }) => plannedPool(cluster, name, slots));
  const { site } = servers;
  const planned = { cluster, site, allowDestroy, controlPlane: servers, pools: agents, generations: {}, words: [] };
  return Promise.resolve(planned);
}

async function declared(example: string): Promise<Graph> {
  return await graphOf(async () => {
    await import(`../../examples/${example}/index.ts`);
  });
}

describe("the examples", () => {
  const planned: { plan: typeof planOf }[] = [Cluster, Cluster.prototype as unknown as { plan: typeof planOf }];
  const originals = planned.map((one) => Object.getOwnPropertyDescriptor(one, "plan"));
  before(() => {
    for (const one of planned) one.plan = planOf;
  });
  after(() => {
    for (const [i, one] of planned.entries()) Object.defineProperty(one, "plan", originals[i] ?? {});
  });

  it("make two clusters, of which the second begins when the first serves", async () => {
    const graph = await declared("two-clusters");
    for (const pool of ["servers", "workers"]) {
      assert.ok(graph.waitsFor("production-servers-rollout", `staging-${pool}-verify`));
      assert.ok(graph.waitsFor(`production-guard`, `production-${pool}-verify`));
    }
    assert.ok(!graph.waitsFor("staging-guard", "production-servers-rollout"));
    const places = graph.resources.filter(({ type }) => type.endsWith(":VmLegacy"));
    assert.equal(places.length, 2 * (3 + 6));
  });

  it("use pools beside resources of the program, before them and after them", async () => {
    const graph = await declared("node-pool");
    assert.ok(graph.waitsFor("announced", "edge-servers-verify"));
    for (const pool of ["workers", "ingress"]) {
      assert.ok(graph.waitsFor(`edge-${pool}-rollout`, "announced"));
      assert.ok(graph.waitsFor(`edge-${pool}-inventory`, `edge-${pool}-verify`));
      assert.ok(graph.waitsFor("edge-guard", `edge-${pool}-verify`));
    }
    const { stdin } = graph.named("edge-ingress-inventory").inputs as { stdin: string };
    assert.deepEqual(
      (JSON.parse(stdin) as { slot: number }[]).map(({ slot }) => slot),
      [0, 1],
    );
  });
});
