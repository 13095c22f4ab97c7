import assert from "node:assert/strict";
import { Deadline } from "../../common/deadline.ts";
import type { Kubernetes } from "../../kubernetes/client.ts";
import { drain, DrainError } from "../../kubernetes/eviction.ts";
import { paths, type Pod } from "../../kubernetes/types.ts";
import { awaitDetached } from "../../kubernetes/volumes.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";

const pods = "/api/v1/namespaces/shop/pods";
const budgets = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets";
const refused = { status: 429, reason: "TooManyRequests", message: "needs 2 healthy pods", cause: "DisruptionBudget" };

describe("drain", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const pod = (name: string, labels: Record<string, string> = {}, on = "n1") =>
    cluster.put(pods, { metadata: { name, namespace: "shop", labels }, spec: { nodeName: on } });
  /** Pods that are told to leave end after a moment. */
  const evictions = (allow: (name: string) => boolean) => {
    const asked: string[] = [];
    cluster.hook = ({ method, path, body }) => {
      const name = /pods\/([^/]+)\/eviction$/.exec(path)?.[1];
      if (method !== "POST" || name === undefined) return undefined;
      asked.push(name);
      const uid = (body.deleteOptions as { preconditions: { uid: string } }).preconditions.uid;
      assert.equal(uid, cluster.objects.get(`${pods}/${name}`)?.metadata.uid);
      if (!allow(name)) return refused;
      setTimeout(() => cluster.remove(`${pods}/${name}`), 50);
      return "ok";
    };
    return asked;
  };
  const run = (seconds = 5, check = () => Promise.resolve()) =>
    drain(client, {
      node: "n1",
      deadline: new Deadline("n1 to be empty", seconds),
      check,
      leaves: (one: Pod) => one.metadata?.labels?.daemon === undefined,
      order: (left) => left.toSorted((a, b) => (a.metadata?.name ?? "").localeCompare(b.metadata?.name ?? "")),
      blocker: (one, held) =>
        `${one.metadata?.name ?? ""} is held by ${held.map(({ metadata }) => metadata?.name).join()}`,
    });

  it("asks every pod of the node once, in order, and leaves the others alone", async () => {
    for (const name of ["b", "a", "c"]) pod(name);
    pod("elsewhere", {}, "n2");
    pod("d-daemon", { daemon: "yes" });
    const asked = evictions(() => true);
    assert.equal(await run(), 3);
    assert.deepEqual(asked, ["a", "b", "c"]);
    assert.deepEqual([...cluster.objects.keys()].sort(), [`${pods}/d-daemon`, `${pods}/elsewhere`]);
  });

  it("does nothing to an empty node", async () => {
    const asked = evictions(() => true);
    assert.equal(await run(), 0);
    assert.deepEqual(asked, []);
  });

  it("asks again when the budget has room, and not while nothing changes", async () => {
    for (const name of ["a", "b"]) pod(name);
    const budget = (disruptionsAllowed: number) =>
      cluster.put(budgets, { metadata: { name: "pdb", namespace: "shop" }, status: { disruptionsAllowed } });
    budget(1);
    let room = true;
    const asked = evictions((name) => name === "a" || room);
    room = false;
    setTimeout(() => {
      room = true;
      budget(1);
    }, 700);
    assert.equal(await run(), 2);
    // a; b is refused, asked again when the budgets were listed and when a has ended, and after the change.
    assert.deepEqual(
      asked.filter((name) => name === "a"),
      ["a"],
    );
    assert.ok(asked.length <= 6, `asked ${asked.join(" ")}`);
    assert.ok(asked.length >= 3);
  });

  it("is bounded, and names what holds the pods and what does not end", async () => {
    pod("held");
    cluster.put(pods, {
      metadata: { name: "ending", namespace: "shop", finalizers: ["example.com/x"] } as never,
      spec: { nodeName: "n1" },
    });
    cluster.put(budgets, { metadata: { name: "pdb", namespace: "shop" } });
    cluster.hook = ({ method, path }) => {
      if (method !== "POST") return undefined;
      return path.includes("held") ? refused : "ok";
    };
    await assert.rejects(run(0.6), (error: unknown) => {
      assert.ok(error instanceof DrainError);
      assert.deepEqual(error.blockers, [
        "held is held by pdb",
        "shop/ending was asked to leave and has not ended (finalizers: example.com/x)",
      ]);
      return true;
    });
    assert.ok(cluster.objects.has(`${pods}/held`));
  });

  it("goes on when the API server was away for a moment", async () => {
    pod("a");
    let tries = 0;
    const asked = evictions(() => true);
    const evict = cluster.hook;
    cluster.hook = (call) => {
      if (call.method !== "POST" || (tries += 1) > 1) return evict(call);
      setTimeout(() => pod("a", { touched: "yes" }), 50);
      return { status: 503, reason: "ServiceUnavailable" };
    };
    assert.equal(await run(), 1);
    assert.deepEqual(asked, ["a"]);
  });

  it("does not wait for what can never succeed: two budgets over one pod", async () => {
    pod("a");
    cluster.hook = ({ method }) =>
      method === "POST"
        ? {
            status: 500,
            reason: "InternalError",
            message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
          }
        : undefined;
    await assert.rejects(run(), /shop\/a cannot be evicted: more than one PodDisruptionBudget/);
  });

  it("stops before an eviction when we must not act any more", async () => {
    pod("a");
    const asked = evictions(() => true);
    await assert.rejects(
      run(5, () => Promise.reject(new Error("the lease was lost"))),
      /the lease was lost/,
    );
    assert.deepEqual(asked, []);
  });

  it("waits for volumes of the node only, and names those that stay", async () => {
    const attach = (name: string, nodeName: string) =>
      cluster.put(paths.volumeAttachments, {
        metadata: { name },
        spec: { nodeName, attacher: "csi.example", source: { persistentVolumeName: `pv-${name}` } },
      });
    attach("1", "n1");
    attach("2", "n2");
    await assert.rejects(awaitDetached(client, "n1", new Deadline("volumes", 0.2)), /pv-1 is attached by csi\.example/);
    setTimeout(() => cluster.remove(`${paths.volumeAttachments}/1`), 50);
    await awaitDetached(client, "n1", new Deadline("volumes", 5));
  });
});
