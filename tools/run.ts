import { spawn, type ChildProcess, type ChildProcessByStdio } from "node:child_process";
import type { Readable } from "node:stream";

/** How a program ended. */
export interface Ended {
  /** Exit code; 0: success. -1: the program could not start, or a signal or the time limit ended it. */
  code: number;
  stdout: string;
  /** Standard error, or why the program could not start. */
  stderr: string;
}

/** How to run a program. */
export interface Running {
  cwd?: string;
  env?: NodeJS.ProcessEnv;
  /** Time after which it is killed, in milliseconds. Default: never. */
  timeout?: number;
  /** Kills the program when it is aborted. */
  signal?: AbortSignal;
  /** Called with each line of standard error as it comes. */
  onLine?: (line: string) => void;
}

/** Runs a program to its end. The promise never rejects: a program that cannot start has the exit code -1. */
export function run(file: string, args: readonly string[], how: Running = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const signals = [how.signal, how.timeout === undefined ? undefined : AbortSignal.timeout(how.timeout)];
    const child = watchOver(() =>
      spawn(file, args, {
        cwd: how.cwd,
        env: how.env ?? process.env,
        stdio: ["ignore", "pipe", "pipe"],
        signal: AbortSignal.any(signals.filter((signal) => signal !== undefined)),
        killSignal: "SIGKILL",
      }),
    );
    const ended: Ended = { code: -1, stdout: "", stderr: "" };
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (ended.stdout += chunk));
    let line = "";
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      ended.stderr += chunk;
      const lines = (line + chunk).split("\n");
      line = lines.pop() ?? "";
      lines.forEach((each) => how.onLine?.(each));
    });
    child.on("error", (error) => (ended.stderr += `\n${error.message}`));
    child.on("close", (code) => resolve({ ...ended, code: Math.max(code ?? -1, -1) }));
  });
}

const children = new Set<ChildProcess>();
const ENDINGS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
let runs = 0;

/**
 * Starts a program that ends with this process: otherwise a build would continue for minutes without use. The signal
 * handlers are installed before the program starts, because a signal may come in between.
 */
function watchOver(start: () => ChildProcessByStdio<null, Readable, Readable>) {
  if (runs++ === 0) for (const signal of ENDINGS) process.on(signal, end);
  const child = start();
  children.add(child);
  child.on("close", () => {
    children.delete(child);
    if (--runs === 0) for (const signal of ENDINGS) process.off(signal, end);
  });
  return child;
}

function end(signal: NodeJS.Signals): void {
  for (const child of children) child.kill("SIGTERM");
  process.off(signal, end);
  // Other handlers decide about the process; without any other handler the signal has its default effect.
  if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
}
