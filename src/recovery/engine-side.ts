import { execFile } from "node:child_process";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { UserError, messageOf } from "../runtime/errors.ts";
import { noteEngine } from "../runtime/engine-notes.ts";
import { identify } from "../runtime/process-identity.ts";
import { projectRoot } from "../runtime/project.ts";
import { backendOf } from "./backend.ts";
import {
  findStateFile,
  lockRefusal,
  locksOf,
  parseState,
  PROJECT,
  stateIn,
  type EngineLock,
  type EngineState,
} from "./engine-state.ts";

const execute = promisify(execFile);

/** Records an engine that this process has started or is about to become: a lock names the engine only by its pid. */
export function noteStarted(pid = 0): void {
  const engine = identify(pid);
  if (engine) noteEngine(engine);
}

/** What the engine says when the backend answers and has no such stack. Any other failure is no answer. */
const NO_SUCH_STACK = /no stack named .* found/;

/** A stack in its backend, of any kind: reads what the engine left there, and undoes it. */
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

  /**
   * The locks of the stack. Undefined where the backend does not show them, or has no such stack: an update that works
   * with another backend, or with this one where it is mounted, is not seen here.
   */
  async readLocks(): Promise<EngineLock[] | undefined> {
    const backend = backendOf(this.environment);
    if (backend.kind === "service") return undefined;
    if (backend.kind !== "file") return await this.readLockRefusals();
    const locks = locksOf(backend.directory, PROJECT, this.stack);
    return locks.length > 0 || findStateFile(backend.directory, PROJECT, this.stack) ? locks : undefined;
  }

  /** The stack's state in the backend; empty when the backend does not have the stack. */
  async readState(): Promise<EngineState> {
    const backend = backendOf(this.environment);
    if (backend.kind === "file") return stateIn(backend.directory, PROJECT, this.stack);
    const { stdout, stderr, code } = await this.run(["stack", "export", "--stack", this.stack]);
    if (code === 0) return parseState(stdout);
    if (NO_SUCH_STACK.test(stderr)) return { pending: [], deleting: [], vms: [], unfinished: [], root: [] };
    throw this.failed("stack export", stderr);
  }

  /** Removes all locks of the stack, whichever process holds them. */
  async cancel(): Promise<void> {
    await this.runOrThrow("cancel", "--yes", this.stack);
  }

  /**
   * Removes resources that are gone, and pending creates that made nothing, from the state. The program does not run.
   * @param adopted pending creates that did make something: their URN, and the provider's id of what they made. The
   *   engine imports them only when it refreshes everything
   * @param urns what is refreshed, without which nothing is adopted: while the Proxmox host of one VM does not answer, a
   *   refresh of all of them fails
   */
  async refresh(adopted: readonly { urn: string; id: string }[], urns: readonly string[]): Promise<void> {
    const imports = adopted.flatMap(({ urn, id }) => [urn, id]).flatMap((one) => ["--import-pending-creates", one]);
    const targets = adopted.length > 0 ? [] : targetsOf(urns);
    const args = ["--yes", "--skip-preview", ...imports, ...targets, "--clear-pending-creates", "--stack", this.stack];
    await this.runOrThrow("refresh", ...args);
  }

  /** Refreshes only the given resources. The program does not run. */
  async refreshOnly(urns: readonly string[]): Promise<void> {
    await this.runOrThrow("refresh", "--yes", "--skip-preview", ...targetsOf(urns), "--stack", this.stack);
  }

  /**
   * Reads the locks of a bucket. No command shows them, but every command that needs the lock names them when it fails.
   * `stack init` of an existing stack takes the lock and does nothing else; its settings go to a temporary directory.
   */
  private async readLockRefusals(): Promise<EngineLock[] | undefined> {
    const known = await this.run(["stack", "export", "--stack", this.stack]);
    if (NO_SUCH_STACK.test(known.stderr)) return undefined;
    if (known.code !== 0) throw this.failed("stack export", known.stderr);
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

  private async runOrThrow(...args: string[]): Promise<void> {
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

function targetsOf(urns: readonly string[]): string[] {
  return urns.flatMap((urn) => ["--target", urn]);
}
