import assert from "node:assert/strict";
import {
  schedulingObstacles,
  type SchedulingObstacle,
  type ServingNode,
} from "../../../src/domain/availability/serving.ts";

type Taint = NonNullable<NonNullable<ServingNode["spec"]>["taints"]>[number];

const tainted = (...taints: Taint[]): ServingNode => ({ spec: { taints } });
const condition = (type: string, status: string): ServingNode => ({ status: { conditions: [{ type, status }] } });
const dedicated: Taint = { key: "gpu", value: "true", effect: "NoSchedule" };
const cilium: Taint = { key: "node.cilium.io/agent-not-ready", effect: "NoExecute" };
const full: Taint = { key: "node.kubernetes.io/disk-pressure", effect: "NoSchedule" };

describe("what keeps pods away from a node", () => {
  const own = ["gpu=true:NoSchedule", "quiet=:NoExecute"];
  const startup = ["node.cilium.io/agent-not-ready:NoExecute"];
  const cases: [when: string, node: ServingNode, by: SchedulingObstacle["by"][]][] = [
    ["nothing", {}, []],
    ["a taint of the pool", tainted(dedicated), []],
    ["a taint of the pool, written with an empty value", tainted({ key: "quiet", effect: "NoExecute" }), []],
    ["a taint of the pool with another value", tainted({ ...dedicated, value: "false" }), ["others"]],
    ["a taint of the pool with another effect", tainted({ ...dedicated, effect: "NoExecute" }), ["others"]],
    ["a startup taint that is still there", tainted(cilium), ["daemons"]],
    ["a taint that nobody configured", tainted({ key: "maintenance", effect: "NoExecute" }), ["others"]],
    ["a taint that only asks", tainted({ key: "maintenance", effect: "PreferNoSchedule" }), []],
    ["the controllers' taint of a node that was not Ready", tainted(notReady()), ["controllers"]],
    ["a cordon", { spec: { unschedulable: true, taints: [cordoned()] } }, ["others"]],
    ["the taint of a cordon that was undone a moment ago", tainted(cordoned()), []],
    ["memory pressure", condition("MemoryPressure", "True"), ["node"]],
    ["no memory pressure", condition("MemoryPressure", "False"), []],
    ["memory pressure of which nobody has heard for long", condition("MemoryPressure", "Unknown"), []],
    ["process ids running out", condition("PIDPressure", "True"), ["node"]],
    ["a network that is not there", condition("NetworkUnavailable", "True"), ["node"]],
    ["disk pressure, as condition and as taint", { ...tainted(full), ...condition("DiskPressure", "True") }, ["node"]],
    ["disk pressure, as taint alone", tainted(full), ["node"]],
    ["being Ready", condition("Ready", "True"), []],
  ];
  for (const [when, node, by] of cases)
    it(`${by.length === 0 ? "is nothing" : `is named, and is of the ${by.join(" and ")},`} when there is ${when}`, () =>
      assert.deepEqual(
        schedulingObstacles(node, own, startup).map((one) => one.by),
        by,
      ));

  it("names the taint", () => {
    assert.match(schedulingObstacles(tainted(dedicated))[0]?.reason ?? "", /gpu=true:NoSchedule/);
  });
});

function notReady(): Taint {
  return { key: "node.kubernetes.io/not-ready", effect: "NoExecute" };
}

function cordoned(): Taint {
  return { key: "node.kubernetes.io/unschedulable", effect: "NoSchedule" };
}
