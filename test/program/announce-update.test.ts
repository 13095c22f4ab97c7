import assert from "node:assert/strict";
import type { ClusterPlan } from "../../src/program/cluster-plan.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { readWantedSlots, writeWantedSlots } from "../../src/clients/kubernetes/record.ts";
import { announceUpdate } from "../../src/program/announce-update.ts";
import { freshCluster } from "../clients/kubernetes/fake.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";
import { picture, smallConfig } from "../support/picture.ts";

describe("what an update tells the cluster before it changes anything", () => {
  let client: Kubernetes;
  freshCluster((_, itsClient) => (client = itsClient));

  it("is which pools leave it, and no more: the nodes of others are taken out by no delete", async () => {
    for (const pool of ["old", "workers"]) await writeWantedSlots(client, pool, [0, 1]);
    await using pve = await fakeProxmox(() => ({ data: [] }));
    const clusterPlan = { removed: [{ pool: "old" }] } as unknown as ClusterPlan;
    await announceUpdate(pve.client, smallConfig(), picture({ kubernetes: client }), clusterPlan);
    const wanted = async (pool: string) => (await readWantedSlots(client, pool, "agent"))(1);
    assert.deepEqual([await wanted("old"), await wanted("workers")], [false, true]);
  });
});
