import assert from "node:assert/strict";
import type { Timeouts } from "../../../src/domain/model/step-environment.ts";
import type { PlacedPool } from "../../../src/domain/model/types.ts";
import { longestDying } from "../../../src/domain/drain/drain.ts";
import { poolGraph, type StepVerb } from "../../../src/domain/rollout/graph.ts";
import { plannedPool } from "../../support/planned.ts";

describe("the time limits of a pool's steps", () => {
  const given = plannedPool("demo", "workers", 1);

  /** @param replaces nodes that leave the slot */
  function limitsOf(verb: StepVerb, changes: Partial<PlacedPool> = {}, replaces: string[] = [], waits?: Timeouts) {
    const slots = given.plan.slots.map((slot) => ({ ...slot, replaces }));
    const site = { ...given.site, ...(waits && { timeouts: waits }) };
    const found = poolGraph({ ...given, site, plan: { ...given.plan, slots, ...changes } });
    const step = found.find((one) => one.kind === "step" && one.verb === verb);
    assert.ok(step?.kind === "step" && step.limits);
    return step.limits;
  }

  it("give each node that leaves a slot, or a pool, the whole of its time", () => {
    const { gate } = given.site.timeouts;
    // What was evicted has a gate to find a place, and two to start.
    const forSlot = (...replaces: string[]) => limitsOf("handover", {}, replaces).update - 3 * gate;
    assert.equal(forSlot("a", "b"), 2 * forSlot("a"));
    const forPool = (...leaving: string[]) => limitsOf("verify", { leaving }).update - gate;
    assert.equal(forPool("a", "b"), 2 * forPool("a"));
    // One that an unfinished run has left may first have to wait for what others had.
    assert.equal(forPool("a"), forSlot("a") + gate);
  });

  it("have the wait for a silent node to come back or to be dead, which no key sets", () => {
    const none = Object.fromEntries(Object.keys(given.site.timeouts).map((key) => [key, 0])) as unknown as Timeouts;
    const limits = [
      limitsOf("handover", {}, ["a"], none).update,
      limitsOf("verify", { leaving: ["a"] }, [], none).update,
      limitsOf("join", {}, [], none).update,
      limitsOf("join", {}, [], none).delete,
      limitsOf("claim", {}, [], none).delete,
    ];
    assert.deepEqual(new Set(limits), new Set([longestDying]));
  });
});
