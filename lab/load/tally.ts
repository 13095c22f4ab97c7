/** Counters of a prober. */
export interface Failure {
  /** ISO 8601. */
  at: string;
  /** The pod's address, or the registration address. */
  target: string;
  reason: string;
}

export interface Tally {
  requests: number;
  failed: number;
  /** The slowest answer in milliseconds. */
  slowest: number;
  /** The last failures, newest last; at most 200. */
  failures: Failure[];
}

/** The tally before the first request. */
export const emptyTally: Tally = { requests: 0, failed: 0, slowest: 0, failures: [] };

/** Number of failures that are kept with their reason. */
const kept = 200;

export class Counter {
  private requests = 0;
  private failed = 0;
  private slowest = 0;
  private failures: Failure[] = [];

  ok(milliseconds: number): void {
    this.requests += 1;
    this.slowest = Math.max(this.slowest, milliseconds);
  }

  fail(target: string, reason: string, at: Date): void {
    this.requests += 1;
    this.failed += 1;
    this.failures.push({ at: at.toISOString(), target, reason });
    if (this.failures.length > kept) this.failures.shift();
  }

  reset(): void {
    this.requests = 0;
    this.failed = 0;
    this.slowest = 0;
    this.failures = [];
  }

  get tally(): Tally {
    const { requests, failed, slowest, failures } = this;
    return { requests, failed, slowest: Math.round(slowest), failures: [...failures] };
  }
}
