import assert from "node:assert/strict";
import {
  displacedFrom,
  mayBeTransient,
  strictest,
  transient,
  unplaced,
  unstarted,
  unstartedByNode,
  type PlacedPod,
} from "../../../src/domain/availability/placement.ts";

type Kind = "ReplicaSet" | "StatefulSet" | "DaemonSet" | "Job";

/** A pod of the controller `web`, on a node or, with a reason of the scheduler, on none. */
function pod(
  name: string,
  at: { node?: string; reason?: string; ending?: true; phase?: string; kind?: Kind },
): PlacedPod {
  const { node, reason, ending, phase = "Running", kind = "ReplicaSet" } = at;
  const condition = {
    type: "PodScheduled",
    status: "False",
    reason: reason ?? "Unschedulable",
    message: "0/3 nodes fit",
  };
  return {
    metadata: {
      name,
      namespace: "shop",
      ownerReferences: [{ kind, name: "web", uid: "u", controller: true }],
      ...(ending ? { deletionTimestamp: "2026-01-01T00:00:00Z" } : {}),
    },
    spec: node === undefined ? {} : { nodeName: node },
    status: node === undefined ? { phase: "Pending", conditions: [condition] } : { phase },
  };
}

const web = { namespace: "shop", kind: "ReplicaSet", name: "web" };
const old = new Set(["old"]);

describe("what a drain displaces", () => {
  const cases: [when: string, pods: PlacedPod[], displaced: object[]][] = [
    ["nothing runs there", [pod("a", { node: "other" })], []],
    [
      "a replica runs there",
      [pod("a", { node: "old" }), pod("b", { node: "other" })],
      [{ ...web, pods: 2, unplaced: 0 }],
    ],
    [
      "two replicas run there",
      [pod("a", { node: "old" }), pod("b", { node: "old" })],
      [{ ...web, pods: 2, unplaced: 0 }],
    ],
    ["one had no place before", [pod("a", { node: "old" }), pod("b", {})], [{ ...web, pods: 2, unplaced: 1 }]],
    [
      "one is ending",
      [pod("a", { node: "old" }), pod("b", { node: "x", ending: true })],
      [{ ...web, pods: 1, unplaced: 0 }],
    ],
    [
      "one has not started yet",
      [pod("a", { node: "old" }), pod("b", { node: "x", phase: "Pending" })],
      [{ ...web, pods: 2, unplaced: 0, unstarted: 1 }],
    ],
    ["a daemon runs there", [pod("a", { node: "old", kind: "DaemonSet" })], []],
    ["a finished pod is there", [pod("a", { node: "old", phase: "Succeeded" })], []],
  ];
  for (const [when, pods, displaced] of cases)
    it(`is the controllers of its pods when ${when}`, () => assert.deepEqual(displacedFrom(pods, old), displaced));
});

