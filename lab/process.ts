/** Real processes that belong to guests: they end with their guest, at the latest with the daemon. */
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { alive, identify, signal } from "./processes.ts";
import type { ProcessId } from "./processes.ts";
import { endingWithParent } from "./setpriv.ts";

/** What to start, and how. */
export interface ProcessOptions {
  /** Unique in its directory; the log is named after it. */
  name: string;
  command: string;
  args: readonly string[];
  /** Variables besides those inherited from the daemon. @default none */
  env?: Readonly<Record<string, string>>;
  /** Whether it is restarted when it ends by itself. @default false */
  restart?: boolean;
}

/** Milliseconds until a process that ended by itself is restarted. */
const restartAfter = 300;

/** The variables of the daemon's environment that programs need; its credentials are not among them. */
function inherited(): Record<string, string> {
  const names = ["PATH", "HOME", "TMPDIR", "LANG", "GOGC"];
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

/** A process, with all its restarts. */
export class Supervised {
  readonly name: string;
  private readonly options: ProcessOptions;
  private readonly directory: string;
  private id: ProcessId | undefined;
  private stopping = false;
  private ended: Promise<void> = Promise.resolve();

  constructor(directory: string, options: ProcessOptions) {
    this.directory = directory;
    this.name = options.name;
    this.options = options;
    this.launch();
  }

  get running(): boolean {
    return this.id !== undefined && alive(this.id);
  }

  /** True when it has ended and will not be restarted. */
  get over(): boolean {
    return !this.running && (this.stopping || this.options.restart !== true);
  }

  get pid(): number | undefined {
    return this.id?.pid;
  }

  /** The end of its log, for messages. */
  get lastWords(): string {
    return readFileSync(join(this.directory, `${this.name}.log`), "utf8").slice(-2000);
  }

  /** Ends it permanently and at once. Resolves when it has ended. */
  async kill(): Promise<void> {
    this.stopping = true;
    this.restart();
    await this.ended;
  }

  /** Ends it; it is started again when its options say so. */
  restart(): void {
    if (this.id && alive(this.id)) signal(this.id.pid, "SIGKILL");
  }

  private launch(): void {
    const { command, args, env } = this.options;
    const log = openSync(join(this.directory, `${this.name}.log`), "a", 0o600);
    const child = spawn(...endingWithParent(command, args), {
      stdio: ["ignore", log, log],
      env: { ...inherited(), ...env },
    });
    closeSync(log);
    this.ended = new Promise<void>((resolve) => {
      child.once("error", () => resolve());
      child.once("exit", () => resolve());
    }).then(() => this.onEnd());
    if (child.pid === undefined) return;
    this.id = identify(child.pid);
  }

  private onEnd(): void {
    this.id = undefined;
    if (this.options.restart !== true || this.stopping) return;
    void delay(restartAfter).then(() => {
      if (!this.stopping) this.launch();
    });
  }
}

/** The processes of a lab, with one directory for their logs. */
export class Processes {
  readonly directory: string;
  private readonly all = new Set<Supervised>();

  constructor(directory: string) {
    this.directory = directory;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  start(options: ProcessOptions): Supervised {
    for (const child of this.all) if (child.over) this.all.delete(child);
    const child = new Supervised(this.directory, options);
    this.all.add(child);
    return child;
  }

  async killAll(): Promise<void> {
    await Promise.all([...this.all].map((child) => child.kill()));
    this.all.clear();
  }

  get pids(): number[] {
    return [...this.all].flatMap(({ pid }) => pid ?? []);
  }
}
