/** A lab and a checkout of its own, in which one case after the other is measured. */
import { mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Workspace } from "../../cli/demo/workspace.ts";
import { labBinaries } from "../../cli/lab.ts";
import { startLab, type Lab } from "../../lab/lab.ts";
import { identify } from "../../lab/processes.ts";
import { profiles } from "../../lab/profiles.ts";
import type { Profile } from "../../lab/types.ts";
import { toolchain, type Toolchain } from "../../tools/index.ts";
import { measured, type Measured } from "./process.ts";

const PREFIX = "127.42";
const STACK = "dev";

/** Image that the lab has beside the one that the stack begins with. */
export const NEWER = "ubuntu-24.04-rke2-v1.1.0";

/** What was counted since the lab began. */
export interface Counts {
  /** Requests to the Proxmox API, all clients together. */
  requests: number;
  /** The same by `METHOD endpoint`. */
  byEndpoint: Record<string, number>;
  /** Times that the engine wrote its whole state. */
  stateWrites: number;
}

/** One update, and what it cost beside its time. */
export interface Rolled extends Measured {
  spent: Counts;
}

export class Stage {
  readonly lab: Lab;
  readonly profile: Profile;
  private readonly root: string;
  private readonly tools: Toolchain;
  private readonly workspace: Workspace;

  private constructor(root: string, profile: Profile, lab: Lab, tools: Toolchain, workspace: Workspace) {
    this.root = root;
    this.profile = profile;
    this.lab = lab;
    this.tools = tools;
    this.workspace = workspace;
  }

  /** Does something on a stage of its own, of which nothing is left. */
  static async with<T>(profile: Profile["name"], work: (stage: Stage) => Promise<T>): Promise<T> {
    const root = await mkdtemp(join(tmpdir(), "evergreen-bench-"));
    const tools = await toolchain();
    const options = { name: "bench", prefix: PREFIX, directory: join(root, "lab"), profile, version: "8.4" } as const;
    const owner = identify(process.pid);
    const lab = await startLab({ ...options, owner, binaries: labBinaries(tools), load: "asked" });
    try {
      const workspace = await Workspace.create(join(root, "project"), PREFIX);
      const stage = new Stage(root, profiles[profile], lab, tools, workspace);
      await stage.pulumi("stack", "init", STACK);
      return await work(stage);
    } finally {
      await lab.stop();
      await rm(root, { recursive: true, force: true, maxRetries: 5 });
    }
  }

  /** Changes keys of the stack's configuration, named as `pools.0.image`. */
  async change(changes: Record<string, unknown>): Promise<void> {
    await this.workspace.change(changes);
  }

  /** `pulumi up`. @throws Error with its output when it fails */
  async up(): Promise<Rolled> {
    const before = await this.counts();
    const update = await this.pulumi("up", "--yes", "--skip-preview", "--stack", STACK);
    return { ...update, spent: since(before, await this.counts()) };
  }

  /** Seconds of a preview that finds nothing to do; `empty`: of one of a program that declares nothing. */
  async previews(): Promise<{ ours: number; empty: number }> {
    return { ours: (await this.pulumi("preview", "--stack", STACK)).seconds, empty: await this.emptyPreview() };
  }

  private async counts(): Promise<Counts> {
    const { total, byEndpoint } = (await this.lab.status).requests;
    const states = await readdir(join(this.root, "lab", "state", ".pulumi", "stacks", "evergreen"));
    return { requests: total, byEndpoint, stateWrites: states.filter((file) => /\.json\.\d+$/.test(file)).length };
  }

  private async pulumi(...args: string[]): Promise<Measured> {
    return await this.run(this.workspace.directory, args);
  }

  /** What the engine costs by itself. */
  private async emptyPreview(): Promise<number> {
    const cwd = await mkdtemp(join(this.root, "empty-"));
    const runtime = "{ name: nodejs, options: { typescript: false } }";
    await writeFile(join(cwd, "Pulumi.yaml"), `name: empty\nruntime: ${runtime}\n`);
    await writeFile(join(cwd, "index.js"), "");
    await writeFile(join(cwd, "package.json"), `{ "main": "index.js" }`);
    await symlink(join(this.workspace.directory, "node_modules"), join(cwd, "node_modules"));
    await this.run(cwd, ["stack", "init", "empty"]);
    return (await this.run(cwd, ["preview", "--stack", "empty"])).seconds;
  }

  private async run(cwd: string, args: readonly string[]): Promise<Measured> {
    // Every state that is written is kept, so that writes can be counted.
    const env = { ...this.tools.environment(), ...this.lab.env, PULUMI_DIY_BACKEND_RETAIN_CHECKPOINTS: "true" };
    return await measured(this.tools.pulumi, [...args, "--non-interactive"], { cwd, env });
  }
}

function since(before: Counts, after: Counts): Counts {
  const byEndpoint = Object.entries(after.byEndpoint).map(([endpoint, count]): [string, number] => [
    endpoint,
    count - (before.byEndpoint[endpoint] ?? 0),
  ]);
  return {
    requests: after.requests - before.requests,
    byEndpoint: Object.fromEntries(byEndpoint),
    stateWrites: after.stateWrites - before.stateWrites,
  };
}
