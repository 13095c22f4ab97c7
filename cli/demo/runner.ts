import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { finished } from "node:stream/promises";
import { UserError } from "../../src/runtime/errors.ts";
import { Family } from "../../lab/family.ts";

/** Runs the project's own commands as a user does, with their output in a log. */
export class Runner {
  private readonly directory: string;
  private readonly env: NodeJS.ProcessEnv;
  private readonly log: string;
  private readonly abort: AbortSignal;
  private readonly family = new Family();

  /** @param abort kills the running command and all processes that it started */
  constructor(directory: string, env: NodeJS.ProcessEnv, log: string, abort: AbortSignal) {
    this.directory = directory;
    this.env = env;
    this.log = log;
    this.abort = abort;
  }

  /** Runs a command. @returns its duration in seconds. @throws UserError with the end of its output when it fails */
  async run(program: "pulumi" | "evergreen", args: readonly string[]): Promise<number> {
    this.abort.throwIfAborted();
    const begin = performance.now();
    const file = join(this.directory, "cli", "bin", `${program}.mjs`);
    const child = spawn(process.execPath, [file, ...args], {
      cwd: this.directory,
      env: { ...this.env, ...this.family.env },
      // In its own session, so that Ctrl-C reaches only the demo, which then ends the command.
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    // The engine of a command has a session of its own, too (cli/run-child.ts).
    const kill = () => void this.family.kill().catch(() => undefined);
    this.abort.addEventListener("abort", kill, { once: true });
    const log = createWriteStream(this.log, { flags: "a" });
    log.write(`$ ${program} ${args.join(" ")}\n`);
    for (const stream of [child.stdout, child.stderr]) stream.pipe(log, { end: false });
    const [code] = (await once(child, "close")) as [number | null];
    log.end();
    await finished(log);
    this.abort.removeEventListener("abort", kill);
    if (this.abort.aborted) await this.family.kill();
    this.abort.throwIfAborted();
    if (code !== 0) throw await this.readFailure(`${program} ${args.join(" ")}`, code);
    return (performance.now() - begin) / 1000;
  }

  private async readFailure(command: string, code: number | null): Promise<UserError> {
    const end = (await readFile(this.log, "utf8")).trimEnd().split("\n").slice(-40).join("\n");
    return new UserError({
      what: `${command} ended with ${code ?? "a signal"}:\n${end}`,
      where: this.directory,
      todo: "run the demo again with --keep to look at the lab as it is then, and report this output",
    });
  }
}
