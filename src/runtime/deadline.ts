import { clock } from "./clock.ts";
import { UserError } from "./errors.ts";

/** Ends a wait: says what was waited for, for how long, and what blocked it. */
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
  private readonly stop: AbortSignal | undefined;

  /**
   * @param seconds from now
   * @param stop ends the wait early, with its own reason: the run was cancelled
   */
  constructor(what: string, seconds: number, stop?: AbortSignal) {
    this.what = what;
    this.seconds = seconds;
    this.end = clock.elapsed() + seconds * 1000;
    this.stop = stop;
  }

  /** Milliseconds left, never negative. */
  get left(): number {
    return Math.max(0, this.end - clock.elapsed());
  }

  get passed(): boolean {
    return this.left === 0;
  }

  /** Aborts when the time is over, or when the run was cancelled. */
  signal(): AbortSignal {
    const time = clock.timeout(Math.ceil(this.left));
    return this.stop ? AbortSignal.any([time, this.stop]) : time;
  }

  /** Throws the reason of a cancelled run: the places that call this are the safe points. */
  throwIfStopped(): void {
    this.stop?.throwIfAborted();
  }

  error(blockedBy = ""): DeadlineError {
    return new DeadlineError(this.what, this.seconds, blockedBy);
  }

  /**
   * Polls `probe` until it answers something other than undefined. For everything that no API lets us watch (a Proxmox
   * task, a guest agent). An error of `probe` ends the wait: the probe itself decides what is retried.
   * @param everyMs time between two probes, in milliseconds; or a function of the number of probes made so far, for a
   * growing pause
   * @param blockedBy says what blocks the wait, called when the time is over
   */
  async poll<T>(
    everyMs: number | ((probes: number) => number),
    probe: () => Promise<T | undefined>,
    blockedBy: () => string = () => "",
  ): Promise<T> {
    for (let probes = 1; ; probes += 1) {
      this.throwIfStopped();
      const answer = await probe();
      if (answer !== undefined) return answer;
      const pause = typeof everyMs === "number" ? everyMs : everyMs(probes);
      if (this.left <= pause) throw this.error(blockedBy());
      await clock.sleep(pause);
    }
  }
}
