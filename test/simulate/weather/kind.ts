import type { Chance } from "../chance.ts";
import type { World } from "../world.ts";

/** Ends the fault, if it has not ended by itself. */
export type End = () => void;

/** An environment fault: something that happens to a world besides faults of single requests. */
export interface WeatherKind {
  /** The name under which it is counted. */
  name: string;
  /**
   * `for good`: it exists before the first act and never ends, so that fault-free runs have to cope with it. `all
   * acts`: it ends with the last act. Two numbers: it begins at some moment of an act and lasts this many milliseconds,
   * minimum and maximum.
   */
  lasts: "for good" | "all acts" | readonly [number, number];
  /** How long it takes after its end until everything is healthy again, in milliseconds. @default 60000 */
  aftermath?: number;
  /** Whether it counts itself when it strikes: it may begin long before that. @default false */
  countsItself?: boolean;
  /** @returns what ends it; undefined: there was nothing to strike */
  befall: (world: World, chance: Chance) => End | undefined;
}
