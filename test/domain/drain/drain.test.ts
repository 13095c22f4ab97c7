import assert from "node:assert/strict";
import fc from "fast-check";
import {
  blockerOf,
  blockers,
  budgetsOf,
  evictionOrder,
  leaves,
  type DrainBudget,
  type DrainPod,
} from "../../../src/domain/drain/drain.ts";
import { matches, type LabelSelector } from "../../../src/domain/model/selector.ts";

type Owner = NonNullable<NonNullable<DrainPod["metadata"]>["ownerReferences"]>[number];

describe("drain", () => {
  const cases: [string, boolean, DrainPod][] = [
    ["a pod of a Deployment", true, pod("web-1")],
    ["a pod of a StatefulSet", true, pod("db-0", { owner: owner("StatefulSet") })],
    ["a pod without a controller", true, pod("bare", { owner: undefined })],
    ["a pod that is pending", true, pod("late", { phase: "Pending" })],
    ["a pod of a DaemonSet", false, pod("cni", { owner: owner("DaemonSet") })],
    ["a static pod, by its owner", false, pod("etcd-a", { owner: owner("Node") })],
    [
      "a static pod, by its annotation",
      false,
      pod("etcd-b", { annotations: { "kubernetes.io/config.mirror": "hash" } }),
    ],
    ["a pod that succeeded", false, pod("job-1", { owner: owner("Job"), phase: "Succeeded" })],
    ["a pod that failed", false, pod("job-2", { owner: owner("Job"), phase: "Failed" })],
  ];
  for (const [what, expected, one] of cases) {
    it(`${expected ? "waits for" : "leaves alone"} ${what}`, () => assert.equal(leaves(one), expected));
  }

  it("asks what matters least first, volumes before the rest, daemons never", () => {
    const pods = [
      pod("dns", { priority: 2_000_000_000 }),
      pod("web-2"),
      pod("db", { claim: true }),
      pod("cni", { owner: owner("DaemonSet") }),
      pod("web-1"),
      pod("batch", { priority: -10 }),
    ];
    assert.deepEqual(
      evictionOrder(pods).map((one) => one.metadata?.name),
      ["batch", "db", "web-1", "web-2", "dns"],
    );
  });

  it("asks in the same order however the pods are listed", () => {
    const some = fc.array(fc.record({ name: fc.string(), priority: fc.integer(), claim: fc.boolean() }), {
      maxLength: 8,
    });
    fc.assert(
      fc.property(some, (list) => {
        const pods = list.map(({ name, ...rest }, i) => pod(`${name}${i}`, rest));
        assert.deepEqual(evictionOrder(pods), evictionOrder(pods.toReversed()));
      }),
    );
  });
});

describe("budgets", () => {
  it("cover pods of their own namespace with fitting labels", () => {
    const web = budget("web", { matchLabels: { app: "web" } });
    assert.deepEqual(budgetsOf(pod("web-1"), [web]), [web]);
    assert.deepEqual(budgetsOf(pod("web-1", { namespace: "other" }), [web]), []);
    assert.deepEqual(budgetsOf(pod("db-1", { labels: { app: "db" } }), [web]), []);
  });

  const selectors: [boolean, LabelSelector | undefined][] = [
    [true, {}],
    [false, undefined],
    [true, { matchLabels: { app: "web" } }],
    [false, { matchLabels: { app: "web", tier: "x" } }],
    [true, { matchExpressions: [{ key: "app", operator: "In", values: ["db", "web"] }] }],
    [false, { matchExpressions: [{ key: "app", operator: "In", values: ["db"] }] }],
    [false, { matchExpressions: [{ key: "zone", operator: "In", values: ["a"] }] }],
    [true, { matchExpressions: [{ key: "zone", operator: "NotIn", values: ["a"] }] }],
    [false, { matchExpressions: [{ key: "app", operator: "NotIn", values: ["web"] }] }],
    [true, { matchExpressions: [{ key: "app", operator: "Exists" }] }],
    [false, { matchExpressions: [{ key: "zone", operator: "Exists" }] }],
    [true, { matchExpressions: [{ key: "zone", operator: "DoesNotExist" }] }],
    [false, { matchExpressions: [{ key: "app", operator: "DoesNotExist" }] }],
    [false, { matchLabels: { app: "web" }, matchExpressions: [{ key: "zone", operator: "Exists" }] }],
  ];
  for (const [expected, selector] of selectors) {
    it(`${expected ? "fit" : "do not fit"}: ${selector ? JSON.stringify(selector) : "no selector"}`, () => {
      assert.equal(matches(selector, { app: "web" }), expected);
    });
  }

  it("are named with their room when they hold a pod", () => {
    const web = budget("web", { matchLabels: { app: "web" } }, { currentHealthy: 2, desiredHealthy: 2 });
    assert.equal(
      blockerOf(pod("web-1"), [web]),
      "default/web-1 is held by default/web (2 of 3 pods healthy, 2 needed, 0 may go)",
    );
    assert.match(blockerOf(pod("web-1"), []), /no PodDisruptionBudget covers it any more/);
  });
});

