import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { simulate, type Result } from "./simulate.ts";
import { adversary } from "./adversary.ts";

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
const results = runs === 1 ? [await one(seed)] : await many(Number(values.workers));
const seconds = Math.round((performance.now() - began) / 100) / 10;
const wrong = results.filter(({ violations }) => violations.length > 0).sort((a, b) => a.seed - b.seed);
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

/** The seeds over some workers, each a range of its own. */
async function many(workers: number): Promise<Result[]> {
  const share = Math.ceil(runs / workers);
  const ranges = Array.from({ length: workers }, (_, index) => ({
    from: seed + index * share,
    to: Math.min(seed + runs, seed + (index + 1) * share),
    kind,
  }));
  return (await Promise.all(ranges.map(work))).flat();
}

function work(workerData: { from: number; to: number; kind: string }): Promise<Result[]> {
  return new Promise((resolve, reject) => {
    // What a request leaves dies young: room for it spares most of the collector's work.
    const resourceLimits = { maxYoungGenerationSizeMb: 64 };
    const worker = new Worker(new URL("worker.ts", import.meta.url), { workerData, resourceLimits });
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}
