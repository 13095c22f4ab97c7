import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { playMany } from "../simulate/many.ts";

/** The same seeds in every run, so that a failure is nobody's bad luck; `npm run test:simulate` looks elsewhere. */
const seed = 1;

describe("rollouts in virtual time, two thousand of them", function () {
  this.timeout(600_000);

  it(`keep every promise over faults and kills, from seed ${seed} on`, async () => {
    const wrong = await playMany({ kind: "simulate", seed, runs: 2000, workers: availableParallelism() });
    assert.deepEqual(
      wrong.map((result) => `npm run test:simulate -- --seed ${result.seed}: ${result.violations.join("; ")}`),
      [],
    );
  });
});
