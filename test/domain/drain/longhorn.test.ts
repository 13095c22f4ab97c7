import assert from "node:assert/strict";
import fc from "fast-check";
import {
  isSafeWithout,
  refusals,
  remaining,
  volumesOn,
  type LonghornNode,
  type LonghornReplica,
  type LonghornStorage,
  type LonghornVolume,
} from "../../../src/domain/drain/longhorn.ts";
import type { DrainBudget } from "../../../src/domain/drain/drain.ts";

const full = { healthyAt: "2026-01-01T00:00:00Z", failedAt: "" };
const failed = { healthyAt: "", failedAt: "2026-01-02T00:00:00Z" };
/** Longhorn leaves `healthyAt` on a replica that was healthy before it failed. */
const fallen = { healthyAt: "2026-01-01T00:00:00Z", failedAt: "2026-01-02T00:00:00Z" };
const fresh = { healthyAt: "", failedAt: "" };

interface NodeChanges {
  spec?: LonghornNode["spec"];
  ready?: string;
  schedulable?: string;
}

function node(name: string, { spec, ready = "True", schedulable = "True" }: NodeChanges = {}): LonghornNode {
  const disks = { disk: { allowScheduling: true, evictionRequested: false } };
  return {
    metadata: { name },
    spec: { allowScheduling: true, evictionRequested: false, disks, ...spec },
    status: {
      conditions: [
        { type: "Ready", status: ready },
        { type: "Schedulable", status: schedulable },
      ],
    },
  };
}

function replica(volumeName: string, nodeID: string, copy: typeof full = full): LonghornReplica {
  return {
    metadata: { name: `${volumeName}-r-${nodeID}` },
    spec: { nodeID, volumeName, ...copy },
    status: { currentState: "running" },
  };
}

function volume(name: string, robustness = "healthy", currentNodeID = "b", state = "attached"): LonghornVolume {
  return { metadata: { name }, status: { state, robustness, currentNodeID } };
}

function budget(at: string): DrainBudget {
  const matchLabels = { "longhorn.io/component": "instance-manager", "longhorn.io/node": at };
  return {
    metadata: { name: `instance-manager-${at}`, namespace: "longhorn-system" },
    spec: { selector: { matchLabels } },
  };
}

const storage = (given: Partial<LonghornStorage>): LonghornStorage => ({
  nodes: [node("a"), node("b"), node("c")],
  replicas: [],
  volumes: [],
  budgets: [],
  ...given,
});

const closed = { allowScheduling: false };
const disks = (allowScheduling: boolean, evictionRequested: boolean) => ({
  disks: { disk: { allowScheduling, evictionRequested } },
});

