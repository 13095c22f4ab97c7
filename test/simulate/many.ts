import { Worker } from "node:worker_threads";
import { add, emptyOf, gapsOf, type Counted } from "./coverage.ts";
import type { Strike } from "./faults.ts";
import type { Result } from "./simulate.ts";

export type Kind = "simulate" | "adversary";

/** A seed to be played. */
export interface Play {
  seed: number;
  /** What has to fail in it, besides what the seed has decided. */
  strike?: Strike | undefined;
}

/** A play in which something was wrong. */
export interface Wrong extends Play {
  violations: string[];
}

/** What a worker hands back. */
export interface Played {
  wrong: Wrong[];
  coverage: Counted;
}

/** Seeds to be played, one after the other in each of some workers. */
export interface Plays {
  kind: Kind;
  /** The first. */
  seed: number;
  runs: number;
  workers: number;
}

/** Fewer runs prove nothing by a cell that was not struck. */
const ciRuns = 2000;
/** Seeds that are tried for a cell that chance has left out. */
const triesPerGap = 3;

/**
 * Plays the seeds, each worker a share of them. In a campaign of CI size each kind of fault that never struck a kind of
 * request is then asked for by name, in seeds that make such a request.
 */
export async function playMany({ kind, seed, runs, workers }: Plays): Promise<Played> {
  const plays = Array.from({ length: runs }, (_, index): Play => ({ seed: seed + index }));
  const all = await playAll(kind, plays, workers);
  if (kind === "adversary" || runs < ciRuns) return all;
  for (let round = 0; round < triesPerGap; round += 1) {
    const gaps = gapsOf(all.coverage);
    const more = gaps.flatMap(({ request, fault, seeds }): Play[] => {
      const seed = seeds[round % seeds.length];
      return seed === undefined ? [] : [{ seed, strike: { request, fault } }];
    });
    const played = await playAll(kind, more, workers);
    all.wrong.push(...played.wrong);
    add(all.coverage, played.coverage);
  }
  return all;
}

/** Cells that a campaign of this size should have struck. */
export function emptyIn({ coverage }: Played, { kind, runs }: Pick<Plays, "kind" | "runs">): string[] {
  return kind === "adversary" || runs < ciRuns ? [] : emptyOf(coverage);
}

/** The command that tells the story of a play. */
export function commandOf({ seed, strike }: Play, kind: Kind): string {
  const more = strike ? ` --strike "${strike.request}: ${strike.fault}"` : "";
  return `npm run test:simulate -- --seed ${seed}${more}${kind === "adversary" ? " --adversary" : ""}`;
}

export function strikeOf(text: string): Strike {
  const [request = "", fault = ""] = text.split(": ");
  return { request, fault };
}

async function playAll(kind: Kind, plays: readonly Play[], workers: number): Promise<Played> {
  const shares = Array.from({ length: workers }, (_, k) => plays.filter((_, index) => index % workers === k));
  const parts = await Promise.all(shares.filter((share) => share.length > 0).map((share) => work(kind, share)));
  const coverage: Counted = { requests: {}, events: {} };
  for (const part of parts) add(coverage, part.coverage);
  return { wrong: parts.flatMap(({ wrong }) => wrong).toSorted((a, b) => a.seed - b.seed), coverage };
}

function work(kind: Kind, plays: readonly Play[]): Promise<Played> {
  return new Promise((resolve, reject) => {
    // What a request leaves dies young: room for it spares most of the collector's work.
    const resourceLimits = { maxYoungGenerationSizeMb: 64 };
    const worker = new Worker(new URL("worker.ts", import.meta.url), { workerData: { kind, plays }, resourceLimits });
    worker.once("message", resolve);
    worker.once("error", reject);
  });
}

/** What a play in a worker, or in this process, has come to. */
export function resultOf(played: Played, { seed, strike }: Play, result: Result): void {
  add(played.coverage, result.coverage);
  if (result.violations.length > 0) played.wrong.push({ seed, strike, violations: result.violations });
}
