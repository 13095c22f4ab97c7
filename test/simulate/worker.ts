import { parentPort, workerData } from "node:worker_threads";
import { adversary } from "./adversary.ts";
import { simulate, type Result } from "./simulate.ts";

/** Plays a range of seeds, one after the other, and hands back those in which something was wrong. */
const { from, to, kind } = workerData as { from: number; to: number; kind: "simulate" | "adversary" };
const play = kind === "adversary" ? adversary : simulate;
const wrong: Result[] = [];
for (let seed = from; seed < to; seed += 1) {
  const result = await play(seed);
  if (result.violations.length > 0) wrong.push(result);
}
parentPort?.postMessage(wrong);
