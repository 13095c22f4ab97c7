import assert from "node:assert/strict";
import { byHandWords, successorOf, type HandNode, type SelectingPod } from "../../../src/domain/drain/by-hand.ts";

const given = { labels: { tier: "gold" }, taints: ["dedicated=db:NoSchedule", "lone:NoExecute", "bare=:NoSchedule"] };

function node(labels: Record<string, string>, manager?: string, more: Partial<HandNode> = {}): HandNode {
  const fields = Object.fromEntries(Object.keys(labels).map((key) => [`f:${key}`, {}]));
  return {
    metadata: {
      name: "old",
      labels,
      managedFields: manager === undefined ? [] : [{ manager, fieldsV1: { "f:metadata": { "f:labels": fields } } }],
    },
    ...more,
  };
}

const pod = (name: string, spec: SelectingPod["spec"], nodeName = "old"): SelectingPod => ({
  metadata: { namespace: "shop", name },
  spec: { nodeName, ...spec },
});

const table: [title: string, labels: Record<string, string>, manager: string | undefined, named: boolean][] = [
  ["somebody gave with kubectl", { disk: "ssd" }, "kubectl-label", true],
  ["somebody gave, and nobody knows who", { disk: "ssd" }, undefined, true],
  ["Terraform gave", { disk: "ssd" }, "HashiCorp", true],
  ["the configuration gives", { tier: "gold" }, "kubectl-label", false],
  ["the configuration gives with another value", { tier: "silver" }, "kubectl-label", true],
  ["Kubernetes gives", { "kubernetes.io/arch": "amd64" }, undefined, false],
  ["a cloud controller gives", { "topology.kubernetes.io/zone": "pve1" }, "proxmox-cloud-controller-manager", false],
  ["a device plugin gives", { "nvidia.com/gpu.present": "true" }, "gpu-operator", false],
  ["the feature discovery gives", { "feature.example/avx": "true" }, "nfd-master", false],
  ["the network gives", { "cilium.example/x": "1" }, "cilium-agent", false],
  ["RKE2 gives", { "node-role.kubernetes.io/etcd": "true" }, undefined, false],
  ["we give", { "evergreen.dev/slot": "1" }, undefined, false],
  ["says where it is, which somebody gave", { "topology.kubernetes.io/zone": "pve1" }, "kubectl-label", true],
  ["says where it is, given by nobody known", { "topology.kubernetes.io/region": "home" }, undefined, true],
  ["says where it is, which we give", { "topology.kubernetes.io/zone": "pve1" }, "evergreen", false],
  ["keeps balancers away", { "node.kubernetes.io/exclude-from-external-load-balancers": "" }, "kubectl-label", true],
  ["balances load (RKE2)", { "svccontroller.k3s.cattle.io/enablelb": "true" }, "kubectl-label", true],
  ["only administrators give", { "node-restriction.kubernetes.io/pci": "1" }, "kubectl-label", true],
  ["says a role that somebody gave", { "node-role.kubernetes.io/worker": "" }, "kubectl-label", true],
];

