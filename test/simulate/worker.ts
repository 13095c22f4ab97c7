import { parentPort, workerData } from "node:worker_threads";
import { adversary } from "./adversary.ts";
import { optionsOf, resultOf, type Kind, type Play, type Played } from "./many.ts";
import { simulate } from "./simulate.ts";

/** Plays seeds one after the other, and returns those with violations, and the coverage. */
const { plays, kind } = workerData as { plays: readonly Play[]; kind: Kind };
const played: Played = { wrong: [], coverage: { requests: {}, events: {} } };
for (const play of plays) {
  resultOf(played, play, await (kind === "adversary" ? adversary(play.seed) : simulate(play.seed, optionsOf(play))));
}
parentPort?.postMessage(played);