describe("forecast of a drain", () => {
  const two = [pod("web-1"), pod("web-2", { node: "b" })];
  const web = { matchLabels: { app: "web" } };

  it("has nothing to say when there is room", () => {
    assert.deepEqual(blockers(two, [budget("web", web, { disruptionsAllowed: 1 })]), []);
  });

  it("names a budget that never lets go", () => {
    const [one, ...others] = blockers(two, [
      budget("web", web, { expectedPods: 2, currentHealthy: 2, desiredHealthy: 2 }),
    ]);
    assert.deepEqual(others, []);
    assert.equal(one?.kind, "never");
    assert.equal(
      one.what,
      "PodDisruptionBudget default/web never lets a pod go: 2 of 2 pods healthy, 2 needed, 0 may go",
    );
    assert.equal(one.where, "default/web-1, default/web-2");
  });

  it("tells it from one that only waits for healthy pods", () => {
    const [one] = blockers(two, [budget("web", web, { expectedPods: 3, currentHealthy: 2, desiredHealthy: 2 })]);
    assert.equal(one?.kind, "later");
    assert.match(one.todo, /make its pods healthy/);
  });

  it("leaves a budget without room to the operator that made it (cloudnative-pg#6307, kured#1269)", () => {
    const tight = budget("pg-primary", web, { expectedPods: 1, currentHealthy: 1, desiredHealthy: 1 });
    const owned = { ...tight, metadata: { ...tight.metadata, ownerReferences: [{ kind: "Cluster", name: "pg" }] } };
    const [one, ...others] = blockers(two, [owned]);
    assert.deepEqual(others, []);
    assert.equal(one?.kind, "later");
    assert.match(
      one.what,
      /default\/pg-primary lets no pod go before its operator acts: 1 of 1 pods healthy, 1 needed/,
    );
    assert.match(one.todo, /if the operator of Cluster pg moves these pods once their node is cordoned/);
    assert.equal(blockers(two, [tight])[0]?.kind, "never");
  });

  it("takes a budget whose room was not computed for one without room", () => {
    const fresh: DrainBudget = { metadata: { name: "web", namespace: "default" }, spec: { selector: web } };
    assert.equal(blockers(two, [fresh])[0]?.kind, "later");
  });

  it("looks only at pods of the nodes that are drained", () => {
    const tight = budget("web", web, { expectedPods: 2, desiredHealthy: 2 });
    assert.deepEqual(blockers(two, [tight], new Set(["c"])), []);
    assert.equal(blockers(two, [tight], new Set(["b"]))[0]?.where, "default/web-2");
  });

  // Kubernetes' own rule: pkg/registry/core/pod/storage/eviction.go
  const unhealthy: [policy: string | undefined, healthy: number, desired: number, goes: boolean][] = [
    ["AlwaysAllow", 1, 2, true],
    ["AlwaysAllow", 0, 0, true],
    ["IfHealthyBudget", 1, 2, false],
    ["IfHealthyBudget", 2, 2, true],
    [undefined, 1, 2, false],
    [undefined, 2, 2, true],
    [undefined, 3, 2, true],
    [undefined, 0, 0, false],
  ];
  for (const [policy, currentHealthy, desiredHealthy, goes] of unhealthy)
    it(`${goes ? "lets" : "does not let"} an unhealthy pod go when ${policy ?? "no policy"} meets ${currentHealthy} healthy of ${desiredHealthy} needed`, () => {
      const spec = policy === undefined ? {} : { unhealthyPodEvictionPolicy: policy };
      const tight = budget("web", web, { currentHealthy, desiredHealthy, expectedPods: 2 }, spec);
      const pods = [pod("web-1", { ready: false }), pod("web-2", { node: "b" })];
      assert.equal(blockers(pods, [tight], new Set(["a"])).length, goes ? 0 : 1);
    });

  it("holds no pod that ends already to a budget", () => {
    const ends = pod("web-1");
    ends.metadata = { ...ends.metadata, deletionTimestamp: "2026-11-29T00:00:00Z" };
    const tight = budget("web", web, { expectedPods: 1, currentHealthy: 1, desiredHealthy: 1 });
    assert.deepEqual(blockers([ends, pod("web-2", { node: "b" })], [tight, budget("all", {})], new Set(["a"])), []);
  });

  it("never lets go when Kubernetes cannot compute a budget's room", () => {
    const message = "caches.example.org does not implement the scale subresource";
    const conditions = [{ type: "DisruptionAllowed", status: "False", reason: "SyncFailed", message }];
    const [one] = blockers(two, [budget("web", web, { expectedPods: 0, desiredHealthy: 0, conditions })]);
    assert.equal(one?.kind, "never");
    assert.match(one.what, /cannot compute its room: caches.example.org does not implement the scale subresource/);
  });

  it("names a pod under two budgets", () => {
    const both = [budget("web", web, { disruptionsAllowed: 1 }), budget("all", {}, { disruptionsAllowed: 5 })];
    const found = blockers(two, both, new Set(["a"]));
    assert.deepEqual(
      found.map((one) => [one.kind, one.where]),
      [["never", "default/web and default/all"]],
    );
    assert.match(found[0]?.what ?? "", /^default\/web-1 cannot be evicted: 2 PodDisruptionBudgets/);
  });

  it("names a pod without a controller and a single replica, not a Job and not a daemon", () => {
    const pods = [
      pod("bare", { owner: undefined }),
      pod("only", { owner: owner("ReplicaSet", "only") }),
      pod("once", { owner: owner("Job", "once") }),
      pod("cni", { owner: owner("DaemonSet", "cni") }),
      ...two,
    ];
    const found = blockers(pods, []);
    assert.deepEqual(
      found.map((one) => one.kind),
      ["interrupts", "interrupts"],
    );
    assert.match(found[0]?.what ?? "", /default\/bare has no controller/);
    assert.match(found[1]?.what ?? "", /default\/only is the only replica/);
  });

  it("names a pod that may take longer to end than the drain waits, and none that may not", () => {
    const slow = pod("slow", { grace: 3600 });
    const pods = [slow, { ...slow, metadata: { ...slow.metadata, name: "slow-2" } }, pod("quick", { grace: 30 })];
    const found = blockers(pods, [], new Set(["a"]), 900).filter(({ kind }) => kind === "later");
    assert.deepEqual(
      found.map(({ what }) => what),
      ["slow", "slow-2"].map((name) => `default/${name} may take 3600 s to end, and a drain gives up after 900 s`),
    );
    assert.deepEqual(
      blockers(pods, [], new Set(["a"]), 3600).filter(({ kind }) => kind === "later"),
      [],
    );
  });

  it("holds no pod that has not started yet to a budget", () => {
    const late = pod("web-1", { phase: "Pending", ready: false });
    const tight = budget("web", web, { expectedPods: 2, desiredHealthy: 2 });
    assert.deepEqual(blockers([late, pod("web-2", { node: "b" })], [tight, budget("all", {})], new Set(["a"])), []);
  });

  it("leaves Longhorn's instance managers to Longhorn", () => {
    const labels = { "longhorn.io/component": "instance-manager", "longhorn.io/node": "a" };
    const manager = { ...pod("instance-manager-1", { owner: owner("InstanceManager", "1") }) };
    manager.metadata = { ...manager.metadata, labels };
    const tight = budget("instance-manager-1", { matchLabels: labels }, { expectedPods: 1, desiredHealthy: 1 });
    assert.deepEqual(blockers([manager], [tight]), []);
  });

  it("does not count a finished pod as a replica", () => {
    const pods = [
      pod("a", { owner: owner("ReplicaSet", "x") }),
      pod("b", { owner: owner("ReplicaSet", "x"), phase: "Failed" }),
    ];
    assert.equal(blockers(pods, []).length, 1);
  });
});

