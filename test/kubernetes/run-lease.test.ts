import assert from "node:assert/strict";
import { hostname } from "node:os";
import type { Kubernetes } from "../../kubernetes/client.ts";
import { holdRun } from "../../kubernetes/run-lease.ts";
import { paths } from "../../kubernetes/types.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";

describe("the lease of an update", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));
  const held = (holderIdentity: string, renewTime = new Date().toISOString()) =>
    cluster.put(paths.leases, {
      metadata: { name: "update" },
      spec: { holderIdentity, leaseDurationSeconds: 15, renewTime },
    });
  /** Larger than any that Linux gives. */
  const nobody = 2 ** 22 + 1;

  it("names who updates the cluster, and goes when it is released", async () => {
    const lease = await holdRun(client, "demo");
    const holder = (cluster.objects.get(`${paths.leases}/update`)?.spec as { holderIdentity: string }).holderIdentity;
    assert.match(holder, new RegExp(`@${hostname()} \\(process ${process.pid}\\)$`));
    await lease.release();
    assert.equal(cluster.objects.has(`${paths.leases}/update`), false);
  });

  it("of a process of this machine that is gone is taken over at once", async () => {
    held(`root@${hostname()} (process ${nobody})`);
    await (await holdRun(client, "demo", 0.5)).release();
  });

  for (const [title, holder] of [
    ["a process that lives", `root@${hostname()} (process ${process.ppid})`],
    ["another machine", `root@elsewhere (process ${nobody})`],
  ] as const) {
    it(`of ${title} refuses a second update, by the name of its holder`, async () => {
      held(holder);
      const refused = holdRun(client, "demo", 0.5);
      await assert.rejects(
        refused,
        /another update of the cluster demo is running\n {2}where: update is held by root@/,
      );
      assert.ok(cluster.objects.has(`${paths.leases}/update`));
    });
  }
});
