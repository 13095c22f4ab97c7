import assert from "node:assert/strict";
import { campaign } from "../crash/campaign.ts";
import { baseSeed } from "../simulate/base-seed.ts";

/** A roll of two agents that is killed, engine, plugins and steps at once, and run once more; `npm run test:crash` has more. */
describe("a roll that is killed at a boundary of a request", function () {
  this.timeout(900_000);
  // Other points for every commit; EVERGREEN_SEED plays those of another again.
  const seed = baseSeed();

  it(`ends after one more run as if nothing had been (seed ${seed})`, async () => {
    const story: string[] = [];
    const { report } = await campaign({
      prefix: "127.91",
      shape: { servers: 1, agents: 2, rollServers: false },
      seed,
      points: 8,
      idle: "last",
      tell: (line) => story.push(line),
    });
    assert.deepEqual(report.violations, [], story.join("\n"));
    // The last requests of a roll are not always met: their number differs by a few from run to run.
    assert.ok(report.tried >= 6, story.join("\n"));
  });
});
