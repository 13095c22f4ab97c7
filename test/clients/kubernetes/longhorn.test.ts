import assert from "node:assert/strict";
import { Deadline } from "../../../src/runtime/deadline.ts";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import {
  evacuate,
  findLonghornNode,
  forgetLonghornNode,
  requireMayRetire,
  withdrawEviction,
} from "../../../src/clients/kubernetes/longhorn.ts";
import { paths } from "../../../src/clients/kubernetes/types.ts";
import type { LonghornNode } from "../../../src/domain/drain/longhorn.ts";
import { freshCluster, type FakeCluster, type Stored } from "./fake.ts";
import { evictionRequestedBy } from "../../../src/domain/model/formats.ts";

const namespace = "longhorn-system";
const collection = (kind: string) => `${paths.longhorn}/namespaces/${namespace}/${kind}`;

describe("Longhorn of a node", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const put = (kind: string, name: string, spec: object, status: object = {}, annotations?: Record<string, string>) =>
    cluster.put(collection(kind), {
      metadata: { name, namespace, ...(annotations ? { annotations } : {}) },
      spec,
      status,
    });
  const node = (name: string, spec: object = {}, reason = "", annotations?: Record<string, string>) => {
    const open = { allowScheduling: true, evictionRequested: false };
    const conditions = ["Ready", "Schedulable"].map((type) => ({
      type,
      status: reason === "" ? "True" : "False",
      reason,
    }));
    return put("nodes", name, { ...open, disks: { disk: open }, ...spec }, { conditions }, annotations);
  };
  const replica = (name: string, nodeID: string, healthyAt = "2026-01-01T00:00:00Z") =>
    put("replicas", name, { nodeID, volumeName: "v", healthyAt, failedAt: "" }, { currentState: "running" });
  const volume = (robustness: string) => put("volumes", "v", {}, { state: "attached", robustness, currentNodeID: "b" });
  const found = async (name = "a"): Promise<LonghornNode> => {
    const one = await findLonghornNode(client, name);
    assert.ok(one);
    return one;
  };
  const asked = async () => {
    const { spec, metadata } = await found();
    return [spec?.allowScheduling, spec?.evictionRequested, Object.keys(metadata?.annotations ?? {}).length];
  };
  const go = async (seconds = 5, check = () => Promise.resolve()) =>
    await evacuate(client, await found(), { by: "run-1", deadline: new Deadline("its storage", seconds), check });

  it("is nothing where nobody serves its API: one request", async () => {
    cluster.hook = ({ path }) => (path.startsWith(paths.longhorn) ? { status: 404, reason: "NotFound" } : undefined);
    assert.equal(await findLonghornNode(client, "a"), undefined);
    assert.equal(cluster.calls.length, 1);
  });

  for (const status of [403, 503]) {
    it(`is no "nothing" when the answer is ${status}`, async () => {
      cluster.hook = () => ({ status, reason: "No" });
      await assert.rejects(findLonghornNode(client, "a"), new RegExp(String(status)));
    });
  }

  it("is asked to leave, and is done when its volumes are whole elsewhere", async () => {
    node("a");
    node("b");
    volume("healthy");
    replica("r1", "a");
    let told: unknown;
    cluster.hook = ({ method, body }) => {
      if (method !== "PATCH" || told !== undefined) return undefined;
      told = body;
      // What Longhorn does then: a copy, a degraded volume, the old one goes, the volume is whole.
      replica("r2", "b", "");
      volume("degraded");
      setTimeout(() => {
        replica("r2", "b");
        cluster.remove(`${collection("replicas")}/r1`);
      }, 50);
      setTimeout(() => volume("healthy"), 150);
      return undefined;
    };
    await go();
    assert.deepEqual((told as { spec: object }).spec, { allowScheduling: false, evictionRequested: true });
    assert.equal(
      (cluster.objects.get(`${collection("volumes")}/v`)?.status as { robustness: string }).robustness,
      "healthy",
    );
    assert.deepEqual(await asked(), [false, true, 2]);
  });

  it("is not done by a picture that never was: a replica came after the list that would have had it", async () => {
    node("a");
    node("b");
    volume("healthy");
    replica("r2", "b");
    let lists = -Infinity;
    // The watches tell of nothing for a moment.
    cluster.endsWatches = true;
    cluster.hook = ({ method, query }) => {
      if (method === "PATCH") lists = 0;
      else if (query.watch === undefined) lists += 1;
      if (lists !== 4) return undefined;
      lists = -Infinity;
      setImmediate(() => replica("r1", "a"));
      setTimeout(() => (cluster.endsWatches = false), 50);
      setTimeout(() => cluster.remove(`${collection("replicas")}/r1`), 300);
      return undefined;
    };
    await go();
    assert.equal(cluster.objects.has(`${collection("replicas")}/r1`), false);
  });

  it("is not done before the volume of a replica is whole that came while it was asked", async () => {
    node("a");
    node("b");
    volume("degraded");
    replica("r2", "b");
    cluster.hook = ({ method }) => {
      if (method !== "PATCH") return undefined;
      cluster.hook = () => undefined;
      replica("r1", "a");
      setTimeout(() => cluster.remove(`${collection("replicas")}/r1`), 150);
      setTimeout(() => volume("healthy"), 400);
      return undefined;
    };
    await go();
    const { robustness } = cluster.objects.get(`${collection("volumes")}/v`)?.status as { robustness: string };
    assert.equal(robustness, "healthy");
  });

  it("is given up in time, says by name what is left, and our request is undone", async () => {
    node("a");
    node("b");
    volume("healthy");
    replica("r1", "a");
    await assert.rejects(go(2), /Longhorn data of a has not moved in 2 s[^]*replica r1 of volume v is still on a/);
    await withdrawEviction(client, await found());
    assert.deepEqual(await asked(), [true, false, 0]);
  });

  it("keeps scheduling off where it was off before us", async () => {
    node("a", { allowScheduling: false });
    await go();
    assert.deepEqual(await asked(), [false, true, 1]);
    await withdrawEviction(client, await found());
    assert.deepEqual(await asked(), [false, false, 0]);
  });

  it("forgets over a second request nothing of what was before the first", async () => {
    node("a");
    await go();
    await go();
    await withdrawEviction(client, await found());
    assert.deepEqual(await asked(), [true, false, 0]);
  });

  it("leaves a stranger's request alone, and waits for it all the same", async () => {
    node("a", { allowScheduling: false, evictionRequested: true });
    node("b");
    volume("healthy");
    replica("r1", "a");
    await assert.rejects(go(2), /r1/);
    await withdrawEviction(client, await found());
    assert.deepEqual(await asked(), [false, true, 0]);
    assert.equal(cluster.count("PATCH", /./), 0);
  });

  it("is not asked when we must not act any more", async () => {
    node("a");
    await assert.rejects(
      go(5, () => Promise.reject(new Error("the lease was lost"))),
      /the lease was lost/,
    );
    assert.equal(cluster.count("PATCH", /./), 0);
  });

  it("ends the wait when Longhorn's objects may not be read", async () => {
    node("a");
    cluster.hook = ({ path }) => (path.endsWith("/replicas") ? { status: 403, reason: "Forbidden" } : undefined);
    await assert.rejects(go(30), /Forbidden/);
  });

  const may = async (seconds: number, running = true) =>
    await requireMayRetire(client, await found(), running, new Deadline("room", seconds));

  it("waits for a new node that Longhorn does not use yet", async () => {
    node("a");
    replica("r1", "a");
    setTimeout(() => node("b"), 100);
    await may(30);
  });

  it("is refused at the end when no other node comes, and at once when a volume is faulted", async () => {
    node("a");
    replica("r1", "a");
    await assert.rejects(may(0.3), /no other node takes the 1 Longhorn replicas of a, the last ones of v/);
    volume("faulted");
    await assert.rejects(may(30), /faulted/);
    await assert.rejects(may(30, false), /a is off or has no Node, and holds the last healthy replica/);
  });

  it("is forgotten: by Longhorn itself, or on our request once it has seen that the Node is gone", async () => {
    node("a", { allowScheduling: false }, "KubernetesNodeNotReady", { [evictionRequestedBy]: "run-1" });
    const one = await found();
    assert.equal(await forgetLonghornNode(client, one, new Deadline("it to go", 0.2)), false);
    assert.equal(cluster.count("DELETE", /./), 0, "asked before Longhorn knew");
    setTimeout(() => node("a", { allowScheduling: false }, "KubernetesNodeGone"), 50);
    assert.equal(await forgetLonghornNode(client, one, new Deadline("it to go", 30)), true);
    assert.equal(cluster.objects.has(`${collection("nodes")}/a`), false);
  });

  it("is kept where Longhorn refuses to forget it, which stops nobody", async () => {
    const stored: Stored = node("a", { allowScheduling: false }, "KubernetesNodeGone");
    cluster.hook = ({ method }) => (method === "DELETE" ? { status: 422, reason: "Invalid" } : undefined);
    assert.equal(await forgetLonghornNode(client, await found(), new Deadline("it to go", 0.2)), false);
    assert.ok(cluster.objects.has(`${collection("nodes")}/${stored.metadata.name}`));
  });
});
