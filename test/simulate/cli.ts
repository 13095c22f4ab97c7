import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { adversary } from "./adversary.ts";
import { freshSeed } from "./base-seed.ts";
import { cellsOf, tableOf } from "./coverage.ts";
import {
  commandOf,
  emptyIn,
  optionsOf,
  playMany,
  resultOf,
  strikeOf,
  type Kind,
  type Play,
  type Played,
} from "./many.ts";
import { simulate, storyKinds } from "./simulate.ts";
import { weatherKinds } from "./weather/storms.ts";

/** With --runs: plays that many seeds, from S on, on both cores. Without: prints the story of one seed, line by line. */
const usage =
  'npm run test:simulate -- [--runs N] [--seed S] [--strike "REQUEST: FAULT"] [--weather KIND] [--story KIND] [--heavy] [--report FILE] [--adversary]';
const { values } = readArguments();
const seed = Number(values.seed ?? freshSeed());
const runs = Number(values.runs ?? (values.seed === undefined ? 2000 : 1));
if (!Number.isInteger(seed) || !Number.isInteger(runs) || runs < 1) refuse("--runs and --seed are whole numbers");
const { weather, heavy } = values;
if (weather !== undefined && !weatherKinds.some(({ name }) => name === weather))
  refuse(`--weather is none of these: ${weatherKinds.map(({ name }) => name).join("; ")}`);
const story = storyKinds.find((one) => one === values.story);
if (values.story !== story) refuse(`--story is none of these: ${storyKinds.join(", ")}`);
const kind: Kind = values.adversary ? "adversary" : "simulate";

print(`${runs} runs from seed ${seed}`);
const began = performance.now();
const played = await (runs === 1
  ? tell()
  : playMany({ kind, seed, runs, weather, story, heavy, workers: Number(values.workers) }));
const seconds = Math.round((performance.now() - began) / 100) / 10;

const empty = emptyIn(played, { kind, runs, weather, story, heavy });
if (runs > 1) for (const line of tableOf(played.coverage)) print(line);
for (const cell of empty) print(`never struck: ${cell}`);
for (const wrong of played.wrong) {
  const { violations } = wrong;
  print(
    `seed ${wrong.seed}: ${violations[0] ?? ""}${violations.length > 1 ? ` (and ${violations.length - 1} more)` : ""}`,
  );
  print(`  its story: ${commandOf(wrong, kind)}`);
}
const count = played.wrong.reduce((sum, { violations }) => sum + violations.length, 0);
const coverage = { cells: cellsOf(played.coverage), empty };
print(
  `${runs} runs from seed ${seed}: ${count} violations, ${empty.length} of ${coverage.cells} cells empty, ${seconds} s`,
);
if (values.report !== undefined)
  writeFileSync(values.report, `${JSON.stringify({ runs, seed, violations: count, seconds, coverage })}\n`);
process.exitCode = count + empty.length === 0 ? 0 : 1;

/** Plays one seed and prints every line of its story. */
async function tell(): Promise<Played> {
  const strike = values.strike === undefined ? undefined : strikeOf(values.strike);
  const play: Play = { seed, weather, story, heavy, strike };
  const told = true;
  const result = await (kind === "adversary"
    ? adversary(seed, { told })
    : simulate(seed, { told, ...optionsOf(play) }));
  for (const line of result.story) print(line);
  const one: Played = { wrong: [], coverage: { requests: {}, events: {} } };
  resultOf(one, play, result);
  return one;
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

function readArguments() {
  const text = { type: "string" } as const;
  const options = { runs: text, seed: text, strike: text, weather: text, story: text, report: text };
  try {
    return parseArgs({
      options: {
        ...options,
        adversary: { type: "boolean", default: false },
        heavy: { type: "boolean", default: false },
        workers: { type: "string", default: "2" },
      },
    });
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

function refuse(why: string): never {
  process.stderr.write(`${why}\n${usage}\n`);
  process.exit(2);
}
