/** The forms that checks of an image have, and how defects are planted. */
import type { Check, Moment } from "./hygiene.ts";

type Sentence = Pick<Check, "id" | "looksAt">;
export const SEALED: readonly Moment[] = ["sealed"];
export const CLONE: readonly Moment[] = ["clone"];
export const BOTH: readonly Moment[] = ["sealed", "clone"];

/** A check that files which should not be there are not. @param found words of `find` */
export function absent(what: Sentence, moments: readonly Moment[], found: string, mutant: Check["mutant"]): Check {
  const script = `find ${found} 2>/dev/null | sort`;
  return { ...what, moments, script, expected: { text: "" }, mutant };
}

export function prints(
  what: Sentence,
  moments: readonly Moment[],
  script: string,
  text: string,
  mutant: Check["mutant"],
): Check {
  return { ...what, moments, script, expected: { text }, mutant };
}

export const plants = (defect: string, plant: string): Check["mutant"] => ({ defect, plant });

/** Plants a file at a path. */
export const file = (path: string): string => `mkdir -p "$(dirname ${path})" && echo planted >${path}`;

/** The same word on each line. */
export const lines = (word: string, count: number): string => Array<string>(count).fill(word).join("\n");

/** systemctl's questions end with another code than 0 for most answers. */
export const asks = (words: string): string => `systemctl ${words} || :`;
