import { died } from "./answer.ts";

type Mode = "shared" | "exclusive";

interface Waiter {
  mode: Mode;
  enter: () => void;
}

/** Who waits for a lock: a task, of which this is all that matters here. */
export interface Waiting {
  readonly signal: AbortSignal;
  say: (line: string) => void;
}

/** A lock file as flock(2) gives it: shared or exclusive, given up after a wait. */
export class FileLock {
  private readonly refusal: string;
  private holders = 0;
  private mode: Mode = "shared";
  private readonly waiters = new Set<Waiter>();

  /** @param refusal what Proxmox VE says when the wait is over */
  constructor(refusal: string) {
    this.refusal = refusal;
  }

  /** A lock file on the host's own disk. */
  static file(path: string): FileLock {
    return new FileLock(`can't lock file '${path}' - got timeout`);
  }

  /** How many hold or want the lock. */
  get pressure(): number {
    return this.holders + this.waiters.size;
  }

  /**
   * Runs `work` under the lock.
   * @param wait milliseconds until it is given up
   * @param task told when it has to wait, and aborts the wait when it is cancelled
   * @throws ApiError with the text that Proxmox VE gives for a timeout
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
