import assert from "node:assert/strict";
import type { ClusterPlan } from "../../src/program/cluster-plan.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import {
  readMaxUnavailable,
  readWantedServers,
  readWantedSlots,
  writeMaxUnavailable,
  writeWantedServers,
  writeWantedSlots,
} from "../../src/clients/kubernetes/cluster-record.ts";
import type { Role } from "../../src/domain/model/types.ts";
import { announceUpdate } from "../../src/program/announce-update.ts";
import { freshCluster } from "../clients/kubernetes/fake.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";
import { picture, smallConfig } from "../support/picture.ts";

describe("what an update tells the cluster before it changes anything", () => {
  let client: Kubernetes;
  freshCluster((_, itsClient) => (client = itsClient));

  it("is which pools and slots leave it, and no more: the nodes of others are taken out by no delete", async () => {
    for (const pool of ["old", "workers"]) {
      await writeWantedSlots(client, pool, [0, 1, 2]);
      await writeMaxUnavailable(client, pool, 3);
    }
    await writeWantedServers(client, "servers", [0, 1, 2]);
    await using pve = await fakeProxmox(() => ({ data: [] }));
    const poolOf = (pool: string, role: Role, ...slots: number[]) => ({
      pool,
      role,
      slots: slots.map((slot) => ({ slot })),
      unreplaced: [],
      strategy: { maxUnavailable: 2 },
    });
    const clusterPlan = {
      controlPlane: poolOf("servers", "server", 0),
      // A slot that is new is wanted once its rollout begins.
      pools: [poolOf("workers", "agent", 0, 1, 3)],
      removed: [{ pool: "old" }],
    } as unknown as ClusterPlan;
    await announceUpdate(pve.client, smallConfig(), picture({ kubernetes: client }), clusterPlan);
    const wanted = async (pool: string, role: Role = "agent") => {
      const isWanted = await readWantedSlots(client, pool, role);
      return [0, 1, 2, 3].filter(isWanted);
    };
    assert.deepEqual([await wanted("old"), await wanted("workers")], [[], [0, 1]]);
    assert.deepEqual([await wanted("servers", "server"), await readWantedServers(client)], [[0], 1]);
    // With how many of them at once, deletes would not know that are older.
    assert.deepEqual([await readMaxUnavailable(client, "old"), await readMaxUnavailable(client, "workers")], [3, 2]);
  });
});
