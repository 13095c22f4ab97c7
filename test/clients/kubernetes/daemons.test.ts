import assert from "node:assert/strict";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { findDaemons } from "../../../src/clients/kubernetes/daemons.ts";
import { paths } from "../../../src/clients/kubernetes/types.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";

interface Given {
  when: string;
  /** Nodes on which it has a pod, and on how many of them it is Ready. */
  scheduled?: number;
  ready?: number;
  selects?: Record<string, string>;
  deleted?: true;
  is: "expected" | "unready" | "neither";
}

describe("a DaemonSet and a node that arrives", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const cases: Given[] = [
    { when: "it is Ready on others", is: "expected" },
    { when: "it selects a label that the node is about to get", selects: { tier: "web" }, is: "expected" },
    { when: "it selects a label that the node does not get", selects: { tier: "db" }, is: "neither" },
    { when: "it is being deleted", deleted: true, is: "neither" },
    { when: "it is Ready on none of several nodes", scheduled: 2, ready: 0, is: "unready" },
    { when: "it has one pod, on this node, that is not Ready", scheduled: 1, ready: 0, is: "expected" },
  ];
  for (const { when, scheduled = 3, ready = 3, selects = {}, deleted, is } of cases)
    it(`is ${is === "neither" ? "not waited for" : is} when ${when}`, async () => {
      const set = {
        metadata: {
          name: "agent",
          namespace: "logs",
          uid: "u1",
          ...(deleted ? { deletionTimestamp: "2026-01-01T00:00:00Z" } : {}),
        },
        spec: { template: { spec: { nodeSelector: selects } } },
        status: { numberReady: ready, currentNumberScheduled: scheduled },
      };
      cluster.put(paths.daemonSets, set);
      const { expected, unready } = await findDaemons(client, { metadata: { name: "n1" } }, { tier: "web" });
      assert.deepEqual([...expected], is === "expected" ? [["u1", "logs/agent"]] : []);
      assert.deepEqual([...unready], is === "unready" ? ["u1"] : []);
    });
});
