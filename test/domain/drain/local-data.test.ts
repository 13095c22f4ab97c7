import assert from "node:assert/strict";
import {
  claimsElsewhere,
  localVolumeProblems,
  localVolumes,
  mayBeLocal,
  volumeWords,
  type DataPod,
  type DataVolume,
} from "../../../src/domain/drain/local-data.ts";
import type { NodeRecord } from "../../../src/domain/model/types.ts";
import type { AffinityNode } from "../../../src/domain/drain/node-affinity.ts";

const nodeOf = (name: string, labels: Record<string, string> = {}): AffinityNode => ({
  name,
  labels: { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", ...labels },
});
const departing = nodeOf("worker-1", {
  "topology.topolvm.io/node": "worker-1",
  "topology.kubernetes.io/zone": "pve1",
  "example.org/tier": "gold",
  "example.org/rack": "r7",
});
const stay = [nodeOf("worker-2", { "topology.topolvm.io/node": "worker-2", "example.org/tier": "gold" })];

interface Given {
  affinity?: [key: string, operator: string, ...values: string[]];
  terms?: NonNullable<NonNullable<DataVolume["spec"]>["nodeAffinity"]>["required"];
  hostPath?: string;
  attributes?: Record<string, string>;
  phase?: string;
  policy?: string;
}

function volume({ affinity, terms, hostPath, attributes, phase = "Bound", policy }: Given): DataVolume {
  const [key = "", operator = "", ...values] = affinity ?? [];
  const required = affinity ? { nodeSelectorTerms: [{ matchExpressions: [{ key, operator, values }] }] } : terms;
  return {
    metadata: { name: "pv-7" },
    spec: {
      capacity: { storage: "10Gi" },
      claimRef: { namespace: "shop", name: "data-0" },
      ...(required ? { nodeAffinity: { required } } : {}),
      ...(policy === undefined ? {} : { persistentVolumeReclaimPolicy: policy }),
      ...(hostPath === undefined ? {} : { hostPath: { path: hostPath } }),
      ...(attributes ? { csi: { volumeAttributes: attributes } } : {}),
    },
    status: { phase },
  };
}

const pod = (nodeName: string, more: Partial<NonNullable<DataPod["spec"]>> = {}, phase = "Running"): DataPod => ({
  metadata: { namespace: "shop", name: "db-0" },
  spec: {
    nodeName,
    volumes: [{ name: "data", persistentVolumeClaim: { claimName: "data-0" } }],
    ...more,
  },
  status: { phase },
});
const ephemeral = { volumes: [{ name: "scratch", ephemeral: {} }] };

const host = "kubernetes.io/hostname";
const hostNames = (...names: string[]): Given => ({ affinity: ["kubernetes.io/hostname", "In", ...names] });

const table: [title: string, given: Given, pods: DataPod[], local: boolean][] = [
  ["a local volume names its host", hostNames("worker-1"), [], true],
  ["a local volume names another host", hostNames("worker-2"), [], false],
  ["a volume names its host and one that stays", hostNames("worker-1", "worker-2"), [], false],
  ["a volume names its host and one that is no more", hostNames("worker-1", "worker-9"), [], true],
  ["TopoLVM names it by its own label", { affinity: ["topology.topolvm.io/node", "In", "worker-1"] }, [], true],
  ["a volume names a label that only it was given", { affinity: ["example.org/rack", "In", "r7"] }, [], true],
  ["a volume names a label that others have too", { affinity: ["example.org/tier", "In", "gold"] }, [], false],
  ["a volume names its zone", { affinity: ["topology.kubernetes.io/zone", "In", "pve1"] }, [], false],
  ["a volume names a label of the configuration", { affinity: ["pool", "In", "db"] }, [], false],
  [
    "a volume is wherever some other node is not",
    { affinity: ["kubernetes.io/hostname", "NotIn", "worker-2"] },
    [],
    false,
  ],
  [
    "a volume has an operator that nobody knows",
    { affinity: ["kubernetes.io/hostname", "Like", "worker-*"] },
    [],
    true,
  ],
  [
    "a volume names it by its field",
    {
      terms: { nodeSelectorTerms: [{ matchFields: [{ key: "metadata.name", operator: "In", values: ["worker-1"] }] }] },
    },
    [],
    true,
  ],
  ["a local volume is not bound", { ...hostNames("worker-1"), phase: "Available" }, [], false],
  ["a local volume was released", { ...hostNames("worker-1"), phase: "Released", policy: "Delete" }, [], false],
  [
    "a local volume was released and is retained",
    { ...hostNames("worker-1"), phase: "Released", policy: "Retain" },
    [],
    true,
  ],
  [
    "a local volume elsewhere is retained",
    { ...hostNames("worker-2"), phase: "Released", policy: "Retain" },
    [],
    false,
  ],
  ["a hostPath volume is used by a pod there", { hostPath: "/srv/data" }, [pod("worker-1")], true],
  ["a hostPath volume is used by a pod elsewhere", { hostPath: "/srv/data" }, [pod("worker-2")], false],
  [
    "a hostPath volume was used by a pod that has ended",
    { hostPath: "/srv" },
    [pod("worker-1", {}, "Succeeded")],
    false,
  ],
  ["a CSI driver says in an attribute where it is", { attributes: { node: "worker-1" } }, [], true],
  ["a CSI driver's attributes name another node", { attributes: { node: "worker-2" } }, [], false],
  ["a volume can be anywhere", {}, [pod("worker-1")], false],
];

describe("volumes that only a leaving node can reach", () => {
  const found = (given: Given, pods: DataPod[]) =>
    localVolumes(
      { node: { ...departing, labels: { ...departing.labels, pool: "db" } }, stay, given: { pool: "db" } },
      [volume(given)],
      pods,
    );

  for (const [title, given, pods, local] of table)
    it(`${local ? "are found" : "are none"} when ${title}`, () => {
      assert.equal(found(given, pods).length, local ? 1 : 0);
      if (local) assert.ok(mayBeLocal(volume(given), departing), "the step would not even look");
    });

  for (const name of ["worker-1", "w1.example.org"])
    it(`are found when a CSI driver's attribute is ${name}, of a node whose host has another name`, () => {
      const node = { ...departing, labels: { ...departing.labels, "kubernetes.io/hostname": "w1.example.org" } };
      const made = volume({ attributes: { node: name } });
      assert.equal(localVolumes({ node, stay, given: {} }, [made], []).length, 1);
      assert.ok(mayBeLocal(made, node), "the step would not even look");
    });

  const tied = (key: string, value: string) => volume({ affinity: [key, "In", value] });
  const deleted: AffinityNode = { ...nodeOf("worker-1"), mayHaveMore: true };
  const unlabelled = nodeOf("worker-1");

  for (const [title, node, made, result] of [
    ["certain when its Node lost the label that names it", unlabelled, tied("x.io/node", "worker-1"), [false]],
    ["certain when its Node was deleted, and the label names it", deleted, tied("x.io/node", "worker-1"), [false]],
    ["uncertain when its Node was deleted, and no node has the label", deleted, tied("x.io/node", "d-7"), [true]],
    ["none when its Node was deleted, and the host name is another's", deleted, tied(host, "worker-9"), []],
    ["none when its Node was deleted, and another node has the label", deleted, tied("example.org/tier", "gold"), []],
    ["none when its Node was deleted, and they ask for a zone", deleted, tied("topology.kubernetes.io/zone", "b"), []],
    ["none when no node has the label, and all of its own are known", unlabelled, tied("x.io/node", "d-7"), []],
  ] as const)
    it(`are ${title}`, () => {
      const volumes = localVolumes({ node, stay, given: {} }, [made], []);
      assert.deepEqual(
        volumes.map(({ isUncertain }) => isUncertain),
        result,
      );
    });

  const left = "2026-11-30T20:00:00Z";
  for (const [title, since, created, node, count] of [
    ["none when the record has the claim on a node that has left", left, "2026-11-01T00:00:00Z", deleted, 0],
    ["uncertain when the claim has another volume since that node left", left, "2026-11-30T20:00:01Z", deleted, 1],
    ["uncertain when nobody knows when the volume was made", left, undefined, deleted, 1],
  ] as const)
    it(`are ${title}`, () => {
      const made = { ...tied("x.io/node", "d-7"), metadata: { name: "pv-7", creationTimestamp: created } };
      const elsewhere = [{ claim: "shop/data-0", since }];
      assert.equal(localVolumes({ node, stay, given: {}, elsewhere }, [made], []).length, count);
      const certain = { ...tied("x.io/node", "worker-1"), metadata: made.metadata };
      assert.equal(localVolumes({ node, stay, given: {}, elsewhere }, [certain], []).length, 1, "its own");
    });

  it("are on the disks of nodes that have left, and of no other, as the record says", () => {
    const record = (name: string, phase: NodeRecord["phase"]): NodeRecord => ({
      ...{ name, slot: 0, generation: "aaaaaaaa", vmid: 1000, uuid: "u", phase, since: left },
      keeps: [{ claim: `shop/${name}`, size: "10Gi" }],
    });
    const records = [record("worker-1", "retired"), record("worker-2", "handedOver"), record("worker-3", "retired")];
    assert.deepEqual(claimsElsewhere(records, "worker-1"), [{ claim: "shop/worker-3", since: left }]);
  });

  it("are none when any node that has a host name will do, though none is left", () => {
    const anywhere = volume({ affinity: ["kubernetes.io/hostname", "Exists"] });
    assert.deepEqual(localVolumes({ node: departing, stay: [], given: {} }, [anywhere], []), []);
  });

  it("are none when the claim lives and dies with its pod", () => {
    const made = volume(hostNames("worker-1"));
    const scratch = { ...made, spec: { ...made.spec, claimRef: { namespace: "shop", name: "db-0-scratch" } } };
    const used = (...pods: DataPod[]) => localVolumes({ node: departing, stay, given: {} }, [scratch], pods);
    assert.deepEqual(used(pod("worker-1", ephemeral)), []);
    // Another pod that uses it keeps the claim beyond that.
    const volumes = [{ name: "data", persistentVolumeClaim: { claimName: "db-0-scratch" } }];
    assert.equal(used(pod("worker-1", ephemeral), pod("worker-1", { volumes })).length, 1);
  });

  it("are named with claim, size, node and who uses them, in one refusal for each node", () => {
    const volumes = [...found(hostNames("worker-1"), [pod("worker-1")]), ...found(hostNames("worker-1"), [])];
    const [problem, ...more] = localVolumeProblems(volumes, "evergreen:pools[0].localVolumes");
    assert.deepEqual(more, []);
    assert.equal(
      problem?.what,
      "worker-1 leaves, and 2 volumes with data are on it alone: shop/data-0 (10Gi), used by shop/db-0; shop/data-0 (10Gi), used by no pod now",
    );
    assert.equal(problem.where, "evergreen:pools[0].localVolumes");
    assert.match(problem.todo, /set localVolumes of the pool to keep/);
  });

  it("are said to be uncertain, with what makes them certain", () => {
    const found = localVolumes({ node: deleted, stay, given: {} }, [tied("x.io/node", "d-7")], []);
    const [problem] = localVolumeProblems(found, "where");
    assert.match(problem?.what ?? "", /a volume with data, which no other node has, may be on it alone: perhaps shop/);
    assert.match(problem?.todo ?? "", /^its Node was deleted, .* restart RKE2 in its guest/);
  });

  it("are named by the volume when their claim is gone", () => {
    const released = found({ ...hostNames("worker-1"), phase: "Released", policy: "Retain" }, []);
    assert.deepEqual(released.map(volumeWords), ["pv-7 (10Gi), retained when its claim shop/data-0 was deleted"]);
  });
});
