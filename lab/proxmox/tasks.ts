import { setTimeout as delay } from "node:timers/promises";
import { ApiError, died } from "./answer.ts";

/** A worker of Proxmox VE: it has an id, a log and an exit status. */
export class Task {
  readonly upid: string;
  readonly node: string;
  readonly type: string;
  readonly id: string;
  /** Id of the token or user that started it. */
  readonly user: string;
  readonly pid: number;
  readonly pstart: number;
  readonly starttime: number;
  readonly log: string[] = [];
  endtime: number | undefined;
  exitstatus: string | undefined;
  /** Settles when the task has ended, successfully or not. */
  done: Promise<void> = Promise.resolve();
  private warnings = 0;
  private readonly abort = new AbortController();

  constructor(node: string, type: string, id: string, user: string, pid: number) {
    this.node = node;
    this.type = type;
    this.id = id;
    this.user = user;
    this.pid = pid;
    this.pstart = Math.floor(performance.now() / 10) + 100_000;
    this.starttime = Math.floor(Date.now() / 1000);
    const hex = (n: number) => n.toString(16).toUpperCase().padStart(8, "0");
    this.upid = `UPID:${node}:${hex(pid)}:${hex(this.pstart)}:${hex(this.starttime)}:${type}:${id}:${user}:`;
  }

  get running(): boolean {
    return this.exitstatus === undefined;
  }

  /** Aborted when the task is cancelled. */
  get signal(): AbortSignal {
    return this.abort.signal;
  }

  say(line: string): void {
    this.log.push(line);
  }

  /** Logs a warning: the task then ends with `WARNINGS: n`. */
  warn(line: string): void {
    this.warnings += 1;
    this.log.push(`WARN: ${line}`);
  }

  cancel(): void {
    this.abort.abort(died("received interrupt"));
  }

  /** Lets time pass, or throws `received interrupt` when the task is cancelled. */
  async pass(milliseconds: number): Promise<void> {
    try {
      await delay(milliseconds, undefined, { signal: this.signal });
    } catch {
      throw died("received interrupt");
    }
  }

  /** Runs the work and records how it ended. */
  async run(work: (task: Task) => Promise<void> | void): Promise<void> {
    let failure: string | undefined;
    try {
      await work(this);
    } catch (error) {
      failure = error instanceof ApiError ? error.message : `internal error: ${String(error)}`;
    }
    this.endtime = Math.floor(Date.now() / 1000);
    if (failure !== undefined) this.log.push(`TASK ERROR: ${failure}`);
    else this.log.push(this.warnings > 0 ? `TASK WARNINGS: ${this.warnings}` : "TASK OK");
    this.exitstatus = failure ?? (this.warnings > 0 ? `WARNINGS: ${this.warnings}` : "OK");
  }
}

/** All tasks of the data centre, newest last. */
export class Tasks {
  readonly all = new Map<string, Task>();
  /** Called before a task does its work: a text makes the task fail with that exit status. */
  fault: ((task: Task) => string | undefined) | undefined;
  private pid = 1000;
  private readonly forkTime: () => number;

  /** @param forkTime milliseconds from a UPID until the task's first step */
  constructor(forkTime: () => number) {
    this.forkTime = forkTime;
  }

  /** Starts a task; its work begins after the caller has received the UPID. */
  start(node: string, type: string, id: string, user: string, work: (task: Task) => Promise<void> | void): Task {
    this.pid += 1;
    const task = new Task(node, type, id, user, this.pid);
    this.all.set(task.upid, task);
    task.done = Promise.resolve().then(() =>
      task.run(async () => {
        await task.pass(this.forkTime());
        const text = this.fault?.(task);
        if (text !== undefined) throw died(text);
        await work(task);
      }),
    );
    return task;
  }

  /** The process id that a new process gets. */
  nextPid(): number {
    this.pid += 1;
    return this.pid;
  }

  running(): Task[] {
    return [...this.all.values()].filter((task) => task.running);
  }
}
