import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { adversary } from "./adversary.ts";
import { playMany } from "./many.ts";
import { simulate, type Result } from "./simulate.ts";

/*
 * npm run test:simulate -- [--runs N] [--seed S] [--report FILE] [--adversary]
 *
 * With --runs: as many seeds, from S on, over both cores. Without: the story of the one seed, line by line.
 */
const { values } = parseArgs({
  options: {
    runs: { type: "string" },
    seed: { type: "string" },
    report: { type: "string" },
    adversary: { type: "boolean", default: false },
    workers: { type: "string", default: "2" },
  },
});
const seed = Number(values.seed ?? Math.floor(Math.random() * 1_000_000));
const runs = Number(values.runs ?? (values.seed === undefined ? 2000 : 1));
const kind = values.adversary ? "adversary" : "simulate";

const began = performance.now();
const results = runs === 1 ? [await one(seed)] : await playMany({ kind, seed, runs, workers: Number(values.workers) });
const seconds = Math.round((performance.now() - began) / 100) / 10;
const wrong = results.filter(({ violations }) => violations.length > 0);
for (const { seed: which, violations } of wrong) {
  print(`seed ${which}: ${violations[0] ?? ""}${violations.length > 1 ? ` (and ${violations.length - 1} more)` : ""}`);
  print(`  its story: npm run test:simulate -- --seed ${which}${values.adversary ? " --adversary" : ""}`);
}
const count = wrong.reduce((sum, { violations }) => sum + violations.length, 0);
print(`${runs} runs from seed ${seed}: ${count} violations, ${seconds} s`);
if (values.report !== undefined)
  writeFileSync(values.report, `${JSON.stringify({ runs, seed, violations: count, seconds })}\n`);
process.exitCode = count === 0 ? 0 : 1;

async function one(which: number): Promise<Result> {
  const result = await (values.adversary ? adversary : simulate)(which, { told: true });
  for (const line of result.story) print(line);
  return result;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
