import assert from "node:assert/strict";
import { campaign } from "../crash/campaign.ts";
import { baseSeed } from "../simulate/base-seed.ts";

/** A roll of two agents that is killed, engine, plugins and steps at once, and run once more; `npm run test:crash` has more. */
describe("an update that is killed at a boundary of a request", function () {
  this.timeout(900_000);
  // Other points for every commit; EVERGREEN_SEED plays those of another again.
  const seed = baseSeed();

  const rolls: [what: string, prefix: string, bakes: boolean, points: number][] = [
    ["a roll", "127.91", false, 8],
    ["a bake and its proof, with a roll after them,", "127.110", true, 6],
  ];
  for (const [what, prefix, bakes, points] of rolls)
    it(`${what} ends after one more run as if nothing had been (seed ${seed})`, async () => {
      const story: string[] = [];
      const shape = { servers: 1, agents: 2, rollServers: false, bakes };
      const tell = (line: string) => story.push(line);
      const { report } = await campaign({ prefix, shape, seed, points, idle: "last", tell });
      assert.deepEqual(report.violations, [], story.join("\n"));
      // The last requests of a run are not always met: their number differs by a few from run to run.
      assert.ok(report.tried >= points - 2, story.join("\n"));
    });
});
