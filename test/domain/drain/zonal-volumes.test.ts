import assert from "node:assert/strict";
import type { DataVolume } from "../../../src/domain/drain/local-data.ts";
import { taintOf } from "../../../src/domain/drain/taints.ts";
import {
  zonalVolumeProblems,
  zonalVolumes,
  zonalVolumeWords,
  type NodeChange,
  type PlacedNode,
  type VolumePod,
} from "../../../src/domain/drain/zonal-volumes.ts";

const ZONE = "topology.kubernetes.io/zone";
const HOST = "kubernetes.io/hostname";

interface More extends Partial<PlacedNode> {
  keys?: Record<string, string>;
  taint?: string;
}

function node(name: string, zone?: string, { keys = {}, taint, ...more }: More = {}): PlacedNode {
  const labels = { [HOST]: name, ...(zone === undefined ? {} : { [ZONE]: zone }), ...keys };
  return { name, labels, taints: taint === undefined ? [] : [taintOf(taint)], ...more };
}

const unknown = (name: string, zone?: string, more: More = {}) => node(name, zone, { mayHaveMore: true, ...more });

function volume(affinity: [key: string, operator: string, ...values: string[]] | [], more: object = {}): DataVolume {
  const [key = "", operator = "", ...values] = affinity;
  const nodeAffinity = { required: { nodeSelectorTerms: [{ matchExpressions: [{ key, operator, values }] }] } };
  return {
    metadata: { name: "pv-7" },
    spec: {
      capacity: { storage: "10Gi" },
      claimRef: { namespace: "shop", name: "data-0" },
      ...(affinity.length > 0 && { nodeAffinity }),
    },
    status: { phase: "Bound" },
    ...more,
  };
}

const inA = volume([ZONE, "In", "a"]);
const claims = [{ name: "data", persistentVolumeClaim: { claimName: "data-0" } }];
const pod = (spec: VolumePod["spec"] = {}, phase = "Running"): VolumePod => ({
  metadata: { namespace: "shop", name: "db-0" },
  spec: { volumes: claims, ...spec },
  status: { phase },
});

const old = node("old", "a");
const elsewhere = node("elsewhere", "b");
const CONTROL = "node-role.kubernetes.io/control-plane=:NoSchedule";
const server = node("server", "a", { taint: CONTROL });
const forDb = { tolerations: [{ key: "for", operator: "Exists" }] };

type Verdict = "fine" | "lost" | [perhaps: string, ...more: string[]];
const table: [title: string, change: NodeChange, volume: DataVolume, pods: VolumePod[], Verdict][] = [
  ["its last node leaves", { before: [old, elsewhere], after: [elsewhere] }, inA, [pod()], "lost"],
  ["nobody uses it now", { before: [old, elsewhere], after: [elsewhere] }, inA, [], "lost"],
  ["its pod waits for a place", { before: [old, elsewhere], after: [elsewhere] }, inA, [pod({}, "Pending")], "lost"],
  ["another node is there", { before: [old, node("other", "a")], after: [node("other", "a")] }, inA, [pod()], "fine"],
  ["what comes is there", { before: [old], after: [unknown("new", "a")] }, inA, [pod()], "fine"],
  ["what comes is elsewhere", { before: [old], after: [unknown("new", "b")] }, inA, [pod()], "lost"],
  ["where what comes will be is not known", { before: [old], after: [unknown("new")] }, inA, [pod()], ["new"]],
  ["likewise without a pod", { before: [old], after: [unknown("new")] }, inA, [], ["new"]],
  ["what comes has no zone", { before: [old], after: [unknown("new", undefined, { lacks: [ZONE] })] }, inA, [], "lost"],
  ["its node stays and gets another zone", { before: [old], after: [node("old", "b")] }, inA, [pod()], "lost"],
  [
    "its node gets another zone, and another one its",
    { before: [old, elsewhere], after: [node("old", "b"), node("elsewhere", "a")] },
    inA,
    [pod()],
    "fine",
  ],
  [
    "its pod runs on a node that has another zone by now",
    { before: [elsewhere], after: [] },
    inA,
    [pod({ nodeName: "elsewhere" })],
    "lost",
  ],
  [
    "its pod runs on such a node, which stays",
    { before: [elsewhere, old], after: [elsewhere] },
    volume([ZONE, "In", "c"]),
    [pod({ nodeName: "elsewhere" })],
    "fine",
  ],
  [
    "its pod runs beside a node that stays",
    { before: [old, elsewhere], after: [old] },
    inA,
    [pod({ nodeName: "elsewhere" })],
    "fine",
  ],
  ["no node is there now", { before: [elsewhere], after: [] }, inA, [pod()], "fine"],
  ["it needs no node", { before: [old], after: [] }, volume([]), [pod()], "fine"],
  [
    "it is not bound",
    { before: [old], after: [] },
    volume([ZONE, "In", "a"], { status: { phase: "Released" } }),
    [],
    "fine",
  ],
  [
    "it lives and dies with its pod",
    { before: [old], after: [] },
    volume([ZONE, "In", "a"], { spec: { ...inA.spec, claimRef: { namespace: "shop", name: "db-0-scratch" } } }),
    [pod({ volumes: [{ name: "scratch", ephemeral: {} }] })],
    "fine",
  ],
  [
    "it is on the node's own disk",
    { before: [old, elsewhere], after: [elsewhere] },
    volume([HOST, "In", "old"]),
    [pod()],
    "fine",
  ],
  [
    "it is of a label that several nodes had",
    {
      before: [node("one", "a", { keys: { rack: "r1" } }), node("two", "a", { keys: { rack: "r1" } })],
      after: [node("three", "a")],
    },
    volume(["rack", "In", "r1"]),
    [pod()],
    "lost",
  ],
  [
    "only a server is left there, whose taint its pod does not tolerate",
    { before: [old, server], after: [server] },
    inA,
    [pod()],
    "lost",
  ],
  [
    "only a server is left there, whose taint its pod tolerates",
    { before: [old, server], after: [server] },
    inA,
    [pod({ tolerations: [{ operator: "Exists" }] })],
    "fine",
  ],
  [
    "its pod ran on the server only",
    { before: [old, server], after: [node("server", "a", { taint: CONTROL })] },
    inA,
    [pod({ tolerations: [{ key: "node-role.kubernetes.io/control-plane", operator: "Exists" }] })],
    "fine",
  ],
  [
    "only a server is left there, and what its pods tolerate is not known",
    { before: [old, server], after: [server] },
    inA,
    [],
    ["server"],
  ],
  [
    "the node of its pool comes with the same taint",
    {
      before: [node("old", "a", { taint: "for=db:NoSchedule" })],
      after: [unknown("new", "a", { taint: "for=db:NoSchedule" })],
    },
    inA,
    [],
    "fine",
  ],
  [
    "the node of its pool comes with a taint that its pod tolerates",
    { before: [old], after: [unknown("new", "a", { taint: "for=db:NoSchedule" })] },
    inA,
    [pod(forDb)],
    "fine",
  ],
  [
    "the node of its pool comes with a new taint",
    { before: [old], after: [unknown("new", "a", { taint: "for=db:NoSchedule" })] },
    inA,
    [pod()],
    "lost",
  ],
];

