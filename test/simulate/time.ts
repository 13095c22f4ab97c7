import type { Clock } from "../../src/runtime/clock.ts";
import { current } from "./process.ts";

interface Event {
  at: number;
  order: number;
  /** Undefined: it was cancelled. */
  task: (() => void) | undefined;
}

/** The time at which a story begins. */
export const epoch = Date.UTC(2026, 0, 5, 3, 0, 0);
/** Maximum number of events; the story of a seed has a few thousand. */
const mostEvents = 200_000;
/** One for all: each new one would note the stack, and most time-outs have no listener any more. */
const timeOver = new DOMException("The operation was aborted due to timeout", "TimeoutError");

/**
 * Time that passes only when all code is idle: the next event is taken when all code that the last event woke has come
 * to rest. Nothing here waits for the outside, so the order of events is the same every time.
 */
export class VirtualTime implements Clock {
  private now = 0;
  private made = 0;
  private taken = 0;
  /** A binary heap, the earliest event first; of the same moment, the first made. */
  private readonly events: Event[] = [];
  /** Whether code of a process was woken since the last check. */
  private woken = true;

  readonly elapsed = (): number => this.now;
  readonly date = (): number => epoch + this.now;

  readonly sleep = (ms: number, signal?: AbortSignal): Promise<void> =>
    new Promise((resolve, reject) => {
      const abort = () => {
        takeBack();
        reject(signal?.reason instanceof Error ? signal.reason : new Error("aborted"));
      };
      const takeBack = this.later(ms, () => {
        signal?.removeEventListener("abort", abort);
        resolve();
      });
      if (signal?.aborted) abort();
      else signal?.addEventListener("abort", abort, { once: true });
    });

  readonly timeout = (ms: number): AbortSignal => {
    const controller = new AbortController();
    this.later(ms, () => controller.abort(timeOver));
    return controller.signal;
  };

  /** A timer of the calling process: it dies with that process. */
  readonly later = (ms: number, task: () => void): (() => void) => {
    const process = current.getStore();
    return this.after(ms, () => {
      if (process?.isDead()) return;
      this.wake();
      if (process) current.run(process, task);
      else task();
    });
  };

  /** Schedules an event of the world. @returns a function that cancels it */
  after(ms: number, task: () => void): () => void {
    const event: Event = { at: this.now + Math.max(0, ms), order: (this.made += 1), task };
    this.push(event);
    return () => (event.task = undefined);
  }

  /** Says that code of a process has something to do now. */
  wake(): void {
    this.woken = true;
  }

  /** Lets time pass until a promise is settled. @throws Error when no event is left */
  async until<T>(work: Promise<T>): Promise<T> {
    const end = { settled: false };
    const watched = work.finally(() => (end.settled = true));
    watched.catch(() => undefined);
    this.wake();
    for (;;) {
      if (this.woken) await rest();
      this.woken = false;
      if (end.settled) return await watched;
      const event = this.pop();
      if ((this.taken += 1) > mostEvents) throw new Error(`the simulation does not end: ${mostEvents} events`);
      if (event === undefined) throw new Error("the simulation stands still: everybody waits, and nothing will happen");
      this.now = event.at;
      event.task?.();
    }
  }

  private push(event: Event): void {
    const { events } = this;
    let at = events.push(event) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = events[parent];
      if (above === undefined || !isBefore(event, above)) break;
      events[at] = above;
      at = parent;
    }
    events[at] = event;
  }

  private pop(): Event | undefined {
    const { events } = this;
    const first = events[0];
    const last = events.pop();
    if (first === undefined || last === undefined || events.length === 0) return first;
    let at = 0;
    for (;;) {
      const [left, right] = [events[2 * at + 1], events[2 * at + 2]];
      if (left === undefined) break;
      const child = right && isBefore(right, left) ? 2 * at + 2 : 2 * at + 1;
      const below = events[child];
      if (below === undefined || !isBefore(below, last)) break;
      events[at] = below;
      at = child;
    }
    events[at] = last;
    return first;
  }
}

function isBefore(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}

/** Promises and ticks run out before an immediate; a stream that ends requests one immediate itself. */
function rest(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
}
