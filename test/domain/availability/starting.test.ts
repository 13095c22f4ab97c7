import assert from "node:assert/strict";
import { displacedFrom } from "../../../src/domain/availability/placement.ts";
import { startingOn, type StartingPod } from "../../../src/domain/availability/starting.ts";

describe("the pods that a new node was given", () => {
  const pod = (name: string, status: NonNullable<StartingPod["status"]>, kind = "ReplicaSet"): StartingPod => ({
    metadata: { name, namespace: "load", ownerReferences: [{ kind, name: "app", uid: "1", controller: true }] },
    status,
  });
  const waitsFor = (reason: string, restartCount = 0): NonNullable<StartingPod["status"]> => ({
    phase: "Pending",
    containerStatuses: [{ restartCount, state: { waiting: { reason, message: "x" } } }],
  });
  const running = { phase: "Running" };

  it("are refused when none has started and some cannot be fetched or created", () => {
    const pods = [pod("a", waitsFor("ErrImagePull")), pod("b", waitsFor("ContainerCreating"))];
    assert.deepEqual(startingOn(pods), { is: "refused", pods: ["load/a: ErrImagePull, x"] });
  });

  it("have started when one of them has: another fails by itself", () => {
    const refused = pod("a", waitsFor("ImagePullBackOff"));
    assert.deepEqual(startingOn([refused, pod("b", running)]), { is: "started" });
    assert.deepEqual(startingOn([refused, pod("b", waitsFor("CrashLoopBackOff", 3))]), { is: "started" });
    const init = { phase: "Pending", initContainerStatuses: [{ state: { running: {} } }] };
    assert.deepEqual(startingOn([refused, pod("b", init)]), { is: "started" });
    assert.deepEqual(
      startingOn([
        refused,
        pod("b", { phase: "Succeeded", containerStatuses: [{ state: { terminated: {} } }] }, "Job"),
      ]),
      { is: "started" },
    );
  });

  it("have started when there are none, whatever its daemons do", () => {
    assert.deepEqual(startingOn([]), { is: "started" });
    assert.deepEqual(startingOn([pod("a", waitsFor("ErrImagePull"), "DaemonSet")]), { is: "started" });
  });

  it("are none when their controller had no pod that had started before the drain: that is its own fault", () => {
    const failing = [{ namespace: "load", kind: "ReplicaSet", name: "app" }];
    const broken = pod("a", waitsFor("ImagePullBackOff"));
    assert.deepEqual(startingOn([broken], failing), { is: "started" });
    assert.equal(startingOn([broken], [{ namespace: "load", kind: "ReplicaSet", name: "other" }]).is, "refused");
    const both = displacedFrom([{ ...broken, spec: { nodeName: "n1" } }], new Set(["n1"]));
    assert.deepEqual(
      both.map((one) => one.failing),
      [true],
    );
    const elsewhere = { ...pod("b", running), spec: { nodeName: "n2" } };
    const one = displacedFrom([{ ...broken, spec: { nodeName: "n1" } }, elsewhere], new Set(["n1"]));
    assert.deepEqual(
      one.map(({ failing }) => failing),
      [undefined],
    );
  });

  it("are unknown while they are created, and the daemons of the node do not count", () => {
    const pods = [pod("a", waitsFor("ContainerCreating")), pod("b", running, "DaemonSet")];
    assert.deepEqual(startingOn(pods), { is: "unknown" });
  });
});
