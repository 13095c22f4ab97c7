/** A copy of the project that the demo commits to, so that the user's checkout does not change. */
import { execFile } from "node:child_process";
import { cp, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { parse, parseDocument } from "yaml";
import { ownSettings, readConfig, type Config } from "../../src/config/config.ts";
import { projectRoot } from "../../src/runtime/project.ts";

const run = promisify(execFile);

/** Entries that are not copied: large ones, build results, and leftovers of another copy. */
const left = new Set(["node_modules", ".git", ".evergreen", "dist", "test"]);

export class Workspace {
  readonly directory: string;

  /** @param directory directory of an existing copy */
  constructor(directory: string) {
    this.directory = directory;
  }

  /** Makes a copy. @param prefix first two octets of the addresses of the lab that the copy uses */
  static async create(directory: string, prefix: string): Promise<Workspace> {
    await mkdir(directory, { recursive: true });
    for (const entry of await readdir(projectRoot)) {
      if (!left.has(entry)) await cp(join(projectRoot, entry), join(directory, entry), { recursive: true });
    }
    await symlink(join(projectRoot, "node_modules"), join(directory, "node_modules"));
    const workspace = new Workspace(directory);
    const text = await readFile(workspace.stackFile, "utf8");
    await writeFile(workspace.stackFile, text.replaceAll("127.40.", `${prefix}.`));
    await workspace.runGit("init", "--quiet", "--initial-branch", "main");
    await writeFile(join(directory, ".git", "info", "exclude"), "node_modules\ndist\n");
    await workspace.commit("The stack as it is");
    return workspace;
  }

  /** Reads the present configuration of the stack. */
  async readStack(): Promise<Config> {
    const document = parse(await readFile(this.stackFile, "utf8")) as { config: Record<string, unknown> };
    return readConfig(ownSettings(document.config));
  }

  /** Sets another image for every pool of agents as a user does, with an edit and a commit. */
  async useImage(image: string): Promise<void> {
    const pools = (await this.readStack()).pools;
    await this.change(Object.fromEntries(pools.map((_, index) => [`pools.${index}.image`, image])), `Use ${image}`);
  }

  /** Changes keys below `evergreen:`, named like `pools.0.image`, and commits. The value undefined removes a key. */
  async change(changes: Record<string, unknown>, message = Object.keys(changes).join(", ")): Promise<void> {
    const document = parseDocument(await readFile(this.stackFile, "utf8"));
    for (const [path, value] of Object.entries(changes)) {
      const [first = "", ...rest] = path.split(".").map((key) => (/^\d+$/.test(key) ? Number(key) : key));
      const where = ["config", `evergreen:${first}`, ...rest];
      if (value === undefined) document.deleteIn(where);
      else document.setIn(where, document.createNode(value));
    }
    await writeFile(this.stackFile, document.toString());
    await this.commit(message);
  }

  /** Commits all changes: a rollback can only return to an update from a clean tree. */
  private async commit(message: string): Promise<void> {
    await this.runGit("add", "--all");
    await this.runGit("commit", "--quiet", "--allow-empty", "--message", message);
  }

  private get stackFile(): string {
    return join(this.directory, "Pulumi.dev.yaml");
  }

  private async runGit(...args: string[]): Promise<void> {
    await run("git", args, { cwd: this.directory, env: { ...process.env, ...gitEnvironment } });
  }
}

/** The user's Git settings do not apply to the copy. */
const gitEnvironment = {
  GIT_CONFIG_GLOBAL: "/dev/null",
  GIT_CONFIG_SYSTEM: "/dev/null",
  GIT_AUTHOR_NAME: "demo",
  GIT_AUTHOR_EMAIL: "demo@localhost",
  GIT_COMMITTER_NAME: "demo",
  GIT_COMMITTER_EMAIL: "demo@localhost",
};
