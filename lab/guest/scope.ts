import { setTimeout as delay } from "node:timers/promises";
import { say } from "../../src/runtime/log.ts";
import { messageOf } from "../../src/runtime/errors.ts";

/**
 * The life of something in a guest: a power cycle, a service, a pod. When a scope ends, everything that it opened is
 * closed, and its child scopes end with it.
 */
export class Scope {
  private readonly controller = new AbortController();
  private readonly closers = new Set<() => void | Promise<void>>();
  private readonly parent: Scope | undefined;
  private ending: Promise<void> | undefined;
  private readonly finish = Promise.withResolvers<undefined>();
  private readonly endOfParent = () => this.end();

  constructor(parent?: Scope) {
    this.parent = parent;
    if (parent?.over) this.controller.abort();
    parent?.closers.add(this.endOfParent);
  }

  /** Aborts when the scope ends. */
  get signal(): AbortSignal {
    return this.controller.signal;
  }

  get over(): boolean {
    return this.signal.aborted;
  }

  /** Resolves when everything of the scope is closed. */
  get ended(): Promise<undefined> {
    return this.finish.promise;
  }

  /** Closes something when the scope ends; at once when the scope has already ended. */
  defer(close: () => void | Promise<void>): void {
    if (this.over) void Promise.resolve(close()).catch(report);
    else this.closers.add(close);
  }

  /** Runs a task of the scope. An error after the end is ignored; an error before it is a defect of the lab. */
  run(task: () => Promise<void>): void {
    task().catch((error: unknown) => {
      if (!this.over) report(error);
    });
  }

  /** @throws when the scope ends meanwhile */
  async wait(milliseconds: number): Promise<void> {
    await delay(milliseconds, undefined, { signal: this.signal });
  }

  /** Closes everything at the same time. Resolves when everything is closed. */
  end(): Promise<void> {
    this.ending ??= this.close();
    return this.ending;
  }

  private async close(): Promise<void> {
    this.controller.abort();
    this.parent?.closers.delete(this.endOfParent);
    const results = await Promise.allSettled([...this.closers].map(async (close) => close()));
    this.closers.clear();
    for (const result of results) if (result.status === "rejected") report(result.reason);
    this.finish.resolve(undefined);
  }
}

function report(error: unknown): void {
  say(`lab: ${error instanceof Error ? (error.stack ?? error.message) : messageOf(error)}`);
}
