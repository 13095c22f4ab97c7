import { Worker } from "node:worker_threads";
import type { Result } from "./simulate.ts";

/** Seeds to be played, one after the other in each of some workers. */
export interface Plays {
  kind: "simulate" | "adversary";
  /** The first. */
  seed: number;
  runs: number;
  workers: number;
}

/** Plays the seeds, each worker a range of its own. @returns the results in which something was wrong */
export async function playMany({ kind, seed, runs, workers }: Plays): Promise<Result[]> {
  const share = Math.ceil(runs / workers);
  const ranges = Array.from({ length: workers }, (_, index) => ({
    from: seed + index * share,
    to: Math.min(seed + runs, seed + (index + 1) * share),
    kind,
  }));
  return (await Promise.all(ranges.map(work))).flat().sort((a, b) => a.seed - b.seed);
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
