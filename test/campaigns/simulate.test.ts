import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { baseSeed } from "../simulate/base-seed.ts";
import { tableOf } from "../simulate/coverage.ts";
import { commandOf, emptyIn, playMany } from "../simulate/many.ts";

/** Other seeds for every commit; EVERGREEN_SEED plays those of another again. */
const seed = baseSeed();
const runs = 1000;

describe("rollouts in virtual time, a thousand of them", function () {
  this.timeout(900_000);

  it(`keep every promise over faults and kills, from seed ${seed} on, and every fault strikes`, async () => {
    const played = await playMany({ kind: "simulate", seed, runs, workers: availableParallelism() });
    for (const line of tableOf(played.coverage)) process.stdout.write(`      ${line}\n`);
    assert.deepEqual(
      played.wrong.map((one) => `${commandOf(one, "simulate")}: ${one.violations.join("; ")}`),
      [],
    );
    assert.deepEqual(emptyIn(played, { kind: "simulate", runs }), []);
  });
});
