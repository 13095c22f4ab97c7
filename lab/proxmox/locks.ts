import { died } from "./answer.ts";

type Mode = "shared" | "exclusive";

interface Waiter {
  mode: Mode;
  enter: () => void;
}

/** The task that waits for a lock, as far as the lock needs it. */
export interface Waiting {
  readonly signal: AbortSignal;
  say: (line: string) => void;
}

/** A lock file with the semantics of flock(2): shared or exclusive, with a timeout. */
export class FileLock {
  private readonly refusal: string;
  private holders = 0;
  private mode: Mode = "shared";
  private readonly waiters = new Set<Waiter>();

  /** @param refusal Proxmox VE's message when the wait times out */
  constructor(refusal: string) {
    this.refusal = refusal;
  }

  /** A lock file on the host's own disk. */
  static file(path: string): FileLock {
    return new FileLock(`can't lock file '${path}' - got timeout`);
  }

  /** Number of holders and waiters of the lock. */
  get pressure(): number {
    return this.holders + this.waiters.size;
  }

  /**
   * Runs `work` under the lock.
   * @param wait milliseconds until the wait times out
   * @param task logs that it has to wait, and aborts the wait when it is cancelled
   * @throws ApiError with Proxmox VE's text for a timeout
   */
  async hold<T>(mode: Mode, wait: number, work: () => T | Promise<T>, task?: Waiting): Promise<T> {
    await this.enter(mode, wait, task);
    try {
      return await work();
    } finally {
      this.leave();
    }
  }

  private admits(mode: Mode): boolean {
    return this.holders === 0 || (mode === "shared" && this.mode === "shared");
  }

  private take(mode: Mode): void {
    this.mode = mode;
    this.holders += 1;
  }

  private leave(): void {
    this.holders -= 1;
    for (const waiter of [...this.waiters]) {
      if (!this.admits(waiter.mode)) return;
      this.waiters.delete(waiter);
      this.take(waiter.mode);
      waiter.enter();
    }
  }

  private async enter(mode: Mode, wait: number, task?: Waiting): Promise<void> {
    if (this.admits(mode)) {
      this.take(mode);
      return;
    }
    const signal = task?.signal;
    task?.say("trying to acquire lock...");
    await new Promise<void>((resolve, reject) => {
      const giveUp = (error: Error) => {
        this.waiters.delete(waiter);
        clearTimeout(timer);
        signal?.removeEventListener("abort", aborted);
        reject(error);
      };
      const aborted = () => giveUp(died("received interrupt"));
      const timer = setTimeout(() => giveUp(died(this.refusal)), wait);
      const waiter: Waiter = {
        mode,
        enter: () => {
          clearTimeout(timer);
          signal?.removeEventListener("abort", aborted);
          resolve();
        },
      };
      signal?.addEventListener("abort", aborted, { once: true });
      this.waiters.add(waiter);
    });
    task?.say(" OK");
  }
}
