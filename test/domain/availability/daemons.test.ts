import assert from "node:assert/strict";
import { runsOn, type DaemonPlacement } from "../../../src/domain/availability/daemons.ts";

const node = { name: "n1", labels: { tier: "web" }, taints: [{ key: "gpu", value: "a100", effect: "NoSchedule" }] };
const plain = { ...node, taints: [] };
const required = (key: string): DaemonPlacement => ({
  affinity: {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchExpressions: [{ key, operator: "Exists" }] }],
      },
    },
  },
});
/** Cases of Kubernetes' own `TestTolerationToleratesTaint`. */
const numbered = (value: string) => ({ ...node, taints: [{ key: "sla", value, effect: "NoSchedule" }] });
const asks = (operator: string, value: string): DaemonPlacement => ({ tolerations: [{ key: "sla", operator, value }] });
const tainted = (effect: string, key = "gpu") => ({ ...node, taints: [{ key, effect }] });

describe("a DaemonSet", () => {
  const cases: [
    when: string,
    placement: DaemonPlacement,
    of: typeof plain | ReturnType<typeof tainted> | ReturnType<typeof numbered>,
    runs: boolean,
  ][] = [
    ["nothing keeps it away", {}, plain, true],
    ["the node has a label that it selects", { nodeSelector: { tier: "web" } }, plain, true],
    ["the node has another value of that label", { nodeSelector: { tier: "db" } }, plain, false],
    ["its affinity asks for a label that is there", required("tier"), plain, true],
    ["its affinity asks for a label that is not there", required("zone"), plain, false],
    ["it is meant for another node", { nodeName: "n2" }, plain, false],
    ["it is meant for no node by name", { nodeName: "" }, plain, true],
    ["a taint is not tolerated", {}, node, false],
    ["a taint is tolerated by its value", { tolerations: [{ key: "gpu", value: "a100" }] }, node, true],
    ["another value is tolerated", { tolerations: [{ key: "gpu", value: "v100" }] }, node, false],
    ["any value is tolerated", { tolerations: [{ key: "gpu", operator: "Exists" }] }, node, true],
    ["everything is tolerated", { tolerations: [{ operator: "Exists" }] }, node, true],
    ["another effect is tolerated", { tolerations: [{ operator: "Exists", effect: "NoExecute" }] }, node, false],
    ["a greater number than 750 is tolerated", asks("Gt", "750"), numbered("950"), true],
    ["a greater number than its own is tolerated", asks("Gt", "950"), numbered("950"), false],
    ["a greater number is tolerated, and it has none", asks("Gt", "950"), numbered("high"), false],
    ["a greater number than -100 is tolerated", asks("Gt", "-100"), numbered("-200"), false],
    ["a smaller number than 950 is tolerated", asks("Lt", "950"), numbered("800"), true],
    ["a smaller number than 800 is tolerated", asks("Lt", "800"), numbered("950"), false],
    ["a taint only asks", {}, tainted("PreferNoSchedule"), true],
    ["the node is not Ready yet", {}, tainted("NoExecute", "node.kubernetes.io/not-ready"), true],
    ["the node is cordoned", {}, tainted("NoSchedule", "node.kubernetes.io/unschedulable"), true],
    ["the node has no network", {}, tainted("NoSchedule", "node.kubernetes.io/network-unavailable"), false],
    [
      "it needs no network",
      { hostNetwork: true },
      tainted("NoSchedule", "node.kubernetes.io/network-unavailable"),
      true,
    ],
  ];
  for (const [when, placement, of, runs] of cases)
    it(`${runs ? "has" : "has no"} pod on a node when ${when}`, () => assert.equal(runsOn(placement, of), runs));
});
