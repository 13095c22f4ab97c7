import assert from "node:assert/strict";
import { UserErrors } from "../../src/runtime/errors.ts";
import { forecastDrains } from "../../src/program/drains.ts";
import { renderClusterPlan, planPools } from "../../src/program/cluster-plan.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import type { ObservedCluster } from "../../src/observe/observed-cluster.ts";
import { FakeCluster, freshCluster } from "../clients/kubernetes/fake.ts";
import { NEW, OLD, settledPicture, smallConfig } from "../support/picture.ts";

const now = new Date("2026-03-01T12:00:00Z");
const since = "2026-03-01T11:00:00.000Z";
const servers = { image: NEW, servers: 1, vmIds: { first: 1000, last: 1009 } };
const workers = { name: "workers", image: OLD, slots: 2, vmIds: { first: 1100, last: 1109 } };
const before = { controlPlane: servers, pools: [workers] };

/** Ways in which the second worker leaves. */
const ways: [string, Record<string, unknown>][] = [
  ["another image", { controlPlane: servers, pools: [{ ...workers, image: NEW }] }],
  ["a slot less", { controlPlane: servers, pools: [{ ...workers, slots: 1 }] }],
  ["its pool removed", { controlPlane: servers, pools: [] }],
];

describe("what holds back the nodes that leave", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, its) => ([cluster, client] = [fresh, its]));

  function settled(): ObservedCluster {
    const observed = settledPicture(before, client, since);
    const name = observed.nodes.find((node) => node.pool === "workers" && node.slot === 1)?.name ?? "";
    const ownerReferences = [{ kind: "ReplicaSet", name: "web", uid: "web", controller: true }];
    cluster.put("/api/v1/pods", {
      metadata: { namespace: "shop", name: "web-0", labels: { app: "web" }, ownerReferences } as never,
      spec: { nodeName: name, terminationGracePeriodSeconds: 86_400 },
      status: { phase: "Running", conditions: [{ type: "Ready", status: "True" }] },
    });
    return observed;
  }

  const words = async (observed: ObservedCluster, wanted: Record<string, unknown>) => {
    const config = smallConfig(wanted);
    return renderClusterPlan(await forecastDrains(config, observed, planPools(config, observed, now)));
  };

  for (const [way, wanted] of ways) {
    it(`is said in the plan when they leave by ${way}`, async () => {
      const said = (await words(settled(), wanted)).join("\n");
      assert.match(said, /shop\/web-0 may take 86400 s to end, and a drain gives up after \d+ s/);
      assert.match(said, /shop\/web-0 is the only replica/);
    });

    it(`refuses the run when it never lets go and they leave by ${way}`, async () => {
      const observed = settled();
      cluster.put("/apis/policy/v1/poddisruptionbudgets", {
        metadata: { namespace: "shop", name: "web" },
        spec: { selector: { matchLabels: { app: "web" } } },
        status: { disruptionsAllowed: 0, currentHealthy: 1, desiredHealthy: 1, expectedPods: 1 },
      });
      await assert.rejects(words(observed, wanted), (error: unknown) => {
        assert.ok(error instanceof UserErrors);
        assert.match(
          error.message,
          /^PodDisruptionBudget shop\/web never lets a pod go: 1 of 1 pods healthy, 1 needed/,
        );
        return true;
      });
    });
  }

  it("asks for nothing when nobody leaves, and for no node that is not Ready", async () => {
    const observed = settled();
    await words(observed, before);
    assert.equal(cluster.count("GET", /pods|poddisruptionbudgets/), 0);
    const ill = { ...observed, nodes: observed.nodes.map((node) => ({ ...node, ready: node.pool !== "workers" })) };
    assert.doesNotMatch((await words(ill, ways[1]?.[1] ?? {})).join("\n"), /web-0/);
  });
});
