import assert from "node:assert/strict";
import type { NodeSpec, PoolPlan } from "../../../src/domain/model/types.ts";
import { A, B, carriedOut, NOTHING, NOW, planned, poolOf } from "./world.ts";

describe("a pool's life", () => {
  it("goes from creation through canary and soak to proof, with one change of plan per decision", () => {
    const strategy = { canary: { nodes: 1 }, soakSeconds: 3600 };
    const at = (hours: number) => new Date(NOW.getTime() + hours * 3_600_000);
    const first = planned(poolOf(A, { strategy }), NOTHING, at(0));
    let now = carriedOut(poolOf(A, { strategy }), NOTHING, first, at(0));
    const kinds: string[] = [first.kind];
    const step = (node: NodeSpec, hours: number): PoolPlan => {
      const made = planned(poolOf(node, { strategy }), now, at(hours));
      now = carriedOut(poolOf(node, { strategy }), now, made, at(hours));
      kinds.push(made.kind);
      return made;
    };
    const soaking = step(A, 0.5);
    const proved = step(A, 1.1);
    assert.equal(soaking.digest, first.digest);
    assert.equal(proved.digest, first.digest);
    const canary = step(B, 2);
    assert.equal(step(B, 2.5).digest, canary.digest);
    const roll = step(B, 3.1);
    assert.notEqual(roll.digest, canary.digest);
    assert.equal(step(B, 3.2).digest, roll.digest);
    step(B, 4.2);
    step(B, 5);
    const back = step(A, 6);
    assert.equal(step(A, 6.1).digest, back.digest);
    assert.deepEqual(kinds, [
      ...["create", "soaking", "steady"],
      ...["canary", "soaking", "roll", "soaking", "steady", "steady"],
      ...["rollback", "steady"],
    ]);
    assert.deepEqual(
      now.record?.generations.map((one) => one.state),
      ["proved", "proved"],
    );
  });
});