interface PodOptions {
  namespace?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  owner?: Owner | undefined;
  phase?: string;
  priority?: number;
  claim?: boolean;
  grace?: number;
  ready?: boolean;
  node?: string;
}

function pod(name: string, options: PodOptions = {}): DrainPod {
  const controller = "owner" in options ? options.owner : owner("ReplicaSet");
  return {
    metadata: {
      name,
      namespace: options.namespace ?? "default",
      labels: options.labels ?? { app: "web" },
      annotations: options.annotations,
      ownerReferences: controller && [{ kind: "Unrelated", name: "x", uid: "x" }, controller],
    },
    spec: {
      nodeName: options.node ?? "a",
      priority: options.priority,
      terminationGracePeriodSeconds: options.grace,
      volumes: [{}, ...(options.claim === true ? [{ persistentVolumeClaim: { claimName: "data" } }] : [])],
    },
    status: {
      phase: options.phase ?? "Running",
      conditions: [{ type: "Ready", status: options.ready === false ? "False" : "True" }],
    },
  };
}

function owner(kind: string, name = "web"): Owner {
  return { kind, name, uid: `${kind}-${name}`, controller: true };
}

function budget(
  name: string,
  selector: LabelSelector,
  status: Partial<NonNullable<DrainBudget["status"]>> = {},
  spec: Partial<DrainBudget["spec"]> = {},
): DrainBudget {
  return {
    metadata: { name, namespace: "default" },
    spec: { selector, ...spec },
    status: { disruptionsAllowed: 0, currentHealthy: 3, desiredHealthy: 2, expectedPods: 3, ...status },
  };
}