describe("a node that Longhorn keeps data on", () => {
  const twice = [replica("v", "a"), replica("v", "b")];
  const nowhere = /no other node takes the 1 Longhorn replicas of a/;
  const refused: [
    title: string,
    given: Partial<LonghornStorage>,
    running: boolean,
    refusal: [string, RegExp] | undefined,
  ][] = [
    ["without replicas may go", {}, true, undefined],
    ["may go when the others take its replicas", { replicas: twice, volumes: [volume("v")] }, true, undefined],
    ["may go with the only copy when it can be copied", { replicas: [replica("v", "a")] }, true, undefined],
    [
      "may not go with a part of a faulted volume",
      { replicas: [replica("v", "a", failed), replica("v", "b")], volumes: [volume("v", "faulted")] },
      true,
      ["now", /a holds a replica of the Longhorn volume v, which is faulted/],
    ],
    [
      "may go while a volume elsewhere is faulted",
      { replicas: [...twice, replica("w", "b", failed)], volumes: [volume("v"), volume("w", "faulted")] },
      true,
      undefined,
    ],
    [
      "may not go with a strict-local volume, whose replica moves nowhere (longhorn#8753)",
      { replicas: [replica("v", "a")], volumes: [{ ...volume("v"), spec: { dataLocality: "strict-local" } }] },
      true,
      ["now", /a holds the replica of the Longhorn volume v, which is strict-local/],
    ],
    [
      "may go while a strict-local volume is elsewhere",
      { replicas: [replica("v", "b")], volumes: [{ ...volume("v"), spec: { dataLocality: "strict-local" } }] },
      true,
      undefined,
    ],
    [
      "may go with the only copy of a volume that likes to be local",
      { replicas: [replica("v", "a")], volumes: [{ ...volume("v"), spec: { dataLocality: "best-effort" } }] },
      true,
      undefined,
    ],
    [
      "may not go when scheduling is off everywhere else",
      { nodes: [node("a"), node("b", { spec: closed })], replicas: twice },
      true,
      ["yet", nowhere],
    ],
    [
      "may not go when no disk elsewhere is open",
      {
        nodes: [node("a"), node("b", { spec: disks(false, false) }), node("c", { spec: disks(true, true) })],
        replicas: twice,
      },
      true,
      ["yet", nowhere],
    ],
    [
      "may not go when all others are evicted",
      { nodes: [node("a"), node("b", { spec: { evictionRequested: true } })], replicas: twice },
      true,
      ["yet", nowhere],
    ],
    [
      "may not go when all others are cordoned",
      { nodes: [node("a"), node("b", { schedulable: "False" })], replicas: twice },
      true,
      ["yet", nowhere],
    ],
    [
      "may not go when all others are down",
      { nodes: [node("a"), node("b", { ready: "Unknown" })], replicas: twice },
      true,
      ["yet", /the last ones of v/],
    ],
    [
      "may not go as the only one",
      { nodes: [node("a")], replicas: [replica("v", "a")] },
      true,
      ["yet", /the last ones of v/],
    ],
    [
      "may go with a failed copy that is whole elsewhere, wherever",
      { nodes: [node("a"), node("b", { spec: closed })], replicas: [replica("v", "a", failed), replica("v", "b")] },
      true,
      undefined,
    ],
    ["that is off may go when all is whole elsewhere", { replicas: twice }, false, undefined],
    [
      "that is off may not go with the only copy",
      { replicas: [replica("v", "a"), replica("v", "b", failed)] },
      false,
      ["now", /a is off or has no Node, and holds the last healthy replica of the Longhorn volume v/],
    ],
    [
      "that is off may not go when the other copy is on a node that is down",
      { nodes: [node("a"), node("b", { ready: "False" })], replicas: twice },
      false,
      ["now", /last healthy replica/],
    ],
    [
      "that is off may not go when the other copy was healthy once and has failed since",
      { replicas: [replica("v", "a"), replica("v", "b", fallen)] },
      false,
      ["now", /last healthy replica/],
    ],
    [
      "that is off may not go while the other copy is rebuilt",
      { replicas: [replica("v", "a"), replica("v", "b", fresh)] },
      false,
      ["now", /last healthy replica/],
    ],
  ];
  for (const [title, given, running, refusal] of refused) {
    it(title, () => {
      const found = refusals(storage(given), "a", running);
      assert.deepEqual(
        found.map(({ kind }) => kind),
        refusal ? [refusal[0]] : [],
      );
      if (refusal) assert.match(found[0]?.what ?? "", refusal[1]);
    });
  }

  it("is told by name why no other node takes its replicas", () => {
    const nodes = [node("a"), node("b", { spec: closed }), node("c", { ready: "False" })];
    const [found] = refusals(storage({ nodes, replicas: twice }), "a", true);
    assert.equal(found?.where, "b: scheduling is off; c: Ready is False");
  });

  const moving: [title: string, given: Partial<LonghornStorage>, had: string[], left: RegExp[]][] = [
    ["is done when nothing was there", {}, [], []],
    [
      "waits for every replica",
      { replicas: twice, volumes: [volume("v")] },
      ["v"],
      [/replica v-r-a of volume v is still on a \(running\)/],
    ],
    [
      "waits for a volume that is rebuilt",
      { replicas: [replica("v", "b"), replica("v", "c", fresh)], volumes: [volume("v", "degraded")] },
      ["v"],
      [/volume v is degraded/],
    ],
    [
      "does not wait for a volume that was never there",
      { replicas: [replica("w", "b")], volumes: [volume("w", "degraded")] },
      ["v"],
      [],
    ],
    ["does not wait for a volume that was deleted", {}, ["v"], []],
    [
      "takes a detached volume by its copies",
      { replicas: [replica("v", "b")], volumes: [volume("v", "unknown", "", "detached")] },
      ["v"],
      [],
    ],
    [
      "waits for a detached volume without a copy",
      { replicas: [replica("v", "b", failed)], volumes: [volume("v", "unknown", "", "detached")] },
      ["v"],
      [/volume v has no healthy replica on another node/],
    ],
    [
      "waits for a volume on its way",
      { replicas: [replica("v", "b")], volumes: [volume("v", "unknown", "b", "attaching")] },
      ["v"],
      [/volume v is unknown/],
    ],
    [
      "does not wait for a failed copy of what is whole elsewhere",
      { replicas: [replica("v", "a", failed), replica("v", "b")], volumes: [volume("v")] },
      ["v"],
      [],
    ],
    [
      "waits for the budget when nothing is there any more",
      { budgets: [budget("a"), budget("b")] },
      [],
      [/budget longhorn-system\/instance-manager-a stays/],
    ],
    // The pod that uses the volume has to leave first, and that is the drain's work.
    [
      "leaves the budget to the drain while an engine runs there",
      { volumes: [volume("v", "healthy", "a")], replicas: [replica("v", "b")], budgets: [budget("a")] },
      ["v"],
      [],
    ],
  ];
  for (const [title, given, had, left] of moving) {
    it(`when it leaves, ${title}`, () => {
      const found = remaining(storage(given), "a", new Set(had));
      assert.equal(found.length, left.length, found.join("; "));
      for (const [index, pattern] of left.entries()) assert.match(found[index] ?? "", pattern);
    });
  }

  it("in any state: what was let go was safe without the node", () => {
    fc.assert(
      fc.property(anyStorage(), fc.subarray(["v", "w"]), fc.boolean(), (given, before, running) => {
        const now = volumesOn(given, "a");
        const had = new Set([...before, ...now]);
        const there = given.volumes.filter(({ metadata }) => had.has(metadata?.name ?? ""));
        if (remaining(given, "a", had).length === 0) {
          for (const { metadata } of there)
            assert.ok(isSafeWithout(given, metadata?.name ?? "", "a"), "a volume is lost");
          assert.ok(there.every(({ status }) => status?.state === "detached" || status?.robustness === "healthy"));
        }
        if (refusals(given, "a", running).length > 0) return;
        assert.ok(
          there.every(({ metadata, status }) => !now.has(metadata?.name ?? "") || status?.robustness !== "faulted"),
        );
        // A node that is off copies nothing any more.
        if (!running) for (const name of now) assert.ok(isSafeWithout(given, name, "a"), `${name} goes with it`);
      }),
      { numRuns: 2000 },
    );
  });
});