describe("what was evicted", () => {
  const before = { ...web, pods: 2, unplaced: 0 };
  const placed = [pod("a", { node: "x" }), pod("b", { node: "y" })];
  const namesake = pod("b", { node: "y" });
  const elsewhere: PlacedPod = { ...namesake, metadata: { ...namesake.metadata, namespace: "blog" } };
  const cases: [
    when: string,
    pods: PlacedPod[],
    was: typeof before,
    wants: number | undefined,
    left: RegExp | undefined,
  ][] = [
    ["all of it runs", placed, before, 2, undefined],
    ["one has no place", [pod("a", { node: "x" }), pod("b", {})], before, 2, /shop\/b: 0\/3 nodes fit/],
    ["one has no place, as before", [pod("a", { node: "x" }), pod("b", {})], { ...before, unplaced: 1 }, 2, undefined],
    ["one more than before has none", [pod("a", {}), pod("b", {})], { ...before, unplaced: 1 }, 2, /shop\/a/],
    ["its controller has not made it again", [pod("a", { node: "x" })], before, 2, /1 of 2 pods/],
    ["it was scaled down meanwhile", [pod("a", { node: "x" })], before, 1, undefined],
    ["it was scaled up meanwhile, which is no matter of the node", placed, before, 5, undefined],
    ["it was scaled up meanwhile beyond what fits", [...placed, pod("c", {}), pod("d", {})], before, 4, undefined],
    ["it has no place, and was scaled up", [pod("a", { node: "x" }), pod("b", {}), pod("c", {})], before, 3, /shop\/b/],
    ["its controller is gone", [], before, 0, undefined],
    ["nobody knows how many there have to be", [], before, undefined, undefined],
    ["a namesake runs in another namespace", [pod("a", { node: "x" }), elsewhere], before, 2, /1 of 2 pods/],
    [
      "a namesake of another kind runs",
      [pod("a", { node: "x" }), pod("b", { node: "y", kind: "StatefulSet" })],
      before,
      2,
      /1 of 2 pods/,
    ],
    ["it ends still", [pod("a", { node: "x" }), pod("b", { node: "old", ending: true })], before, 2, /1 of 2 pods/],
    ["it has failed", [pod("a", { node: "x" }), pod("b", { node: "y", phase: "Failed" })], before, 2, /1 of 2 pods/],
    ["a gate of its owner holds it", [...placed, pod("c", { reason: "SchedulingGated" })], before, 2, undefined],
  ];
  for (const [when, pods, was, wants, left] of cases)
    it(`${left === undefined ? "has a place" : "is named"} when ${when}`, () => {
      const names = unplaced(pods, [was], () => wants).join("; ");
      if (left === undefined) assert.equal(names, "");
      else assert.match(names, left);
    });

  it("waits for its data and not for a place when its claim is on a node that left by consent", () => {
    const volumes = [{ name: "data", persistentVolumeClaim: { claimName: "data-0" } }];
    const waiting: PlacedPod = { ...pod("b", {}), spec: { volumes } };
    const kept = new Set(["shop/data-0"]);
    assert.equal(unplaced([pod("a", { node: "x" }), waiting], [before], () => 2).length, 1);
    assert.deepEqual(
      unplaced([pod("a", { node: "x" }), waiting], [before], () => 2, kept),
      [],
    );
    // A StatefulSet makes the next one only once this one is Ready; nothing else excuses a missing pod.
    assert.deepEqual(
      unplaced([waiting], [before], () => 2, kept),
      [],
    );
    assert.equal(unplaced([pod("a", { node: "x" })], [before], () => 2, kept).length, 1);
    // It makes no room for another pod that really finds none.
    assert.deepEqual(displacedFrom([pod("a", { node: "old" }), waiting], old, kept), [
      { ...web, pods: 2, unplaced: 0 },
    ]);
  });
});

