import assert from "node:assert/strict";
import { adversary } from "./adversary.ts";
import { baseSeed } from "./base-seed.ts";
import { defects } from "./defects.ts";
import { exchangedClone } from "./exchange.ts";
import { simulate, type Result } from "./simulate.ts";

/**
 * First seed of the sample. It differs between commits, so that new stories are played; EVERGREEN_SEED selects another.
 */
const first = baseSeed();
const sample = 40;

const seeds = (count: number, from = first) => Array.from({ length: count }, (_, index) => from + index);

function report({ seed, violations }: Result): string[] {
  return violations.map((violation) => `seed ${seed} (npm run test:simulate -- --seed ${seed}): ${violation}`);
}

describe("rollouts in virtual time", function () {
  this.timeout(120_000);

  it(`keep every promise over faults and kills, seeds ${first} to ${first + sample - 1}`, async () => {
    const broken: string[] = [];
    for (const seed of seeds(sample)) broken.push(...report(await simulate(seed)));
    assert.deepEqual(broken, []);
  });

  it(`touch no machine of anybody else, seeds ${first} to ${first + 3 * sample - 1}`, async () => {
    const broken: string[] = [];
    for (const seed of seeds(3 * sample)) broken.push(...report(await adversary(seed)));
    assert.deepEqual(broken, []);
  });

  for (const when of ["before the run", "during the run"] as const)
    it(`spare a stranger that took the number of a clone of ours ${when}, with our name and tags`, async () => {
      const { outcome, untouched, violations } = await exchangedClone(when);
      assert.deepEqual(violations, []);
      assert.ok(untouched);
      assert.equal(outcome, when === "before the run" ? "refused" : "failed");
    });

  it("tell the same story twice, byte for byte", async () => {
    for (const seed of seeds(3)) {
      const [one, two] = [await simulate(seed, { told: true }), await simulate(seed, { told: true })];
      assert.ok(one.story.length > 100);
      assert.deepEqual(one.story, two.story);
    }
  });

  for (const [name, { plant, seen, shape, weather, story }] of Object.entries(defects)) {
    it(`catch ${name}`, async () => {
      // The same seeds every time: this tests what the watcher sees, not whether there is anything to see.
      for (const seed of seeds(sample, 1)) {
        const { violations } = await simulate(seed, {
          defect: plant,
          ...(shape ? { shape } : {}),
          ...(story === undefined ? {} : { story }),
          ...(weather === undefined ? {} : { weather }),
        });
        if (violations.some((violation) => seen.test(violation))) return;
      }
      assert.fail(`nothing was seen in ${sample} seeds`);
    });
  }
});
