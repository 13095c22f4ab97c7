import { existsSync, readdirSync, rmSync, statSync, utimesSync } from "node:fs";
import { basename, join } from "node:path";
import { say } from "../src/runtime/log.ts";
import { build, directoryOf, isBuilt, HALF } from "./build.ts";
import type { Go } from "./go.ts";
import { locked } from "./lock.ts";
import { projectRoot } from "../src/runtime/project.ts";
import { pulumiHome } from "./paths.ts";
import type { GoTool } from "./pins.ts";
import { TRY } from "./official.ts";

/** A build that was not used for this time is removed, in milliseconds. */
const UNUSED_MS = 30 * 24 * 3600 * 1000;

/** The cache of builds, keyed by their pins. */
export class Store {
  readonly root: string;
  private readonly quiet: boolean;
  private readonly project: string;

  /**
   * @param root the cache's directory
   * @param quiet print nothing unless there is a problem or a long wait
   * @param project directory with the modules of the tools; default: this project
   */
  constructor(root: string, quiet: boolean, project = projectRoot) {
    this.root = root;
    this.quiet = quiet;
    this.project = project;
  }

  /** Path of a tool's program, which is built if it does not exist yet. */
  async program(tool: GoTool, go: Go): Promise<string> {
    const directory = directoryOf(tool, go, this.root, this.project);
    if (!isBuilt(tool, directory)) {
      await this.exclusive(`builds ${tool.name} ${tool.version}`, async () => {
        // The previous holder of the lock may have built it.
        if (!isBuilt(tool, directory)) await build(tool, go, directory, this.quiet, this.project);
      });
    }
    return join(directory, tool.binary);
  }

  /** Runs `work` while no other process changes the cache. */
  async exclusive<T>(what: string, work: () => Promise<T>): Promise<T> {
    const waiting = (owner: { pid: number; what: string; since: string }) => {
      say(`waiting for process ${owner.pid}, which ${owner.what} (since ${owner.since})`);
    };
    return await locked(join(this.root, "setup.lock"), what, waiting, async () => {
      this.sweep();
      return await work();
    });
  }

  /** Marks these programs as used, and removes builds that were not used for a month. */
  async prune(programs: Iterable<string>): Promise<void> {
    const now = new Date();
    for (const program of programs) if (program.startsWith(this.root)) utimesSync(join(program, ".."), now, now);
    const old = this.builds().filter((directory) => now.getTime() - statSync(directory).mtimeMs > UNUSED_MS);
    if (old.length === 0) return;
    await this.exclusive("removes old builds", () => {
      for (const directory of old) rmSync(directory, { recursive: true, force: true });
      return Promise.resolve();
    });
  }

  /** Removes what an interrupted process left. The caller must hold the lock, so that no other process is building. */
  private sweep(): void {
    const left = [
      ...[...this.builds(), ...entries(join(pulumiHome(this.root), "plugins"))].filter((path) => path.endsWith(HALF)),
      ...entries(this.root).filter((path) => basename(path).startsWith(TRY)),
    ];
    for (const path of left) rmSync(path, { recursive: true, force: true });
  }

  private builds(): string[] {
    return entries(join(this.root, "tools"));
  }
}

function entries(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : [];
}
