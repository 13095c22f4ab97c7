import { setTimeout as delay } from "node:timers/promises";
import { useClock, type Clock } from "../../src/runtime/clock.ts";

const times = 100;

export const fastClock: Clock = {
  elapsed: () => performance.now() * times,
  date: () => Date.now(),
  sleep: (ms, signal) => delay(ms / times, undefined, signal ? { signal } : {}),
  timeout: (ms) => AbortSignal.timeout(Math.ceil(ms / times)),
  later: (ms, task) => {
    const timer = setTimeout(task, ms / times);
    return () => clearTimeout(timer);
  },
};

/** Divides the waits of our code by 100 for a test suite; the operations that are waited for take their normal time. */
export function useFastClock(): void {
  before(() => useClock(fastClock));
  after(() => useClock());
}
