/** Points at which a run can be killed. */
import { Chance } from "../simulate/chance.ts";
import type { Effect, HoldOrder, Moment, Seen } from "../../lab/boundaries.ts";

/**
 * A boundary of one request of the run, counted from the start of the run. Steps run in parallel, so the same number
 * can be another request in another run: a report names the request that was met.
 */
export type Point = Omit<HoldOrder, "ofBakes">;

/** Every boundary of a run with this many requests. A read has one boundary, since its answer leaves no trace. */
export function enumerate({ changes, reads }: Seen): Point[] {
  return [
    ...numbers(changes).flatMap((nth): Point[] => [
      { effect: "change", nth, when: "before" },
      { effect: "change", nth, when: "after" },
    ]),
    ...numbers(reads).map((nth): Point => ({ effect: "read", nth, when: "before" })),
  ];
}

const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

/**
 * Draws points from the whole length of a run: the run is cut into as many pieces as there are points, and each piece
 * gives one point. Every fourth point is a read.
 */
export function sample({ changes, reads }: Seen, size: number, seed: number): Point[] {
  const chance = new Chance(seed, "crash");
  const ofReads = Math.min(reads, Math.floor(size / 4));
  const draw = (count: number, pieces: number): number[] =>
    numbers(pieces).map((piece) => {
      const [first, next] = [Math.floor((count * (piece - 1)) / pieces), Math.floor((count * piece) / pieces)];
      return chance.between(first + 1, next);
    });
  const moment = (): Moment => chance.pick<Moment>(["before", "after"]);
  return [
    ...draw(changes, Math.min(changes, size - ofReads)).map((nth): Point => ({
      effect: "change",
      nth,
      when: moment(),
    })),
    ...draw(reads, ofReads).map((nth): Point => ({ effect: "read", nth, when: "before" })),
  ];
}

export const wordsOf = ({ effect, nth, when }: Point): string => `${effect}:${nth}:${when}`;

/** Parses a point in the format of a report. @returns undefined when the text is not a point */
export function parsePoint(text: string): Point | undefined {
  const [, effect, nth, when] = /^(change|read):([1-9]\d*):(before|after)$/.exec(text) ?? [];
  if (effect === undefined) return undefined;
  return { effect: effect as Effect, nth: Number(nth), when: when as Moment };
}
