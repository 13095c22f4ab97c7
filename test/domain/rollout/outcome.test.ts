import assert from "node:assert/strict";
import { hasTurned, outcomeOf, type Outcome } from "../../../src/domain/rollout/outcome.ts";
import { planRemoval } from "../../../src/domain/rollout/plan.ts";
import type { GenerationState, NodeSpec, PoolPlan, PoolSpec, Strategy } from "../../../src/domain/model/types.ts";
import { A, AN_HOUR_AGO, B, ID, nameOf, NOW, planned, poolOf, settled, world, type Held } from "./world.ts";

type States = [NodeSpec, GenerationState, string?][];
interface At {
  held: Held[];
  states: States;
}

const { a, b } = ID;
const ON_A: At = { held: settled(A), states: [[A, "proved"]] };
const ON_B: At = { held: settled(B), states: [[B, "proved"]] };
const NOTHING: At = { held: [], states: [] };
const JUDGED: States = [
  [A, "proved"],
  [B, "failed"],
];
const SOAKS: States = [
  [A, "proved"],
  [B, "soaking", NOW.toISOString()],
];
const HELD_OVER: States = [
  [A, "proved"],
  [B, "soaking", AN_HOUR_AGO],
];
const back: At = { held: settled(A), states: JUDGED };
/** What a failed update leaves of its first slot: nobody was handed it. */
const incomplete: At = { held: [...settled(A), { slot: 0, spec: B, phase: "failed", well: false }], states: JUDGED };
const halfWay: At = { held: [...settled(B, 2), ...settled(A, 2, 2)], states: JUDGED };
const canary = (states: States, well = true): At => ({
  held: [{ slot: 0, spec: B, phase: "handedOver", well }, ...settled(A, 3, 1)],
  states,
});
const ill: At = {
  held: [{ slot: 0, spec: B, phase: "handedOver", well: false }, ...settled(B, 3, 1)],
  states: [[B, "proved"]],
};

const plain = poolOf(B);
const returns = poolOf(B, { strategy: { onFailure: "rollback" } });
const careful = poolOf(B, { strategy: { canary: { nodes: 1 }, soakSeconds: 1800 } });
const quick = poolOf(B, { strategy: { canary: { nodes: 1 }, soakSeconds: 60 } });
const soaksWhole = poolOf(B, { strategy: { soakSeconds: 1800 } });

const at = (pool: PoolSpec, { held, states }: At): PoolPlan => planned(pool, world(held, states));
const other = (plan: PoolPlan): PoolPlan => ({ ...plan, pool: "others" });

