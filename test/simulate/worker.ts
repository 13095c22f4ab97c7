import { once } from "node:events";
import { adversary } from "./adversary.ts";
import { optionsOf, resultOf, type Played, type Share } from "./many.ts";
import { simulate } from "./simulate.ts";

// Nobody reads the stacks of the errors here, and to note them takes a part of the time: a seed is told again by itself.
Error.stackTraceLimit = 0;

/** Plays seeds one after the other, and returns those with violations, and the coverage. */
process.once("disconnect", () => process.exit());
const [{ plays, kind }] = (await once(process, "message")) as [Share];
const played: Played = { wrong: [], coverage: { requests: {}, events: {} } };
for (const play of plays) {
  resultOf(played, play, await (kind === "adversary" ? adversary(play.seed) : simulate(play.seed, optionsOf(play))));
}
process.send?.(played, () => process.disconnect());