describe("volumes of a place", () => {
  for (const [title, change, one, pods, verdict] of table)
    it(`${verdict === "fine" ? "are left out" : verdict === "lost" ? "are lost to their pods" : "are named as uncertain"} when ${title}`, () => {
      const [found, ...more] = zonalVolumes(change, [one], pods);
      assert.deepEqual(more, []);
      assert.deepEqual(found === undefined ? "fine" : found.perhaps.length === 0 ? "lost" : found.perhaps, verdict);
    });

  it("are lost when one of their pods has no node left", () => {
    const [found] = zonalVolumes(
      { before: [old, server], after: [server] },
      [inA],
      [pod({ tolerations: [{ operator: "Exists" }] }), { ...pod(), metadata: { namespace: "shop", name: "web-0" } }],
    );
    assert.deepEqual([found?.perhaps, found?.nodes], [[], ["old"]]);
  });

  it("are named by place with claim, size, pods and nodes, in one refusal for each place", () => {
    const inB = volume([ZONE, "In", "b", "c"], { metadata: { name: "pv-8" } });
    const change = { before: [old, elsewhere], after: [] };
    const problems = zonalVolumeProblems(
      zonalVolumes(change, [inA, inA, inB], [pod()]),
      "evergreen:pools[0].localVolumes",
    );
    const use = "shop/data-0 (10Gi), used by shop/db-0";
    assert.deepEqual(
      problems.map(({ what }) => what),
      [
        `2 volumes with data need a node with ${ZONE}=a: old is one for their pods now, and after this run there is none: ${use}; ${use}`,
        `a volume with data needs a node with ${ZONE}=b|c: elsewhere is one for its pods now, and after this run there is none: ${use}`,
      ],
    );
    assert.match(problems[1]?.todo ?? "", /delete the claim; or set localVolumes of the pool to keep/);
  });

  it("are no reason to refuse while their place is not known, and named all the same", () => {
    const found = zonalVolumes({ before: [old], after: [unknown("new")] }, [inA], []);
    assert.deepEqual(zonalVolumeProblems(found, ""), []);
    assert.deepEqual(zonalVolumeWords(found), [
      `a volume with data needs a node with ${ZONE}=a: old is one for its pods now, and whether new will take its pods depends on labels and taints that nobody knows yet: shop/data-0 (10Gi), used by no pod now; the run stops there if none does`,
    ]);
  });
});
