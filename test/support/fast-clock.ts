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

/** In the tests of a suite our waits take a hundredth of their time; what is waited for takes as long as ever. */
export function useFastClock(): void {
  before(() => useClock(fastClock));
  after(() => useClock());
}
