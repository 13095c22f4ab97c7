import assert from "node:assert/strict";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { KubernetesUnreachable } from "../../src/clients/kubernetes/errors.ts";
import { readPoolRecord } from "../../src/clients/kubernetes/record.ts";
import { paths, type Node } from "../../src/clients/kubernetes/types.ts";
import type { PoolInput } from "../../src/steps/input.ts";
import type { StepContext } from "../../src/steps/context.ts";
import { soak } from "../../src/steps/node/soak.ts";
import { freshCluster, type FakeCluster } from "../clients/kubernetes/fake.ts";

describe("a soak during which nobody could watch the nodes", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const context = { stop: new AbortController().signal } as StepContext;
  const input = { cluster: "demo", pool: "workers" } as PoolInput;
  const spec = { image: "ubuntu-v1", rke2: "v1.34.4+rke2r1", cores: 2, memoryMiB: 4096, diskGiB: 20 };
  const node: Node = {
    metadata: { name: "demo-workers-0-aaaaaaaa" },
    status: { conditions: [{ type: "Ready", status: "True" }] },
  };

  it("is not over, and judges nobody", async () => {
    cluster.hook = ({ path }) => (path === paths.nodes ? "hang up" : undefined);
    await assert.rejects(
      soak(context, client, input, { id: "aaaaaaaa", spec }, [node], 0.3),
      (error) => error instanceof KubernetesUnreachable,
    );
    assert.deepEqual((await readPoolRecord(client, "workers")).generations, []);
  });
});
