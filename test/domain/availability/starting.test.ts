import assert from "node:assert/strict";
import { displacedFrom } from "../../../src/domain/availability/placement.ts";
import { startingOn, startingOnEach, type StartingPod } from "../../../src/domain/availability/starting.ts";

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
  const evicted = [{ namespace: "load", kind: "ReplicaSet", name: "app" }];

  it("are refused when none has started and some cannot be fetched or created", () => {
    const pods = [pod("a", waitsFor("ErrImagePull")), pod("b", waitsFor("ContainerCreating"))];
    assert.deepEqual(startingOn(pods, evicted), { is: "refused", pods: ["load/a: ErrImagePull, x"] });
  });

  it("have started when one of them has: another fails by itself", () => {
    const refused = pod("a", waitsFor("ImagePullBackOff"));
    assert.deepEqual(startingOn([refused, pod("b", running)], evicted), { is: "started" });
    assert.deepEqual(startingOn([refused, pod("b", waitsFor("CrashLoopBackOff", 3))], evicted), { is: "started" });
    const init = { phase: "Pending", initContainerStatuses: [{ state: { running: {} } }] };
    assert.deepEqual(startingOn([refused, pod("b", init)], evicted), { is: "started" });
    assert.deepEqual(
      startingOn(
        [refused, pod("b", { phase: "Succeeded", containerStatuses: [{ state: { terminated: {} } }] }, "Job")],
        evicted,
      ),
      { is: "started" },
    );
  });

  it("have started when one of another controller has: the node can start pods", () => {
    const refused = pod("a", waitsFor("ImagePullBackOff"));
    const other = pod("b", running);
    const ownerReferences = [{ kind: "ReplicaSet", name: "other", uid: "2", controller: true }];
    const ofOther = { ...other, metadata: { ...other.metadata, ownerReferences } };
    assert.deepEqual(startingOn([refused, ofOther], evicted), { is: "started" });
    const leaves = { ...ofOther, metadata: { ...ofOther.metadata, deletionTimestamp: "2026-11-01T00:00:00Z" } };
    assert.equal(startingOn([refused, leaves], evicted).is, "refused");
  });

  it("have started when there are none, whatever its daemons do", () => {
    assert.deepEqual(startingOn([], evicted), { is: "started" });
    assert.deepEqual(startingOn([pod("a", waitsFor("ErrImagePull"), "DaemonSet")], evicted), { is: "started" });
  });

  it("are none when nobody has evicted them: they may have started nowhere before", () => {
    const broken = pod("a", waitsFor("ImagePullBackOff"));
    assert.equal(startingOn([broken], evicted).is, "refused");
    assert.deepEqual(startingOn([broken], [{ namespace: "load", kind: "ReplicaSet", name: "other" }]), {
      is: "started",
    });
  });

  it("fail by themselves when their controller had none that had started before the drain, and one that could not", () => {
    const failing = (...more: StartingPod[]) =>
      displacedFrom(
        more.map((one, index) => ({ ...one, spec: { nodeName: `n${index}` } })),
        new Set(["n0"]),
      ).map((one) => one.failing);
    const broken = pod("a", waitsFor("ImagePullBackOff"));
    assert.deepEqual(failing(broken), [true]);
    assert.deepEqual(failing(pod("a", waitsFor("CreateContainerConfigError"))), [true]);
    assert.deepEqual(failing(broken, pod("b", running)), [undefined]);
    assert.deepEqual(failing(pod("a", waitsFor("ContainerCreating"))), [undefined]);
  });

  it("are refused when one of several new nodes starts none, whatever the others do", () => {
    const on = (nodeName: string, one: StartingPod): StartingPod => ({ ...one, spec: { nodeName } });
    const refused = on("new-1", pod("a", waitsFor("ErrImagePull")));
    const others = [on("new-0", pod("b", running)), on("old-1", pod("c", running))];
    assert.deepEqual(startingOnEach([refused, ...others], ["new-0", "new-1"], evicted), [
      { node: "new-1", is: "refused", started: 0, pods: ["load/a: ErrImagePull, x (on new-1)"] },
    ]);
    assert.deepEqual(startingOnEach([...others, refused], ["new-0"], evicted), []);
    assert.deepEqual(startingOnEach([...others, on("new-1", pod("a", running))], ["new-0", "new-1"], evicted), []);
    const waiting = on("new-0", pod("c", waitsFor("ContainerCreating")));
    const both = startingOnEach([waiting, refused], ["new-0", "new-1"], evicted);
    assert.deepEqual(
      both.map(({ node, is }) => [node, is]),
      [
        ["new-1", "refused"],
        ["new-0", "waiting"],
      ],
    );
  });

  it("wait while they are created, and the daemons of the node do not count", () => {
    const pods = [pod("a", waitsFor("ContainerCreating")), pod("b", running, "DaemonSet")];
    assert.deepEqual(startingOn(pods, evicted), { is: "waiting", pods: ["load/a: ContainerCreating"] });
    assert.deepEqual(startingOn([pod("a", { phase: "Pending" })], evicted), {
      is: "waiting",
      pods: ["load/a: its containers have no state yet"],
    });
  });
});
