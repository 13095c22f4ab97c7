import { spawn, type ChildProcess } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { once } from "node:events";
import { Family } from "../../lab/family.ts";
import { toolchain } from "../../tools/index.ts";

const checkout = resolve(import.meta.dirname, "../..");

export interface Ran {
  code: number | null;
  signal: NodeJS.Signals | null;
  output: string;
}

/** A Pulumi project in its own directory, with a file backend beside it, driven by the real engine. */
export class Engine {
  readonly project: string;
  readonly world: string;
  private readonly environment: NodeJS.ProcessEnv;
  private readonly program: string;
  private readonly family = new Family();

  private constructor(directory: string, program: string, environment: NodeJS.ProcessEnv) {
    this.program = program;
    this.project = join(directory, "project");
    this.world = join(directory, "world");
    this.environment = environment;
  }

  /** Copies the project `from` into a new directory and creates the stack `dev`. */
  static async create(from: string): Promise<Engine> {
    const tools = await toolchain({ quiet: true, parts: ["engine"] });
    const directory = await mkdtemp(join(tmpdir(), "evergreen-engine-"));
    await cp(from, join(directory, "project"), { recursive: true });
    await symlink(join(checkout, "node_modules"), join(directory, "project", "node_modules"));
    for (const name of ["state", "world/fail", "world/hold", "world/held"])
      await mkdir(join(directory, name), { recursive: true });
    const engine = new Engine(directory, tools.pulumi, {
      ...tools.environment(),
      PULUMI_BACKEND_URL: `file://${join(directory, "state")}`,
      PULUMI_CONFIG_PASSPHRASE: "test",
      WORLD: join(directory, "world"),
    });
    const made = await engine.pulumi(["stack", "init", "dev"]);
    if (made.code !== 0) throw new Error(`pulumi stack init failed:\n${made.output}`);
    return engine;
  }

  /** Starts `pulumi` and leaves it running. */
  start(args: string[], extra: NodeJS.ProcessEnv = {}): { child: ChildProcess; ended: Promise<Ran> } {
    const child = spawn(this.program, [...args, "--non-interactive"], {
      cwd: this.project,
      env: { ...this.environment, ...extra, ...this.family.env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (text: string) => (output += text));
    const ended = once(child, "exit").then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
      output,
    }));
    return { child, ended };
  }

  async pulumi(args: string[], extra: NodeJS.ProcessEnv = {}): Promise<Ran> {
    return this.start(args, extra).ended;
  }

  /** Runs `pulumi up` with these resources of the facts program. */
  async up(facts: object[], extra: NodeJS.ProcessEnv = {}): Promise<Ran> {
    return this.pulumi(["up", "--yes", "--skip-preview"], { FACTS: JSON.stringify(facts), ...extra });
  }

  /** Sets an environment variable for every later run. */
  set(name: string, value: string): void {
    this.environment[name] = value;
  }

  /** What the steps logged since the last call. */
  async happened(): Promise<string[]> {
    const path = join(this.world, "log");
    const text = await readFile(path, "utf8").catch(() => "");
    await writeFile(path, "");
    return text.split("\n").filter(Boolean);
  }

  async mark(kind: "fail" | "hold", name: string): Promise<void> {
    await writeFile(join(this.world, kind, name), "");
  }

  async clear(kind: "fail" | "hold", name: string): Promise<void> {
    await rm(join(this.world, kind, name), { force: true });
  }

  /** Kills the processes that still run, also those that have outlived the engine, and removes the directory. */
  async close(): Promise<void> {
    await this.family.kill();
    await rm(resolve(this.project, ".."), { recursive: true, force: true, maxRetries: 5 });
  }
}