function anyStorage(): fc.Arbitrary<LonghornStorage> {
  const names = ["a", "b", "c"];
  const any = fc.constantFrom("True", "False", "Unknown");
  const nodes = fc.tuple(
    ...names.map((name) =>
      fc
        .record({ allowScheduling: fc.boolean(), evictionRequested: fc.boolean(), ready: any, schedulable: any })
        .map(({ ready, schedulable, ...spec }) => node(name, { spec, ready, schedulable })),
    ),
  );
  const replicas = fc.array(
    fc
      .tuple(fc.constantFrom("v", "w"), fc.constantFrom(...names, ""), fc.constantFrom(full, failed, fresh))
      .map(([name, at, copy]) => replica(name, at, copy)),
    { maxLength: 5 },
  );
  const volumes = fc.uniqueArray(
    fc
      .tuple(
        fc.constantFrom("v", "w"),
        fc.constantFrom("healthy", "degraded", "faulted", "unknown"),
        fc.constantFrom(...names, ""),
        fc.constantFrom("attached", "detached", "attaching"),
      )
      .map(([name, robustness, at, state]) => volume(name, robustness, at, state)),
    { selector: ({ metadata }) => metadata?.name },
  );
  const budgets = fc.subarray(names).map((chosen) => chosen.map(budget));
  return fc.record({ nodes, replicas, volumes, budgets });
}
