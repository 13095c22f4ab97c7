import { setTimeout as delay } from "node:timers/promises";
import { UserError } from "./errors.ts";

/** Ends a wait: says what was waited for, for how long, and what stood in the way. */
export class DeadlineError extends UserError {
  constructor(what: string, seconds: number, blockedBy: string) {
    super({
      what: `gave up after ${String(Math.round(seconds))} s waiting for ${what}`,
      where: blockedBy || "nothing was reported",
      todo: "remove what blocks it, then run again: finished work is kept",
    });
  }
}

/** A point in time by which something must have happened. */
export class Deadline {
  readonly what: string;
  readonly seconds: number;
  private readonly end: number;

  constructor(what: string, seconds: number) {
    this.what = what;
    this.seconds = seconds;
    this.end = performance.now() + seconds * 1000;
  }

  /** Milliseconds left, never negative. */
  get left(): number {
    return Math.max(0, this.end - performance.now());
  }

  get passed(): boolean {
    return this.left === 0;
  }

  /** Aborts when the time is over. */
  signal(): AbortSignal {
    return AbortSignal.timeout(Math.ceil(this.left));
  }

  error(blockedBy = ""): DeadlineError {
    return new DeadlineError(this.what, this.seconds, blockedBy);
  }

  /**
   * Polls `probe` until it answers something other than undefined. For what no API lets us watch (a Proxmox task, a
   * guest agent). A throw of `probe` ends the wait: what may be retried is the prober's decision.
   * @param everyMs time between two probes, in milliseconds
   * @param blockedBy what stands in the way, asked when the time is over
   */
  async poll<T>(everyMs: number, probe: () => Promise<T | undefined>, blockedBy: () => string = () => ""): Promise<T> {
    for (;;) {
      const answer = await probe();
      if (answer !== undefined) return answer;
      if (this.left <= everyMs) throw this.error(blockedBy());
      await delay(everyMs);
    }
  }
}
