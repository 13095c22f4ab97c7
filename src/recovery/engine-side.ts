import { execFile } from "node:child_process";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { UserError, messageOf } from "../runtime/errors.ts";
import { noteEngine } from "../runtime/engine-notes.ts";
import { identify } from "../runtime/process-identity.ts";
import { projectRoot } from "../../tools/paths.ts";
import { backendOf } from "./backend.ts";
import {
  lockRefusal,
  locksOf,
  parseState,
  PROJECT,
  stateIn,
  type EngineLock,
  type EngineState,
} from "./engine-state.ts";

const execute = promisify(execFile);

/** Notes an engine that we have started, or are about to become: its lock says no more than its pid. */
export function noteStarted(pid = 0): void {
  const engine = identify(pid);
  if (engine) noteEngine(engine);
}

/** A stack in its backend, whichever that is: what the engine left there, and how that is undone. */
export class EngineSide {
  private readonly stack: string;
  private readonly program: string;
  private readonly environment: NodeJS.ProcessEnv;

  /** @param program the Pulumi CLI */
  constructor(stack: string, program: string, environment: NodeJS.ProcessEnv) {
    this.stack = stack;
    this.program = program;
    this.environment = environment;
  }

  /** Who holds the stack. Undefined where the backend does not say. */
  async locks(): Promise<EngineLock[] | undefined> {
    const backend = backendOf(this.environment);
    if (backend.kind === "file") return locksOf(backend.directory, PROJECT, this.stack);
    return backend.kind === "service" ? undefined : await this.lockRefusals();
  }

  /** What the backend keeps of the stack: nothing when it does not know the stack. */
  async state(): Promise<EngineState> {
    const backend = backendOf(this.environment);
    if (backend.kind === "file") return stateIn(backend.directory, PROJECT, this.stack);
    const { stdout, stderr, code } = await this.run(["stack", "export", "--stack", this.stack]);
    if (code === 0) return parseState(stdout);
    if (/no stack named .* found/.test(stderr)) return { pending: [], deleting: [], vms: [], unfinished: [] };
    throw this.failed("stack export", stderr);
  }

  /** Takes the locks away, whoever has them. */
  async cancel(): Promise<void> {
    await this.must("cancel", "--yes", this.stack);
  }

  /**
   * Forgets what is gone and what never came to be. The program does not run.
   * @param adopted creates that came to be after all: their URN, and how the provider finds what they made
   */
  async refresh(adopted: readonly { urn: string; id: string }[] = []): Promise<void> {
    const imports = adopted.flatMap(({ urn, id }) => [urn, id]).flatMap((one) => ["--import-pending-creates", one]);
    await this.must("refresh", "--yes", "--skip-preview", ...imports, "--clear-pending-creates", "--stack", this.stack);
  }

  /** Looks again at some resources alone, and at nothing else. The program does not run. */
  async refreshOnly(urns: readonly string[]): Promise<void> {
    const targets = urns.flatMap((urn) => ["--target", urn]);
    await this.must("refresh", "--yes", "--skip-preview", ...targets, "--stack", this.stack);
  }

  /**
   * No command shows the locks of a bucket, but each that would take one names them. Making a stack that is there takes the
   * lock and does nothing else; its own settings go to a directory that is thrown away.
   */
  private async lockRefusals(): Promise<EngineLock[]> {
    const known = await this.run(["stack", "export", "--stack", this.stack]);
    if (known.code !== 0) return [];
    const cwd = await mkdtemp(join(tmpdir(), "evergreen-lock-"));
    try {
      await copyFile(join(projectRoot, "Pulumi.yaml"), join(cwd, "Pulumi.yaml"));
      const env = { PULUMI_CONFIG_PASSPHRASE: "of nothing", PULUMI_CONFIG_PASSPHRASE_FILE: "" };
      const { stderr } = await this.run(["stack", "init", this.stack, "--no-select"], { cwd, env });
      const locks = lockRefusal(stderr);
      if (locks.length === 0 && !stderr.includes("already exists")) throw this.failed("stack init", stderr);
      return locks;
    } finally {
      await rm(cwd, { recursive: true, force: true });
    }
  }

  private async must(...args: string[]): Promise<void> {
    const { code, stderr } = await this.run(args);
    if (code !== 0) throw this.failed(args[0] ?? "", stderr);
  }

  private async run(
    args: readonly string[],
    { cwd = projectRoot, env = {} }: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
  ): Promise<{ code: number; stdout: string; stderr: string }> {
    const options = { cwd, env: { ...this.environment, ...env }, maxBuffer: 1 << 28 };
    const running = execute(this.program, [...args, "--non-interactive"], options);
    noteStarted(running.child.pid);
    return await running.then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      (error: unknown) => {
        const {
          code,
          stdout = "",
          stderr = "",
        } = error as { code?: number | string; stdout?: string; stderr?: string };
        return {
          code: typeof code === "number" ? code : -1,
          stdout,
          stderr: stderr === "" ? messageOf(error) : stderr,
        };
      },
    );
  }

  private failed(what: string, stderr: string): UserError {
    return new UserError({
      what: `pulumi ${what} failed: ${stderr.trim()}`,
      where: `stack ${this.stack}`,
      todo: "read what pulumi said; the rest of the repair was done or can be done again",
    });
  }
}
