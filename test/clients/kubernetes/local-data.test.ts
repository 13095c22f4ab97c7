import assert from "node:assert/strict";
import { withoutNode } from "../../../src/clients/kubernetes/local-data.ts";
import type { NodeRecord } from "../../../src/domain/model/types.ts";

describe("a node that has no Node", () => {
  const recorded = (phase: NodeRecord["phase"]): NodeRecord => ({
    ...{ name: "demo-workers-0-09c3448c", slot: 0, vmid: 1103, uuid: "u", generation: "09c3448c" },
    ...{ phase, since: "2026-03-01T11:00:00.000Z" },
  });

  const cases: [string, NodeRecord | undefined, boolean, boolean][] = [
    ["has joined", recorded("joined"), true, true],
    ["has its slot", recorded("handedOver"), true, true],
    ["has its slot, and its VM's tags were removed", recorded("handedOver"), false, true],
    ["was started, and its record is lost", undefined, true, true],
    ["was cloned by a killed run and never started (888828526)", undefined, false, false],
    ["was made and has not joined", recorded("made"), true, false],
    ["has left", recorded("retired"), true, false],
  ];
  for (const [when, own, wasStarted, may] of cases)
    it(`${may ? "may have had labels that tie data to it" : "has no data"} when it ${when}`, () =>
      assert.equal(withoutNode("demo-workers-0-09c3448c", own, wasStarted).mayHaveMore, may));
});
