import { clock } from "../../runtime/clock.ts";
import type { Seen } from "./watch.ts";

/**
 * Combines several watches into one stream of change notifications. A change that occurs while nothing waits is not
 * lost: the next turn comes at once. A short pause lets related changes (a pod that ends, the budget that gains room by
 * it) arrive together.
 */
export class Changes {
  readonly signal: AbortSignal;
  private changed = false;
  private failure: { error: unknown } | undefined;
  private wake: (() => void) | undefined;

  constructor(signal: AbortSignal) {
    this.signal = signal;
    signal.addEventListener("abort", () => this.ring(), { once: true });
  }

  /** @returns a function that gives what the watch sees now; undefined before its first answer */
  follow<T>(watch: AsyncGenerator<Seen<T>>): () => Seen<T> | undefined {
    let current: Seen<T> | undefined;
    const run = async (): Promise<void> => {
      for await (const seen of watch) {
        current = seen;
        this.ring();
      }
    };
    run().catch((error: unknown) => {
      this.failure = { error };
      this.ring();
    });
    return () => current;
  }

  /**
   * Waits for a change since the last call.
   * @param ms longest wait for a change: after that the turn comes without one
   * @returns false when the signal has ended it
   */
  async next(ms = Infinity): Promise<boolean> {
    const silence = Number.isFinite(ms) ? clock.later(ms, () => this.ring()) : undefined;
    while (!this.changed && !this.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    silence?.();
    if (!this.signal.aborted) await clock.sleep(20);
    this.changed = false;
    if (this.failure) throw this.failure.error;
    return !this.signal.aborted;
  }

  private ring(): void {
    this.changed = true;
    this.wake?.();
  }
}
