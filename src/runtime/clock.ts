import { setTimeout as delay } from "node:timers/promises";

/** The clock of every wait, in milliseconds. There is a single one, so that a simulation can replace it. */
export interface Clock {
  /** Since an arbitrary moment; never goes backwards. */
  elapsed: () => number;
  /** Since the epoch, by the clock of this machine. */
  date: () => number;
  /** @throws AbortError when the signal aborts the sleep */
  sleep: (ms: number, signal?: AbortSignal) => Promise<void>;
  /** Aborts when the time is over. */
  timeout: (ms: number) => AbortSignal;
  /** Runs a task once, later; the timer does not keep the process alive. @returns a function that cancels it */
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

/**
 * A moment by two clocks: the monotonic one, which stands still while the machine sleeps, and the date, which can be
 * set.
 */
export interface Moment {
  elapsed: number;
  date: number;
}

export const momentNow = (): Moment => ({ elapsed: clock.elapsed(), date: clock.date() });

/** Milliseconds since a moment, by the clock that shows more: what was true then may no longer be true. */
export const msSince = ({ elapsed, date }: Moment): number => Math.max(clock.elapsed() - elapsed, clock.date() - date);

/** Makes every wait from now on use another clock. */
export function useClock(other: Clock = system): void {
  clock = other;
}
