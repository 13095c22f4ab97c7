import assert from "node:assert/strict";
import { clock, useClock } from "../../../src/runtime/clock.ts";
import { Deadline } from "../../../src/runtime/deadline.ts";
import { redact } from "../../../src/runtime/log.ts";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { KubernetesError, KubernetesUnreachable } from "../../../src/clients/kubernetes/errors.ts";
import { parseKubeconfig } from "../../../src/clients/kubernetes/kubeconfig.ts";
import { named, waitUntil, watch, type Seen } from "../../../src/clients/kubernetes/watch.ts";
import { freshCluster, type FakeCluster, type Stored } from "./fake.ts";

const nodes = "/api/v1/nodes";

describe("Kubernetes client", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  it("says that something does not exist only when the server said so", async () => {
    assert.equal(await client.find(`${nodes}/n1`), undefined);
    cluster.hook = () => ({ status: 403, reason: "Forbidden", message: "no" });
    await assert.rejects(client.find(`${nodes}/n1`), (error: unknown) => {
      assert.ok(error instanceof KubernetesError);
      assert.deepEqual(
        [error.status, error.reason, error.message],
        [403, "Forbidden", `no (403 Forbidden to GET ${nodes}/n1)`],
      );
      return true;
    });
  });

  it("counts the time without an answer from the first request that got none to the next that got one", async () => {
    const elapsed = (ms: number) => useClock({ ...clock, elapsed: () => ms });
    const real = clock;
    const [before, steps] = [client.silence, [] as number[]];
    try {
      for (const [at, hook] of [
        [1_000_000, undefined],
        [1_004_000, "hang up"],
        [1_006_000, { status: 503, reason: "ServiceUnavailable" }],
        [1_010_000, { status: 429, reason: "TooManyRequests" }],
        [1_020_000, undefined],
      ] as const) {
        elapsed(at);
        cluster.hook = () => hook;
        await client.create(nodes, { metadata: { name: `n${at}` } }).catch(() => undefined);
        steps.push(client.silence - before);
      }
    } finally {
      useClock(real);
    }
    assert.deepEqual(steps, [0, 0, 2, 6, 6]);
  });

  it("sends each kind of patch under its own media type", async () => {
    cluster.put(nodes, { metadata: { name: "n1" } });
    for (const kind of ["merge", "strategic", "json"] as const) await client.patch(`${nodes}/n1`, kind, {});
    assert.deepEqual(
      cluster.calls.map(({ type }) => type),
      ["application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json"],
    );
  });

  it("repeats reads and merge patches while no server answers, and nothing else", async () => {
    const faults = ["hang up", { status: 503, reason: "ServiceUnavailable" }] as const;
    for (const fault of faults) {
      for (const [ask, tries] of [
        [() => client.get(nodes), 4],
        [() => client.patch(`${nodes}/n1`, "merge", {}), 4],
        [() => client.create(nodes, {}), 1],
        [() => client.replace(`${nodes}/n1`, {}), 1],
        [() => client.delete(`${nodes}/n1`), 1],
      ] as const) {
        cluster.calls.length = 0;
        cluster.hook = () => fault;
        await assert.rejects(ask(), fault === "hang up" ? KubernetesUnreachable : KubernetesError);
        assert.equal(cluster.calls.length, tries);
      }
    }
  });

  it("sends a patch again only while its sender has the right to, and its reason holds", async () => {
    cluster.put(nodes, { metadata: { name: "n1" } });
    const sent = async (holds: { lease?: boolean; reason?: boolean }) => {
      cluster.calls.length = 0;
      let first = true;
      cluster.hook = () => (first ? ((first = false), "hang up") : undefined);
      const fails = (what: string) => Promise.reject(new Error(`${what} is lost`));
      const fence = { requireOwned: () => (holds.lease === false ? fails("the lease") : Promise.resolve()) };
      client.fences.add(fence);
      const again = () => (holds.reason === false ? fails("the reason") : Promise.resolve());
      const outcome = await client.patch(`${nodes}/n1`, "merge", {}, again).then(
        () => "done",
        (error: unknown) => String(error),
      );
      client.fences.delete(fence);
      return [outcome, cluster.calls.length];
    };
    assert.deepEqual(await sent({}), ["done", 2]);
    assert.deepEqual(await sent({ lease: false }), ["Error: the lease is lost", 1]);
    assert.deepEqual(await sent({ reason: false }), ["Error: the reason is lost", 1]);
  });

  it("names the alarm and its cure when etcd is full, at once", async () => {
    cluster.hook = () => ({
      status: 500,
      reason: "InternalError",
      message: "etcdserver: mvcc: database space exceeded",
    });
    for (const ask of [() => client.patch(`${nodes}/n1`, "merge", {}), () => client.create(nodes, {})]) {
      cluster.calls.length = 0;
      await assert.rejects(ask(), /etcd is full .*\(alarm NOSPACE\).*disarm the alarm/s);
      assert.equal(cluster.calls.length, 1);
    }
  });

  it("reads lists to their last page", async () => {
    let page = 0;
    const pages = [
      { metadata: { continue: "x" }, items: [1] },
      { metadata: { resourceVersion: "7" }, items: [2] },
    ];
    client.get = () => Promise.resolve(pages[page++] as never);
    assert.deepEqual(await client.list(nodes), { items: [1, 2], resourceVersion: "7" });
  });

  it("deletes only the object that it is told to, and is content when it is gone", async () => {
    const { metadata } = cluster.put(nodes, { metadata: { name: "n1" } });
    await assert.rejects(client.delete(`${nodes}/n1`, { uid: "another" }), /Conflict/);
    await client.delete(`${nodes}/n1`, { uid: metadata.uid ?? "" });
    await client.delete(`${nodes}/n1`);
    assert.equal(cluster.objects.size, 0);
  });

  describe("watch", () => {
    const put = (name: string, value: number): Stored => cluster.put(nodes, { metadata: { name }, value });
    const view = (seen: Seen<Stored>) =>
      Object.fromEntries([...seen.values()].map(({ metadata, value }) => [metadata.name, value]));
    const wait = (what: (view: Record<string, unknown>) => boolean, seconds = 5) =>
      waitUntil<Stored, true>(
        client,
        { path: nodes },
        new Deadline("a change", seconds),
        (seen) => what(view(seen)) || undefined,
        () => "n1 is in the way",
      );

    it("sees what there is and what changes", async () => {
      put("n1", 1);
      const states: string[] = [];
      const end = new AbortController();
      const changes = [() => put("n2", 2), () => put("n1", 3), () => cluster.remove(`${nodes}/n2`), () => end.abort()];
      for await (const seen of watch<Stored>(client, nodes, {}, end.signal)) {
        states.push(JSON.stringify(view(seen)));
        // The next turn after the connection stands.
        setTimeout(() => changes.shift()?.(), 20);
      }
      assert.deepEqual(states, ['{"n1":1}', '{"n1":1,"n2":2}', '{"n1":3,"n2":2}', '{"n1":3}']);
    });

    it("lists anew after 410, in the answer and in the stream", async () => {
      const expired = { status: 410, reason: "Expired" };
      for (const expire of [
        () => cluster.breakWatches({ kind: "Status", ...expired, code: expired.status }),
        () => {
          cluster.hook = () => {
            cluster.hook = () => undefined;
            return expired;
          };
          cluster.breakWatches();
        },
      ]) {
        cluster.objects.clear();
        put("n1", 1);
        const changed = cluster.nextWatch().then(() => {
          expire();
          // Both happen while nobody watches: only a new list shows them.
          cluster.objects.clear();
          put("n2", 2);
        });
        await wait((now) => now.n2 === 2 && !("n1" in now));
        await changed;
      }
    });

    it("goes on from the last bookmark over a broken connection, without a new list", async () => {
      put("n1", 1);
      const changed = cluster.nextWatch().then(async () => {
        await cluster.bookmark();
        cluster.breakWatches();
        await cluster.nextWatch();
        put("n1", 2);
      });
      await wait((now) => now.n1 === 2);
      await changed;
      const asked = cluster.calls.map(({ query }) => (query.watch ? Number(query.resourceVersion) : "list"));
      assert.equal(asked[0], "list");
      assert.equal(asked.length, 3);
      assert.ok(Number(asked[2]) > Number(asked[1]));
    });

    it("ends with its deadline and says what was in the way", async () => {
      await assert.rejects(
        wait(() => false, 0.2),
        /waiting for a change.*n1 is in the way/s,
      );
    });

    it("ends with what its condition throws, and with a refusal", async () => {
      await assert.rejects(
        waitUntil(client, named(nodes, "n1"), new Deadline("x", 5), () => {
          throw new Error("lost");
        }),
        /lost/,
      );
      cluster.hook = () => ({ status: 403, reason: "Forbidden" });
      await assert.rejects(
        wait(() => true),
        /Forbidden/,
      );
    });

    it("ends at once when the run is cancelled", async () => {
      const stop = new AbortController();
      setTimeout(() => stop.abort(new Error("cancelled by the user")), 50);
      await assert.rejects(
        waitUntil(client, { path: nodes }, new Deadline("x", 5, stop.signal), () => undefined),
        /cancelled by the user/,
      );
    });
  });
});

describe("kubeconfig", () => {
  const b64 = (text: string) => Buffer.from(text).toString("base64");
  const config = {
    "current-context": "default",
    contexts: [{ name: "default", context: { cluster: "c", user: "u" } }],
    clusters: [
      { name: "c", cluster: { server: "https://127.0.0.1:6443", "certificate-authority-data": b64("the CA") } },
    ],
    users: [{ name: "u", user: { "client-certificate-data": b64("cert"), "client-key-data": b64("secret key") } }],
  };

  it("gives the certificates, with the registration address in the place of the loopback, and hides the key", () => {
    assert.deepEqual(parseKubeconfig(JSON.stringify(config), "rke2.yaml", "https://rke2.example:6443"), {
      server: "https://rke2.example:6443",
      ca: "the CA",
      cert: "cert",
      key: "secret key",
    });
    assert.equal(redact("-- secret key --"), "-- ****** --");
  });

  it("names the field that is missing", () => {
    assert.throws(
      () => parseKubeconfig(JSON.stringify({ ...config, users: [] }), "rke2.yaml on s1"),
      /no client-.*rke2.yaml on s1/s,
    );
    assert.throws(() => parseKubeconfig("", "rke2.yaml on s1"), /the kubeconfig has no/);
  });
});
