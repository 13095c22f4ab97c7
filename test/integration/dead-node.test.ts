import assert from "node:assert/strict";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { findNode } from "../../src/clients/kubernetes/nodes.ts";
import { paths } from "../../src/clients/kubernetes/types.ts";
import { isKnownDead } from "../../src/steps/node/dead-node.ts";
import type { Decommissioning } from "../../src/steps/node/departing-nodes.ts";
import { freshCluster, type FakeCluster } from "../clients/kubernetes/fake.ts";

const name = "demo-workers-0-0a1b2c3d";

describe("a node that leaves while its VM runs", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  /** @param left seconds until it counts as dead */
  function node(status: string, left: number): void {
    const lastTransitionTime = new Date(Date.now() - 1000 * (360 - left)).toISOString();
    cluster.put(paths.nodes, {
      metadata: { name },
      status: { conditions: [{ type: "Ready", status, reason: "Test", lastTransitionTime }] },
    });
  }

  function pod(): void {
    const ownerReferences = [{ kind: "ReplicaSet", name: "web", uid: "uid-web", controller: true }];
    cluster.put(paths.pods, {
      metadata: { name: "web-1", namespace: "shop", ownerReferences },
      spec: { nodeName: name },
      status: { phase: "Running" },
    } as Parameters<FakeCluster["put"]>[1]);
  }

  const cases: [when: string, status: string, left: number, dead: boolean, then?: () => void][] = [
    ["it was not Ready for long", "Unknown", -1, true],
    ["it is Ready", "True", -1, false],
    ["it does not come back in time", "Unknown", 0.3, true],
    ["it comes back", "Unknown", 2, false, () => node("True", 360)],
    ["somebody deletes its Node meanwhile", "Unknown", 2, false, () => cluster.remove(`${paths.nodes}/${name}`)],
  ];
  for (const [when, status, left, dead, then] of cases)
    it(`is ${dead ? "dead" : "not dead"} when ${when}`, async () => {
      node(status, left);
      pod();
      const found = await findNode(client, name);
      assert.ok(found);
      // Nothing else of a retirement is asked for.
      const options = { access: { client }, context: { stop: new AbortController().signal } } as Decommissioning;
      const answer = isKnownDead(found, options);
      then?.();
      assert.equal(await answer, dead);
    });
});
