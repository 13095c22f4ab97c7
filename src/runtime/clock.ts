import { setTimeout as delay } from "node:timers/promises";

/** The time by which everything waits, in milliseconds. There is one, so that a simulation can replace it. */
export interface Clock {
  /** Since some moment; never goes backwards. */
  elapsed: () => number;
  /** Since the epoch, as this machine believes. */
  date: () => number;
  /** @throws AbortError when the signal ends it */
  sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  /** Aborts when the time is over. */
  timeout: (ms: number) => AbortSignal;
  /** Does something once, later; nothing is kept alive for it. @returns what takes it back */
  later: (ms: number, task: () => void) => () => void;
}

const system: Clock = {
  elapsed: () => performance.now(),
  date: () => Date.now(),
  sleep: (ms, signal) => delay(ms, undefined, signal ? { signal } : {}),
  timeout: (ms) => AbortSignal.timeout(ms),
  later: (ms, task) => {
    const timer = setTimeout(task, ms).unref();
    return () => clearTimeout(timer);
  },
};

export let clock = system;

/** By our clock, which stands still while the machine sleeps, and by the date, which anybody may set. */
export interface Moment {
  elapsed: number;
  date: number;
}

export const momentNow = (): Moment => ({ elapsed: clock.elapsed(), date: clock.date() });

/** Milliseconds since then, by whichever of the two has more: what was true then may not be any more. */
export const msSince = ({ elapsed, date }: Moment): number => Math.max(clock.elapsed() - elapsed, clock.date() - date);

/** From now on everything waits by another clock. */
export function useClock(other: Clock = system): void {
  clock = other;
}
