import type { Chance } from "../chance.ts";
import type { World } from "../world.ts";

/** Ends it, if it has not ended by itself. */
export type End = () => void;

/** Something that befalls a world besides single requests. */
export interface WeatherKind {
  /** Under this name it is counted. */
  name: string;
  /**
   * `for good`: it is there before the first act and never ends, so that calm runs have to do with it. `all acts`: it ends with
   * the last. Two numbers: it comes at a moment of an act, and lasts so many milliseconds, least and most.
   */
  lasts: "for good" | "all acts" | readonly [number, number];
  /** How long it takes after its end until all is well again, in milliseconds. @default 60000 */
  aftermath?: number;
  /** @returns what ends it; undefined: there was nobody to befall */
  befall: (world: World, chance: Chance) => End | undefined;
}
