import { AsyncLocalStorage } from "node:async_hooks";
import { Cancelled } from "../../src/steps/context.ts";

/**
 * A process of the simulation: a step, a program, a plugin. It is code of the simulating process that can be killed.
 */
export class Process {
  readonly name: string;
  /** Its holder identity in leases. */
  readonly id: string;
  /** Whether it knows that its engine has the lease of the update. */
  hasUpdate = false;
  /** Whether its engine runs a destroy. */
  isOfDestroy = false;
  private dead = false;
  private readonly stopping = new AbortController();
  private bury: () => void = () => undefined;
  private readonly killed = new Promise<void>((resolve) => (this.bury = resolve));

  constructor(name: string, id: string) {
    this.name = name;
    this.id = id;
  }

  isDead(): boolean {
    return this.dead;
  }

  get stop(): AbortSignal {
    return this.stopping.signal;
  }

  /** SIGTERM, or a step that finds its parent gone. */
  cancel(why: string): void {
    if (!this.dead && !this.stop.aborted) this.stopping.abort(new Cancelled(why));
  }

  /** What src/steps/main.ts does when a lease was lost. */
  abandon(why: Error): void {
    if (!this.stop.aborted) this.stopping.abort(why);
  }

  /** SIGKILL: none of its requests and timers has an effect after this. */
  kill(): void {
    this.dead = true;
    this.bury();
  }

  /** Runs its code. @returns how it ended, also when it was killed */
  async run<T>(work: () => Promise<T>): Promise<Ending<T>> {
    const ended = current.run(this, work).then(
      (value): Ending<T> => ({ how: "done", value }),
      (error: unknown): Ending<T> => ({ how: "failed", error }),
    );
    const ending = await Promise.race([ended, this.killed.then((): Ending<T> => ({ how: "killed" }))]);
    this.dead = true;
    return ending;
  }
}

export type Ending<T> = { how: "done"; value: T } | { how: "failed"; error: unknown } | { how: "killed" };

/** The process whose code runs now. */
export const current = new AsyncLocalStorage<Process>();