describe("how a run ended", () => {
  const cases: [string, PoolSpec, At, At, Outcome, RegExp?][] = [
    ["a pool that was created", plain, NOTHING, ON_B, "done"],
    ["a pool that was rolled", plain, ON_A, ON_B, "done"],
    ["nothing to do", plain, ON_B, ON_B, "done"],
    ["a revert in the middle of a roll", poolOf(A), halfWay, back, "done"],
    [
      "a canary that soaks",
      careful,
      ON_A,
      canary(SOAKS),
      "paused",
      /^1 of 4 slots of workers soak until 2026-03-01T12:30:00\.000Z; a run/,
    ],
    ["a canary that still soaks", careful, canary(SOAKS), canary(SOAKS), "paused", /soak until/],
    [
      "a canary whose soak ended meanwhile",
      careful,
      canary(SOAKS),
      canary(HELD_OVER),
      "paused",
      /has ended, and the next run/,
    ],
    ["a canary whose soak was waited for", quick, ON_A, canary(HELD_OVER), "paused", /has ended, and the next run/],
    [
      "a whole pool that soaks",
      soaksWhole,
      ON_A,
      { held: settled(B), states: SOAKS },
      "paused",
      /^workers soaks until 2026-03-01T12:30/,
    ],
    ["others that did not come after the canary", careful, canary(HELD_OVER), canary(HELD_OVER), "failed"],
    [
      "a canary that fell ill after its soak",
      careful,
      canary(SOAKS),
      canary(HELD_OVER, false),
      "failed",
      /not as it should be/,
    ],
    [
      "a failed generation that is held",
      plain,
      ON_A,
      back,
      "held",
      new RegExp(`workers keeps what it has: ${b} was judged failed`),
    ],
    ["slots that stay on two generations", plain, ON_A, halfWay, "held"],
    ["a pool that was held before", plain, back, back, "held"],
    [
      "nobody to go back to",
      returns,
      halfWay,
      {
        ...halfWay,
        states: [
          [A, "soaking"],
          [B, "failed"],
        ],
      },
      "held",
    ],
    [
      "a return of half of the slots",
      returns,
      halfWay,
      back,
      "rolledBack",
      new RegExp(`workers is on ${a}: ${b} was judged failed`),
    ],
    ["a judgement before any slot was handed over", returns, ON_A, back, "rolledBack"],
    ["incomplete nodes of an earlier run that are gone now", returns, incomplete, back, "rolledBack"],
    ["a pool that was returned by an earlier run", returns, back, back, "held"],
    ["a return that did not come to its end", returns, halfWay, halfWay, "failed"],
    ["incomplete nodes that are still there", plain, ON_A, incomplete, "failed"],
    [
      "a roll that did not come to its end",
      plain,
      ON_A,
      {
        ...halfWay,
        states: [
          [A, "proved"],
          [B, "rolling"],
        ],
      },
      "failed",
    ],
    ["a node that does not serve", plain, ON_B, ill, "failed"],
    ["a slot without a node", plain, ON_A, { held: settled(B, 3), states: [[B, "proved"]] }, "failed"],
  ];
  for (const [title, pool, before, after, outcome, words] of cases) {
    it(`with ${title} is ${outcome}`, () => {
      const ending = outcomeOf([at(pool, before)], [at(pool, after)]);
      assert.equal(ending.outcome, outcome, ending.words.join("\n"));
      assert.equal(ending.words.length, outcome === "done" ? 0 : 1);
      if (words) assert.match(ending.words.join(), words);
      assert.equal(ending.open.length > 0, outcome === "failed");
    });
  }

  it("names whoever is not as it should be", () => {
    const { open } = outcomeOf([at(plain, ON_B)], [at(plain, ill)]);
    assert.match(open.join("\n"), new RegExp(`${nameOf(0, B)} does not serve`));
  });

  it("with a pool that left the configuration and is still there is failed", () => {
    const { observed, record } = world(settled(A), ON_A.states);
    const removal = planRemoval({ name: "workers", role: "agent" }, observed, record, NOW);
    assert.equal(outcomeOf([removal], [removal]).outcome, "failed");
    assert.equal(outcomeOf([removal, other(at(plain, ON_B))], [other(at(plain, ON_B))]).outcome, "done");
  });

  it("of several pools is that of the worst, and every one that is not done is named", () => {
    const pairs: Record<Outcome, [PoolPlan, PoolPlan]> = {
      done: [at(plain, ON_A), at(plain, ON_B)],
      paused: [at(careful, ON_A), at(careful, canary(SOAKS))],
      held: [at(plain, ON_A), at(plain, back)],
      rolledBack: [at(returns, ON_A), at(returns, back)],
      failed: [at(plain, ON_B), at(plain, ill)],
    };
    const worse = Object.entries(pairs) as [Outcome, [PoolPlan, PoolPlan]][];
    for (const [i, [one, [before, after]]] of worse.entries())
      for (const [j, [two, [otherBefore, otherAfter]]] of worse.entries()) {
        const ending = outcomeOf([before, other(otherBefore)], [after, other(otherAfter)]);
        assert.equal(ending.outcome, i > j ? one : two, `${one} and ${two}`);
        assert.equal(ending.words.length, [one, two].filter((outcome) => outcome !== "done").length);
      }
  });
});

describe("a failed update", () => {
  const strategies: [Strategy["onFailure"], PoolSpec][] = [
    ["hold", plain],
    ["rollback", returns],
  ];
  for (const [onFailure, pool] of strategies) {
    it(`has turned the plan when it judged a generation (${onFailure})`, () => {
      for (const after of [incomplete, halfWay]) assert.ok(hasTurned([at(pool, ON_A)], [at(pool, after)]));
      assert.ok(hasTurned([other(at(plain, ON_B)), at(pool, ON_A)], [other(at(plain, ON_B)), at(pool, halfWay)]));
    });

    it(`has not when the judgement was there before (${onFailure})`, () => {
      for (const after of [incomplete, halfWay]) assert.ok(!hasTurned([at(pool, halfWay)], [at(pool, after)]));
    });
  }

  it("has not when nothing was judged, when a revert did not come to its end, and when nothing could be read", () => {
    assert.ok(
      !hasTurned(
        [at(plain, ON_A)],
        [
          at(plain, {
            ...halfWay,
            states: [
              [A, "proved"],
              [B, "rolling"],
            ],
          }),
        ],
      ),
    );
    assert.ok(!hasTurned([at(poolOf(A), ON_B)], [at(poolOf(A), halfWay)]));
    assert.ok(!hasTurned([at(plain, ON_A)], []));
  });
});
