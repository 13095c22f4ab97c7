import { parentPort, workerData } from "node:worker_threads";
import { adversary } from "./adversary.ts";
import { resultOf, type Kind, type Play, type Played } from "./many.ts";
import { simulate } from "./simulate.ts";

/** Plays seeds, one after the other, and hands back those in which something was wrong, and what struck what. */
const { plays, kind } = workerData as { plays: readonly Play[]; kind: Kind };
const played: Played = { wrong: [], coverage: { requests: {}, events: {} } };
for (const play of plays) {
  const { seed, strike } = play;
  resultOf(played, play, await (kind === "adversary" ? adversary(seed) : simulate(seed, strike ? { strike } : {})));
}
parentPort?.postMessage(played);
