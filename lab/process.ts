/** Real processes that belong to guests: they end with the guest, with the daemon, and at the latest with `lab down`. */
import { spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { alive, identify, signal } from "./processes.ts";
import type { ProcessId } from "./processes.ts";
import { endingWithParent } from "./setpriv.ts";

/** What is started. */
export interface ProcessOptions {
  /** Unique in its directory; names the pid file and the log. */
  name: string;
  command: string;
  args: readonly string[];
  /** Beside PATH and HOME. @default none */
  env?: Readonly<Record<string, string>>;
  /** Whether it is started again when it ends by itself. @default false */
  restart?: boolean;
}

/** Milliseconds before a process that ended by itself is started again. */
const restartAfter = 300;

/** What programs need of the daemon's environment; its credentials are not among it. */
function inherited(): Record<string, string> {
  const names = ["PATH", "HOME", "TMPDIR", "LANG"];
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

/** One process, with all its restarts. */
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

  /** True when it ended and will not be started again. */
  get over(): boolean {
    return !this.running && (this.stopping || this.options.restart !== true);
  }

  get pid(): number | undefined {
    return this.id?.pid;
  }

  /** What it wrote last, for messages. */
  get lastWords(): string {
    return readFileSync(join(this.directory, `${this.name}.log`), "utf8").slice(-2000);
  }

  /** Ends it for good, at once. Resolves when it is gone. */
  async kill(): Promise<void> {
    this.stopping = true;
    this.restart();
    await this.ended;
  }

  /** Ends it, to be started again when its options say so. */
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
    writeFileSync(this.pidFile, JSON.stringify(this.id), { mode: 0o600 });
  }

  private onEnd(): void {
    this.id = undefined;
    rmSync(this.pidFile, { force: true });
    if (this.options.restart !== true || this.stopping) return;
    void delay(restartAfter).then(() => {
      if (!this.stopping) this.launch();
    });
  }

  private get pidFile(): string {
    return join(this.directory, `${this.name}.pid`);
  }
}

/** The processes of a lab: one directory for their logs and pid files. */
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

/**
 * Kills what a lab that died left behind. Only processes are touched that the pid files prove to be the lab's: same
 * pid, same start time, same boot.
 * @returns names of the processes that were killed
 */
export async function killStrays(directory: string): Promise<string[]> {
  if (!existsSync(directory)) return [];
  const files = readdirSync(directory).filter((name) => name.endsWith(".pid"));
  const killed = await Promise.all(
    files.map(async (file) => {
      const path = join(directory, file);
      const id = JSON.parse(readFileSync(path, "utf8")) as ProcessId;
      const stray = alive(id);
      if (stray) signal(id.pid, "SIGKILL");
      while (alive(id)) await delay(10);
      rmSync(path, { force: true });
      return stray ? [file.slice(0, -".pid".length)] : [];
    }),
  );
  return killed.flat();
}
