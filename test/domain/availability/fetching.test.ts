import assert from "node:assert/strict";
import { whyUnfinished, type PodEvent } from "../../../src/domain/availability/fetching.ts";
import type { StartingPod } from "../../../src/domain/availability/starting.ts";

type Status = NonNullable<StartingPod["status"]>;
const waiting = (reason: string) => ({ state: { waiting: { reason } } });
const made: Status = { phase: "Pending", containerStatuses: [waiting("ContainerCreating")] };
const said = (reason: string, second: number, container = "a"): PodEvent => ({
  type: ["FailedMount", "FailedCreatePodSandBox"].includes(reason) ? "Warning" : "Normal",
  reason,
  message: reason === "Pulling" ? `Pulling image "x"` : reason,
  lastTimestamp: `2026-03-01T12:00:${String(second).padStart(2, "0")}Z`,
  involvedObject: { fieldPath: `spec.containers{${container}}` },
});

describe("a pod whose containers are being made", () => {
  const pull = 'load/p: Pulling image "x" since 2026-03-01T12:00:05Z';
  const unsaid = "load/p: ContainerCreating, and no event says why";
  const cases: [string, Status, PodEvent[], string | undefined][] = [
    ["is excused by a pull that has not ended", made, [said("Pulling", 5)], pull],
    [
      "is excused by a pull after others, which its kubelet said before",
      made,
      [said("Pulled", 4), said("Pulling", 5)],
      pull,
    ],
    ["is excused by the pull of another container", made, [said("Pulled", 9, "b"), said("Pulling", 5)], pull],
    ["is excused by a pull after a volume that was late", made, [said("FailedMount", 2), said("Pulling", 5)], pull],
    [
      "is excused by the pull of an init container",
      { initContainerStatuses: [waiting("PodInitializing")], containerStatuses: [waiting("PodInitializing")] },
      [said("Pulling", 5)],
      pull,
    ],
    [
      "is excused by the pull after an init container",
      { initContainerStatuses: [{ state: { terminated: {} } }], containerStatuses: [waiting("PodInitializing")] },
      [said("Pulling", 5)],
      pull,
    ],
    ["is excused while nobody says what it waits for", made, [], unsaid],
    [
      "is excused when its image is there, and nothing is said since",
      made,
      [said("Pulling", 4), said("Pulled", 4)],
      unsaid,
    ],
    ["is not excused when its volume cannot be mounted", made, [said("FailedMount", 2)], undefined],
    ["is not excused when it gets no network", made, [said("FailedCreatePodSandBox", 2)], undefined],
    [
      "is excused by a volume that was late, once it has all volumes",
      { ...made, conditions: [{ type: "PodReadyToStartContainers", status: "True" }] },
      [said("FailedMount", 2)],
      unsaid,
    ],
    ["is not excused when a container fails", { containerStatuses: [waiting("CrashLoopBackOff")] }, [], undefined],
    [
      "is not excused when an init container does not end",
      { initContainerStatuses: [{ state: { running: {} } }], containerStatuses: [waiting("PodInitializing")] },
      [said("Pulling", 4), said("Pulled", 5)],
      undefined,
    ],
    ["is not excused when its kubelet has not seen it", { phase: "Pending" }, [said("Pulling", 5)], undefined],
  ];
  for (const [what, status, events, why] of cases)
    it(what, () => assert.equal(whyUnfinished({ metadata: { namespace: "load", name: "p" }, status }, events), why));
});
