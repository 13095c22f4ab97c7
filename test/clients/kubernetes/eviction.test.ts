import assert from "node:assert/strict";
import { useClock } from "../../../src/runtime/clock.ts";
import { Deadline } from "../../../src/runtime/deadline.ts";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { drain, DrainError } from "../../../src/clients/kubernetes/eviction.ts";
import { KubernetesUnreachable } from "../../../src/clients/kubernetes/errors.ts";
import { paths } from "../../../src/clients/kubernetes/types.ts";
import { awaitDetached } from "../../../src/clients/kubernetes/volumes.ts";
import { fastClock, useFastClock } from "../../support/fast-clock.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";

const pods = "/api/v1/namespaces/shop/pods";
const budgets = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets";
type Refusal = Exclude<ReturnType<FakeCluster["hook"]>, "ok" | undefined>;
const refused = { status: 429, reason: "TooManyRequests", message: "needs 2 healthy pods", cause: "DisruptionBudget" };
const twoBudgets = {
  status: 500,
  reason: "InternalError",
  message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
};

describe("drain", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  useFastClock();
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const daemon = { ownerReferences: [{ kind: "DaemonSet", name: "cni", uid: "cni", controller: true }] };
  const pod = (name: string, more: object = {}, on = "n1") =>
    cluster.put(pods, {
      metadata: { name, namespace: "shop", labels: { app: name }, ...more },
      spec: { nodeName: on },
    });
  const budget = (name: string, matchLabels: Record<string, string>, disruptionsAllowed = 0) =>
    cluster.put(budgets, {
      metadata: { name, namespace: "shop" },
      spec: { selector: { matchLabels } },
      status: { disruptionsAllowed, currentHealthy: 2, desiredHealthy: 2, expectedPods: 3 },
    });
  /** Pods that are told to leave end after a moment. @param answer undefined: it may go */
  const evictions = (answer: (name: string, times: number) => Refusal | undefined = () => undefined) => {
    const asked: string[] = [];
    cluster.hook = ({ method, path, body }) => {
      const name = /pods\/([^/]+)\/eviction$/.exec(path)?.[1];
      if (method !== "POST" || name === undefined) return undefined;
      asked.push(name);
      const uid = (body.deleteOptions as { preconditions: { uid: string } }).preconditions.uid;
      assert.equal(uid, cluster.objects.get(`${pods}/${name}`)?.metadata.uid);
      const refusal = answer(name, asked.filter((one) => one === name).length);
      if (refusal) return refusal;
      setTimeout(() => cluster.remove(`${pods}/${name}`), 10);
      return "ok";
    };
    return asked;
  };
  const run = (seconds = 900, check = () => Promise.resolve()) =>
    drain(client, { node: "n1", deadline: new Deadline("n1 to be empty", seconds), check });
  const stays = async (seconds: number, check?: () => Promise<void>): Promise<readonly string[]> => {
    let blockers: readonly string[] = [];
    await assert.rejects(run(seconds, check), (error: unknown) => {
      assert.ok(error instanceof DrainError, String(error));
      ({ blockers } = error);
      return true;
    });
    return blockers.map((text) => text.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "TIME"));
  };

  it("calls it no refusal when the API server has too much to do", async () => {
    pod("a");
    evictions(() => ({ status: 429, reason: "TooManyRequests" }));
    assert.match((await stays(60)).join(), /shop\/a could not be asked since TIME/);
  });

  it("is cancelled, and no failure, when the run is", async () => {
    pod("a");
    evictions(() => refused);
    const stop = new AbortController();
    const deadline = new Deadline("n1 to be empty", 900, stop.signal);
    const check = () => {
      stop.abort(new Error("Ctrl-C"));
      return Promise.resolve();
    };
    await assert.rejects(drain(client, { node: "n1", deadline, check }), /Ctrl-C/);
  });

  it("asks every pod of the node once, in order, and leaves the others alone", async () => {
    for (const name of ["b", "a", "c"]) pod(name);
    pod("elsewhere", {}, "n2");
    pod("d-daemon", daemon);
    const asked = evictions();
    assert.equal(await run(), 3);
    assert.deepEqual(asked, ["a", "b", "c"]);
    assert.deepEqual([...cluster.objects.keys()].sort(), [`${pods}/d-daemon`, `${pods}/elsewhere`]);
  });

  it("does nothing to an empty node", async () => {
    const asked = evictions();
    assert.equal(await run(), 0);
    assert.deepEqual(asked, []);
  });

  it("evicts a pod that was bound before the scheduler saw the cordon, also when the watch tells of it late (seed 632714108)", async () => {
    const asked = evictions();
    const { hook } = cluster;
    let lists = 0;
    cluster.hook = (call) => {
      const isList = call.method === "GET" && call.path === paths.pods && call.query.watch === undefined;
      // The first list is the watch's own.
      if (isList && (lists += 1) === 2) pod("late");
      return hook(call);
    };
    assert.equal(await run(), 1);
    assert.deepEqual(asked, ["late"]);
  });

  it("does not call a node empty whose pods cannot be listed any more", async () => {
    let lists = 0;
    cluster.hook = ({ method, path, query }) => {
      const isList = method === "GET" && path === paths.pods && query.watch === undefined;
      return isList && (lists += 1) > 1 ? { status: 503, reason: "ServiceUnavailable" } : undefined;
    };
    assert.deepEqual(await stays(60), ["its pods could not be listed"]);
  });

  const webhook = 'admission webhook "pods.vet.example" denied the request: it is rolled by its operator';
  /** Nothing in the cluster changes meanwhile: only its own pace makes the drain ask again. */
  const passing: [string, Refusal][] = [
    ["the API server has no leader", { status: 500, reason: "InternalError", message: "etcdserver: leader changed" }],
    ["the API server starts", { status: 503, reason: "ServiceUnavailable" }],
    ["the connection ends without an answer", "hang up"],
    ["the API server has too much to do", { status: 429, reason: "TooManyRequests" }],
    ["a budget has no room", refused],
    [
      "its namespace is being deleted",
      { status: 403, reason: "Forbidden", message: "because it is being terminated", cause: "NamespaceTerminating" },
    ],
    ["a webhook denies it with 400", { status: 400, reason: "BadRequest", message: webhook }],
    ["a policy denies it with 403", { status: 403, reason: "Forbidden", message: webhook }],
    ["a webhook denies it with 422", { status: 422, reason: "Invalid", message: webhook }],
    ["a webhook does not answer", { status: 500, reason: "InternalError", message: "failed calling webhook" }],
    ["two budgets cover it", twoBudgets],
    ["the client's certificate is not accepted for a moment", { status: 401, reason: "Unauthorized" }],
  ];
  for (const [why, refusal] of passing) {
    it(`asks a pod again after its pause, and meanwhile every other, when ${why}`, async () => {
      for (const name of ["a", "b", "c"]) pod(name);
      const asked = evictions((name, times) => (name === "a" && times < 3 ? refusal : undefined));
      assert.equal(await run(), 3);
      assert.deepEqual(asked, ["a", "b", "c", "a", "a"]);
    });
  }

  it("asks a pod that was told to go again when it has not begun to end, as a webhook may have made a dry run of it", async () => {
    pod("a");
    let times = 0;
    cluster.hook = ({ method, path }) => {
      if (method !== "POST" || !path.endsWith("/eviction")) return undefined;
      times += 1;
      if (times === 3) setTimeout(() => cluster.remove(`${pods}/a`), 10);
      return "ok";
    };
    await run();
    assert.equal(times, 3);
  });

  it("does not ask a pod that is ending already, and waits for it", async () => {
    pod("a", { deletionTimestamp: "2026-01-01T00:00:00Z" });
    const asked = evictions();
    setTimeout(() => cluster.remove(`${pods}/a`), 150);
    assert.equal(await run(), 0);
    assert.deepEqual(asked, []);
  });

  it("leaves a pod that comes in spite of the cordon a pause before it is asked, as it may come again and again", async () => {
    pod("a");
    let came = 0;
    const asked = evictions();
    const evict = cluster.hook;
    cluster.hook = (call) => {
      const answer = evict(call);
      if (answer === "ok" && (came += 1) < 3) pod(`a${came}`);
      return answer;
    };
    const begin = performance.now();
    await run();
    assert.deepEqual(asked, ["a", "a1", "a2"]);
    // Each newcomer waits for 5 s, which are 50 ms here.
    assert.ok(performance.now() - begin >= 100);
  });

  describe("of a pod that comes back however often it is evicted, as its node has more room than any other (cilium#28549)", () => {
    const controller = { ownerReferences: [{ kind: "ReplicaSet", name: "a", uid: "a", controller: true }] };
    const conditions = [{ type: "Ready", status: "True" }];
    const comesBack = (spec: object = {}) => {
      let made = 0;
      const make = () =>
        cluster.put(pods, {
          metadata: { name: `a${made}`, namespace: "shop", labels: { app: "a" }, ...controller },
          spec: { nodeName: "n1", ...spec },
          status: { phase: "Running", conditions },
        });
      make();
      const asked = evictions();
      const evict = cluster.hook;
      cluster.hook = (call) => {
        const answer = evict(call);
        if (answer !== "ok") return answer;
        made += 1;
        make();
        return answer;
      };
      return asked;
    };

    it("lets it go with the node", async () => {
      budget("a", { app: "a" }, 1);
      const asked = comesBack();
      assert.equal(await run(), 3);
      assert.deepEqual(asked, ["a0", "a1", "a2"]);
    });

    it("asks on while its budget has no room for that", async () => {
      budget("a", { app: "a" });
      comesBack();
      assert.match((await stays(60)).join(), /shop\/a\d+ /);
    });

    it("does not take budgets that were never listed for none", async () => {
      budget("a", { app: "a" });
      comesBack();
      const { hook } = cluster;
      const away = { status: 503, reason: "ServiceUnavailable" };
      cluster.hook = (call) => (call.path === paths.budgets ? away : hook(call));
      assert.match((await stays(60)).join(), /shop\/a\d+ /);
    });

    it("asks on while another pod stays, which was refused and has not come back", async () => {
      comesBack();
      pod("b");
      const { hook } = cluster;
      const denied = { status: 403, reason: "Forbidden", message: webhook };
      cluster.hook = (call) => (call.path.endsWith("/b/eviction") ? denied : hook(call));
      assert.match((await stays(60)).join(), /shop\/b was refused since/);
    });

    it("asks on while it has a volume, which would stay attached", async () => {
      comesBack({ volumes: [{ name: "data", persistentVolumeClaim: { claimName: "a" } }] });
      assert.match((await stays(60)).join(), /shop\/a\d+ /);
    });
  });

  it("asks again at once when a budget has room", async () => {
    for (const name of ["a", "b"]) pod(name);
    budget("b", { app: "b" });
    let room = false;
    const asked = evictions((name) => (name === "a" || room ? undefined : refused));
    const evict = cluster.hook;
    cluster.hook = (call) => {
      const answer = evict(call);
      if (answer !== refused) return answer;
      room = true;
      budget("b", { app: "b" }, 1);
      return answer;
    };
    // No pause is ever over: what asks again is the change.
    useClock({ ...fastClock, later: () => () => undefined });
    assert.equal(await run().finally(() => useClock(fastClock)), 2);
    assert.deepEqual(asked, ["a", "b", "b"]);
  });

  it("waits for the pause when something else changes, be it as often as it likes", async () => {
    for (const name of ["a", "b"]) pod(name);
    const asked = evictions((name, times) =>
      name === "b" && times < 3 ? { status: 400, reason: "BadRequest", message: webhook } : undefined,
    );
    const noise = setInterval(() => {
      budget("other", { app: "other" }, Math.round(performance.now()) % 2);
      if (cluster.objects.has(`${pods}/b`)) pod("b", { annotations: { touched: String(performance.now()) } });
    }, 2);
    const begin = performance.now();
    await run().finally(() => clearInterval(noise));
    assert.deepEqual(asked, ["a", "b", "b", "b"]);
    assert.ok(performance.now() - begin >= 100);
  });

  it("says truly who was asked, who was refused by what, and who could not be asked, when its time is over", async () => {
    pod("held");
    pod("twice");
    pod("vetoed");
    pod("unheard");
    pod("dry");
    pod("ending", {
      deletionTimestamp: "2026-01-01T00:00:00Z",
      deletionGracePeriodSeconds: 600,
      finalizers: ["example.com/x"],
    });
    budget("pdb", { app: "held" });
    budget("one", { app: "twice" });
    budget("two", { app: "twice" });
    cluster.hook = ({ method, path }) => {
      if (method !== "POST") return undefined;
      if (path.includes("held")) return refused;
      if (path.includes("twice")) return twoBudgets;
      if (path.includes("vetoed")) return { status: 403, reason: "Forbidden", message: webhook };
      return path.includes("unheard") ? "hang up" : "ok";
    };
    const room = "2 of 3 pods healthy, 2 needed, 0 may go";
    assert.deepEqual(await stays(60), [
      "shop/dry was asked to leave at TIME and has not begun to end",
      "shop/ending is ending and has not ended (grace period 600 s; finalizers: example.com/x)",
      `shop/held is held by shop/pdb (${room})`,
      `shop/twice is held by shop/one (${room}) and shop/two (${room}): Kubernetes evicts no pod that has more than one`,
      "shop/unheard could not be asked since TIME: the cluster's API does not answer (UND_ERR_SOCKET, 1 try)",
      `shop/vetoed was refused since TIME: ${webhook} (403 Forbidden to POST /api/v1/namespaces/shop/pods/vetoed/eviction)`,
    ]);
    assert.ok(cluster.objects.has(`${pods}/held`));
  });

  it("asks nobody any more once its time is over, as after a lease that took long to prove, and says so", async () => {
    for (const name of ["a", "b"]) pod(name);
    const asked = evictions();
    assert.deepEqual(await stays(100, () => fastClock.sleep(150_000)), [
      "shop/a was asked to leave at TIME and has not begun to end",
      "shop/b was not asked to leave before the time was over",
    ]);
    assert.deepEqual(asked, ["a"]);
  });

  it("says that the pods could not be listed when the API never answered", async () => {
    cluster.hook = () => ({ status: 503, reason: "ServiceUnavailable" });
    assert.deepEqual(await stays(10), ["its pods could not be listed"]);
  });

  it("asks nobody while the right to act cannot be proved, and goes on when it can", async () => {
    pod("a");
    const asked = evictions();
    let times = 0;
    const check = () =>
      (times += 1) < 3
        ? Promise.reject(new KubernetesUnreachable("https://cluster", "PUT", paths.leases, 1, new Error("reset")))
        : Promise.resolve();
    assert.equal(await run(900, check), 1);
    assert.deepEqual([times, asked], [3, ["a"]]);
  });

  it("stops before an eviction when we must not act any more", async () => {
    pod("a");
    const asked = evictions();
    await assert.rejects(
      run(500, () => Promise.reject(new Error("the lease was lost"))),
      /the lease was lost/,
    );
    assert.deepEqual(asked, []);
  });

  it("does not wait for the volumes of pods that stay with the node", async () => {
    const claim = { name: "data", persistentVolumeClaim: { claimName: "shared" } };
    cluster.put(pods, {
      metadata: { name: "cni", namespace: "shop", ...daemon },
      spec: { nodeName: "n1", volumes: [claim] },
    });
    for (const [volume, name] of [
      ["pv-shared", "shared"],
      ["pv-other", "other"],
    ] as const) {
      cluster.put(paths.persistentVolumes, {
        metadata: { name: volume },
        spec: { claimRef: { namespace: "shop", name } },
      });
      cluster.put(paths.volumeAttachments, {
        metadata: { name: volume },
        spec: { nodeName: "n1", attacher: "csi.example", source: { persistentVolumeName: volume } },
      });
    }
    await assert.rejects(awaitDetached(client, "n1", new Deadline("volumes", 20)), (error: unknown) => {
      assert.match(String(error), /where: pv-other is attached by csi\.example\n/);
      return true;
    });
    cluster.remove(`${paths.volumeAttachments}/pv-other`);
    await awaitDetached(client, "n1", new Deadline("volumes", 500));
  });

  it("waits for volumes of the node only, and names those that stay", async () => {
    const attach = (name: string, nodeName: string) =>
      cluster.put(paths.volumeAttachments, {
        metadata: { name },
        spec: { nodeName, attacher: "csi.example", source: { persistentVolumeName: `pv-${name}` } },
      });
    attach("1", "n1");
    attach("2", "n2");
    await assert.rejects(awaitDetached(client, "n1", new Deadline("volumes", 20)), /pv-1 is attached by csi\.example/);
    setTimeout(() => cluster.remove(`${paths.volumeAttachments}/1`), 50);
    await awaitDetached(client, "n1", new Deadline("volumes", 500));
  });
});
