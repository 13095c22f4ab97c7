import type { VirtualTime } from "./time.ts";

/**
 * Schedules a check of a controller this many milliseconds after it is requested; requests until then share one check.
 * @returns a function that requests a check
 */
export function lookSoon(time: VirtualTime, ms: number, look: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    time.after(ms, () => {
      asked = false;
      look();
    });
  };
}