describe("what a node has by hand", () => {
  for (const [title, labels, manager, named] of table)
    it(`${named ? "is named" : "is not named"} when it is a label that ${title}`, () => {
      assert.equal(byHandWords(node(labels, manager), "new", given, []).length > 0, named);
    });

  it("is named with the pods that need it, and the orders that give it to the new node", () => {
    const affinity = {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: "disk", operator: "In", values: ["ssd"] }] }],
        },
      },
    };
    const old = node({ disk: "ssd" }, "kubectl-label", {
      spec: {
        taints: [
          { key: "dedicated", value: "db", effect: "NoSchedule" },
          { key: "lone", effect: "NoExecute" },
          { key: "bare", effect: "NoSchedule" },
          { key: "held", value: "back", effect: "NoSchedule" },
          { key: "node.kubernetes.io/unschedulable", effect: "NoSchedule" },
        ],
      },
    });
    old.metadata = { ...old.metadata, annotations: { "example.org/owner": "team a's", "rke2.io/node-args": "[]" } };
    const pods = [
      pod("a", { nodeSelector: { disk: "ssd" } }),
      pod("b", { affinity }),
      pod("c", { affinity }, "other"),
      pod("d", {}),
    ];
    assert.deepEqual(byHandWords(old, "new", given, pods), [
      "old has what the configuration does not give, and new will not have it: label disk=ssd, which shop/a, shop/b need; taint held=back:NoSchedule; annotation example.org/owner",
      "  put labels and taints into the pool (npx evergreen adopt --labels), or once it has joined: kubectl label node new disk=ssd && kubectl taint node new held=back:NoSchedule && kubectl annotate node new example.org/owner='team a'\\''s'",
    ]);
  });

  for (const [title, args, said] of [
    ["its own RKE2 configuration gave it", '["agent","--node-label","disk=ssd"]', true],
    ["its own RKE2 configuration gave it in a list", '["agent","--node-label=a=b,disk=ssd"]', true],
    ["the kubelet gave it", '["agent","--node-name","old"]', false],
    ["the pool gave it before", '["agent","--node-label","disk=ssd","--node-label","evergreen.dev/slot=1"]', false],
  ] as const)
    it(`${said ? "is" : "is no"} label of the kubelet when ${title}`, () => {
      const old = node({ disk: "ssd" }, "kubelet");
      old.metadata = { ...old.metadata, annotations: { "rke2.io/node-args": args } };
      assert.equal(byHandWords(old, "new", given, []).length > 0, said);
    });

  it("is no label that each node gets from its host", () => {
    const zone = "topology.kubernetes.io/zone";
    assert.deepEqual(byHandWords(node({ [zone]: "pve1" }), "new", { ...given, byHost: [zone] }, []), []);
  });

  it("is no annotation that the configuration gives, unless somebody gave it another value", () => {
    const old = node({}, "kubectl-label");
    old.metadata = { ...old.metadata, annotations: { "example.org/owner": "a" } };
    const by = (owner: string) =>
      byHandWords(old, "new", { ...given, annotations: { "example.org/owner": owner } }, []);
    assert.deepEqual(by("a"), []);
    assert.match(by("b").join(), /annotation example\.org\/owner/);
  });

  const named = { nodeSelectorTerms: [{ matchFields: [{ key: "metadata.name", operator: "In", values: ["old"] }] }] };
  const byField = { affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: named } } };
  const bound: [title: string, one: SelectingPod, said: boolean][] = [
    ["its host name", pod("a", { nodeSelector: { "kubernetes.io/hostname": "old" } }), true],
    ["its name", pod("a", byField), true],
    ["a label that others have", pod("a", { nodeSelector: { tier: "gold" } }), false],
    ["its name, on another node", pod("a", byField, "other"), false],
    ["its name, as every pod of a DaemonSet", daemon(pod("a", byField)), false],
  ];
  for (const [title, one, said] of bound)
    it(`${said ? "names" : "does not name"} a pod that asks for ${title}`, () => {
      const old = node({ tier: "gold", "kubernetes.io/hostname": "old" });
      const [line] = byHandWords(old, "new", given, [one]);
      assert.equal(line, said ? "shop/a asks for old by its name, and will find no place without it" : undefined);
    });
});

function daemon(one: SelectingPod): SelectingPod {
  const owner = { kind: "DaemonSet", name: "cni", uid: "u", controller: true };
  return { ...one, metadata: { ...one.metadata, ownerReferences: [owner] } };
}

describe("a node that is to come in the place of another one", () => {
  const { labels } = successorOf(
    node({ disk: "ssd", "kubernetes.io/arch": "amd64", tier: "silver", shelf: "3", zone: "a" }, "kubectl-label"),
    { ...given, byHost: ["zone"] },
    ["shelf"],
  );

  it("has the labels of programs, of the place and of its pool, and none that somebody gave to the old one", () =>
    assert.deepEqual(labels, { "kubernetes.io/arch": "amd64", zone: "a", tier: "gold" }));
});
