import { spawn, type ChildProcess } from "node:child_process";
import { strings, text, type Props } from "./values.ts";

/** What a command printed, without the last line feed. */
export interface Printed {
  stdout: string;
  stderr: string;
}

/** One run of a command. */
export interface Run {
  /** Last argument of the interpreter. */
  command: string;
  /** Plain-text inputs: `interpreter`, `dir`, `environment`, `stdin`, `logging`, `addPreviousOutputInEnv`. */
  inputs: Props;
  /** Output of the last run of the same resource, which an update or a delete may read. */
  previous: Partial<Printed>;
  /** Seconds until the command is killed; 0: never. */
  timeout: number;
  /** Called with each line as it is printed. */
  log: (line: string) => void;
}

/**
 * Runs commands as the official plugin does (Go's `exec.CommandContext`): on a cancel or a timeout it sends SIGKILL to
 * the direct child *only* and then waits until its pipes are closed. With a gentler stand-in the lab would prove
 * something that is not true in production.
 */
export class Runner {
  private readonly running = new Set<ChildProcess>();
  private readonly cancelled = new AbortController();

  /** Whether a command is running. */
  get busy(): boolean {
    return this.running.size > 0;
  }

  /** Kills running commands and refuses new ones: the engine cancels once, at the end of every run. */
  cancel(): void {
    this.cancelled.abort();
    for (const child of this.running) child.kill("SIGKILL");
  }

  /** Resolves to the output; rejects when the command could not start, failed, was cancelled or timed out. */
  async run(run: Run): Promise<Printed> {
    if (this.cancelled.signal.aborted) throw failure(run, "context canceled", "");
    const [file = "/bin/sh", ...args] = interpreter(run.inputs);
    const stdin = text(run.inputs, "stdin");
    // Not detached, so that the engine's signals to the plugin's process group also reach the commands.
    const child = spawn(file, [...args, run.command], {
      cwd: text(run.inputs, "dir"),
      env: environment(run),
      stdio: [stdin === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    });
    this.running.add(child);
    // A command may end without reading its input.
    child.stdin?.on("error", () => undefined).end(stdin);
    const late = new AbortController();
    late.signal.onabort = () => child.kill("SIGKILL");
    const timer = run.timeout > 0 ? setTimeout(() => late.abort(), run.timeout * 1000) : undefined;
    try {
      const printed = collect(child, run);
      const problem = await ending(child);
      if (problem === undefined) return printed.result();
      throw failure(run, this.cause(late.signal, run) + problem, printed.all());
    } finally {
      clearTimeout(timer);
      this.running.delete(child);
    }
  }

  private cause(late: AbortSignal, run: Run): string {
    if (late.aborted) return `timed out after ${run.timeout} s: `;
    return this.cancelled.signal.aborted ? "cancelled: " : "";
  }
}

function interpreter(inputs: Props): string[] {
  const value = inputs.interpreter;
  return Array.isArray(value) && value.length > 0 ? value.map(String) : ["/bin/sh", "-c"];
}

function environment({ inputs, previous }: Run): NodeJS.ProcessEnv {
  const variables: NodeJS.ProcessEnv = { ...process.env, ...strings(inputs, "environment") };
  if (inputs.addPreviousOutputInEnv !== false) {
    if (previous.stdout) variables.PULUMI_COMMAND_STDOUT = previous.stdout;
    if (previous.stderr) variables.PULUMI_COMMAND_STDERR = previous.stderr;
  }
  return variables;
}

/** Resolves when the child has ended and its pipes are closed: to undefined, or to the problem in Go's wording. */
function ending(child: ChildProcess): Promise<string | undefined> {
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) => {
      if (signal === "SIGKILL") resolve("signal: killed");
      else if (signal) resolve(`signal: ${signal}`);
      else resolve(code === 0 ? undefined : `exit status ${String(code)}`);
    });
  });
}

function failure(run: Run, problem: string, printed: string): Error {
  return new Error(`${problem}: running ${JSON.stringify(run.command)}:\n${printed}`);
}

function collect(child: ChildProcess, run: Run): { result(): Printed; all(): string } {
  const logging = run.inputs.logging ?? "stdoutAndStderr";
  const text = { stdout: "", stderr: "" };
  let all = "";
  for (const name of ["stdout", "stderr"] as const) {
    const show = logging === name || logging === "stdoutAndStderr";
    let line = "";
    child[name]?.setEncoding("utf8").on("data", (chunk: string) => {
      text[name] += chunk;
      all += chunk;
      const lines = (line + chunk).split("\n");
      line = lines.pop() ?? "";
      if (show) lines.forEach(run.log);
    });
    child[name]?.on("end", () => {
      if (show && line !== "") run.log(line);
    });
  }
  const trim = (printed: string) => printed.replace(/\n$/, "");
  return { result: () => ({ stdout: trim(text.stdout), stderr: trim(text.stderr) }), all: () => all };
}
