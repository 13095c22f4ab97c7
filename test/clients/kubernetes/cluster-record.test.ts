import assert from "node:assert/strict";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import {
  readGoingAway,
  readMaxUnavailable,
  readWantedServers,
  readWantedSlots,
  releaseWantedSlots,
  writeGoingAway,
  writeMaxUnavailable,
  writeWantedServers,
} from "../../../src/clients/kubernetes/cluster-record.ts";
import { paths } from "../../../src/clients/kubernetes/types.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";

describe("what is recorded about the cluster as a whole", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((itsCluster, itsClient) => ([cluster, client] = [itsCluster, itsClient]));

  it("marks a cluster as going away and takes the mark back", async () => {
    assert.equal(await readGoingAway(client), false);
    await writeGoingAway(client, "2026-11-21T08:00:00Z");
    assert.equal(await readGoingAway(client), true);
    await writeGoingAway(client, undefined);
    assert.equal(await readGoingAway(client), false);
    assert.ok(cluster.objects.has(`${paths.configMaps}/cluster`));
  });

  it("is not guessed when a number cannot be read: a default could let too many nodes leave", async () => {
    await writeWantedServers(client, "servers", [0, 1, 2]);
    await writeMaxUnavailable(client, "workers", 1);
    assert.deepEqual([await readWantedServers(client), await readMaxUnavailable(client, "workers")], [3, 1]);
    const data = { servers: "three", "slots.servers": null, "maxUnavailable.workers": "1e1" };
    await client.patch(`${paths.configMaps}/cluster`, "merge", { data });
    const refused = (key: string) => new RegExp(`is no number.*evergreen-system/cluster, ${key}`, "s");
    await assert.rejects(readMaxUnavailable(client, "workers"), refused("maxUnavailable.workers"));
    await assert.rejects(readWantedServers(client), refused("servers"));
    await assert.rejects(readWantedSlots(client, "servers", "server"), refused("servers"));
    await assert.rejects(releaseWantedSlots(client, "servers", "server", [0]), refused("servers"));
    // The next update writes what it wants.
    await writeMaxUnavailable(client, "workers", 2);
    assert.equal(await readMaxUnavailable(client, "workers"), 2);
  });

  const slots: [what: string, data: Record<string, string>, wanted: number[]][] = [
    ["all, where an older program has written nothing", {}, [0, 1, 2]],
    ["all, where it cannot be read", { "slots.workers": "0,x" }, [0, 1, 2]],
    ["those that are named", { "slots.workers": "0-1" }, [0, 1]],
    ["none of a pool that is said to be removed", { "slots.workers": "" }, []],
  ];
  for (const [what, data, wanted] of slots)
    it(`wants of a pool of agents ${what}`, async () => {
      await writeGoingAway(client, undefined);
      await client.patch(`${paths.configMaps}/cluster`, "merge", { data });
      const isWanted = await readWantedSlots(client, "workers", "agent");
      assert.deepEqual([0, 1, 2].filter(isWanted), wanted);
    });

  it("names the slots of a pool of agents that an older program did not name, with the next update", async () => {
    await releaseWantedSlots(client, "workers", "agent", [0, 2]);
    const isWanted = await readWantedSlots(client, "workers", "agent");
    assert.deepEqual([0, 1, 2].filter(isWanted), [0, 2]);
  });
});
