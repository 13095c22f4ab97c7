import assert from "node:assert/strict";
import type { Access } from "../../src/clients/kubernetes/access.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { LeaseLost, type Fence } from "../../src/clients/kubernetes/lease.ts";
import { paths } from "../../src/clients/kubernetes/types.ts";
import { withLease, type StepContext } from "../../src/steps/context.ts";
import { freshCluster, type FakeCluster } from "../clients/kubernetes/fake.ts";

describe("a step that holds a lease", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const lost = new LeaseLost("update", "another process took it (root@elsewhere)");
  const fence = (refusal?: Error): Fence => {
    const answer = () => (refusal ? Promise.reject(refusal) : Promise.resolve());
    return { check: answer, requireOwned: answer };
  };
  /** The lease of a slot needs nothing else of a run. */
  const hold = <T>(update: StepContext["update"], work: (fence: Fence) => Promise<T>): Promise<T> => {
    const context = {
      id: "join-1",
      stop: new AbortController().signal,
      mayTearDown: false,
      previous: "",
      update,
    } as unknown as StepContext;
    return withLease(context, { client } as unknown as Access, ["slot-workers-0"], 5, work);
  };

  it("does not begin when its engine may not update the cluster", async () => {
    const begun = hold(
      () => Promise.reject(lost),
      () => assert.fail("it began"),
    );
    await assert.rejects(begun, lost);
    assert.equal(cluster.objects.size, 0);
  });

  it("stops before its next effect when its engine lost that right, and gives its own lease back", async () => {
    const stopped = hold(
      () => Promise.resolve(fence(lost)),
      async (both) => {
        await both.check();
        assert.fail("an effect");
      },
    );
    await assert.rejects(stopped, lost);
    assert.equal(cluster.objects.has(`${paths.leases}/slot-workers-0`), false);
  });

  it("says that it was lost, and not what failed because of it", async () => {
    const failed = hold(
      () => Promise.resolve(fence(lost)),
      () => Promise.reject(new Error("a verdict")),
    );
    await assert.rejects(failed, lost);
  });

  it("says what failed while everything is its own", async () => {
    const failed = hold(
      () => Promise.resolve(fence()),
      () => Promise.reject(new Error("a verdict")),
    );
    await assert.rejects(failed, /a verdict/);
  });

  it("sends no change a second time once it was lost", async () => {
    cluster.hook = ({ method }) => (method === "PATCH" ? "hang up" : undefined);
    const changed = hold(
      () => Promise.resolve(fence(lost)),
      () => client.patch(`${paths.nodes}/n1`, "merge", {}),
    );
    await assert.rejects(changed, lost);
    assert.equal(cluster.calls.filter(({ method }) => method === "PATCH").length, 1);
  });
});