describe("what was evicted and has a place", () => {
  const before = { ...web, pods: 3, unplaced: 0 };
  const runs = (...names: string[]) => names.map((name) => pod(name, { node: "x" }));
  const waits = pod("c", { node: "y", phase: "Pending" });
  const cases: [when: string, pods: PlacedPod[], was: object, wants: number | undefined, left: RegExp | undefined][] = [
    ["as many as before have started", [...runs("a", "b", "d"), waits], {}, 3, undefined],
    ["one has not", [...runs("a", "b"), waits], {}, 3, /^shop\/c: .*\(on y\)$/],
    ["one has not, and had not before", [...runs("a", "b"), waits], { unstarted: 1 }, 3, undefined],
    ["one has not, and had no place before", [...runs("a", "b"), waits], { unplaced: 1 }, 3, undefined],
    ["none could start before", [waits], { failing: true }, 3, undefined],
    ["fewer are wanted by now", [...runs("a", "b"), waits], {}, 2, undefined],
    ["nobody knows how many are wanted, and one has not", [...runs("a"), waits], {}, undefined, /shop\/c/],
    ["nobody knows how many are wanted, and the others are no more", runs("a"), {}, undefined, undefined],
    ["one has finished", [...runs("a", "b"), pod("c", { node: "y", phase: "Succeeded" })], {}, undefined, undefined],
    ["one waits for the scheduler, which is another matter", [...runs("a", "b"), pod("c", {})], {}, 3, undefined],
  ];
  for (const [when, pods, was, wants, left] of cases)
    it(`${left === undefined ? "runs" : "is named"} when ${when}`, () => {
      const names = unstarted(pods, [{ ...before, ...was }], () => wants).join("; ");
      if (left === undefined) assert.equal(names, "");
      else assert.match(names, left);
    });

  it("is named by node, those first that are refused, whatever else of it runs there", () => {
    const refused: PlacedPod = {
      ...pod("d", { node: "x", phase: "Pending" }),
      status: { phase: "Pending", containerStatuses: [{ state: { waiting: { reason: "ErrImagePull" } } }] },
    };
    const others = pod("other", { node: "y", kind: "StatefulSet" });
    const wants = (replicas: number) => () => replicas;
    assert.deepEqual(unstartedByNode([...runs("a"), waits, refused, others], [before], wants(3)), [
      {
        node: "x",
        is: "refused",
        pods: ["shop/d: ErrImagePull (on x)"],
        started: 1,
        fewer: ["ReplicaSet shop/web: 1 of 3 run"],
      },
      {
        node: "y",
        is: "waiting",
        pods: ["shop/c: its containers have no state yet (on y)"],
        started: 1,
        fewer: ["ReplicaSet shop/web: 1 of 3 run"],
      },
    ]);
    assert.deepEqual(unstartedByNode([...runs("a", "b", "d"), waits], [before], wants(3)), []);
    assert.deepEqual(unstartedByNode([...runs("a"), waits], [before], wants(1)), []);
  });

  it("is as much as was ever seen of it, when a part was evicted already as it was looked at again", () => {
    const later = { ...web, pods: 2, unplaced: 1, unstarted: 1, failing: true as const };
    const other = { ...web, name: "db", pods: 1, unplaced: 0 };
    assert.deepEqual(strictest([later, other, before]), [before, other]);
    assert.deepEqual(strictest([later, later]), [later]);
  });
});

describe("what was evicted and went to a node that leaves as well", () => {
  const before = { ...web, pods: 2, unplaced: 0 };
  const asking = (name: string, node: string): PlacedPod => ({
    ...pod(name, { node }),
    spec: { nodeName: node, nodeSelector: { disk: "ssd" } },
  });
  const plain = { name: "stays", labels: {} };
  const fitting = { name: "stays", labels: { disk: "ssd" } };
  const both = [asking("a", "leaves"), asking("b", "leaves")];
  const cases: [when: string, pods: PlacedPod[], stay: typeof plain | typeof fitting, wants: number, left: number][] = [
    ["no node that stays has the labels", both, plain, 2, 2],
    ["one that stays has the labels", both, fitting, 2, 0],
    ["it asks for nothing", [pod("a", { node: "leaves" }), pod("b", { node: "leaves" })], plain, 2, 0],
    ["it is on a node that stays", [asking("a", "stays"), asking("b", "stays")], plain, 2, 0],
    ["as many as are wanted by now are on a node that stays", [asking("a", "stays"), both[1] ?? plain], plain, 1, 0],
    ["none is wanted any more", both, plain, 0, 0],
  ] as never;

  it("has the nodes looked at when it asks for nodes, and is on one that leaves", () => {
    const leave = new Set(["leaves"]);
    assert.equal(mayBeTransient(both, [before], leave), true);
    assert.equal(mayBeTransient([asking("a", "stays"), pod("b", { node: "leaves" })], [before], leave), false);
    assert.equal(mayBeTransient(both, [], leave), false);
  });

  for (const [when, pods, stay, wants, left] of cases)
    it(`${left === 0 ? "has a place" : "is named"} when ${when}`, () => {
      const names = transient(pods, [before], () => wants, { stay: [stay], leave: new Set(["leaves"]) });
      assert.equal(names.length, left);
      for (const one of names) assert.match(one, /^shop\/[ab]: leaves, where it is, leaves as well/);
    });
});
