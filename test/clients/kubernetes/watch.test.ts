import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { paths } from "../../../src/clients/kubernetes/types.ts";
import { watch } from "../../../src/clients/kubernetes/watch.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";

describe("a watch", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  it("that is answered and ended at once is asked again ever more slowly, and still tells what comes", async () => {
    cluster.endsWatches = true;
    const end = new AbortController();
    const names: string[][] = [];
    const watching = (async () => {
      for await (const seen of watch(client, paths.nodes, {}, end.signal)) names.push([...seen.keys()]);
    })();
    await delay(1500);
    assert.ok(cluster.calls.length < 8, `${cluster.calls.length} requests`);
    cluster.endsWatches = false;
    cluster.put(paths.nodes, { metadata: { name: "demo-workers-0-aaaaaaaa" } });
    while (names.at(-1)?.length !== 1) await delay(20);
    end.abort();
    await watching;
  });
});
