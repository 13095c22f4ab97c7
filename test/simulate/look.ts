import type { VirtualTime } from "./time.ts";

/** A controller's look, so many milliseconds after it was asked for; what is asked in between is the same look. */
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
