/** A lab and a checkout of its own, in which one case after the other is measured. */
import { mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
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
  /** Those of the engine's provider, which are not ours to save. */
  ofProvider: number;
  /** All by `METHOD endpoint`. */
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

  /** Sets the size and the strategy of the pool of agents, with numbers and addresses for as many as there may be at once. */
  async configureAgents(slots: number, strategy: object): Promise<void> {
    await this.change({
      "site.prefixLength": 16,
      // The room check counts disks at full size, and the lab's storage has room for about 190 of them.
      "site.storageOvercommit": 100,
      "pools.0.slots": slots,
      "pools.0.strategy": strategy,
      "pools.0.vmIds": { first: 2000, last: 2000 + 3 * slots + 20 },
      "pools.0.firstAddress": `${PREFIX}.16.1`,
    });
  }

  /** `pulumi up`. @throws Error with its output when it fails */
  async up(): Promise<Rolled> {
    const before = await this.counts();
    const update = await this.pulumi("up", "--yes", "--skip-preview", "--stack", STACK);
    return { ...update, spent: since(before, await this.counts()) };
  }

  /** A preview of the stack as it is configured. */
  async preview(): Promise<Measured> {
    return await this.pulumi("preview", "--stack", STACK);
  }

  /** A preview of a program that declares so many resources and does nothing else: what the engine costs by itself. */
  async plainPreview(resources: number): Promise<Measured> {
    const cwd = await mkdtemp(join(this.root, "plain-"));
    const runtime = "{ name: nodejs, options: { typescript: false } }";
    await writeFile(join(cwd, "Pulumi.yaml"), `name: plain\nruntime: ${runtime}\n`);
    await writeFile(join(cwd, "index.js"), plainProgram(resources));
    await writeFile(join(cwd, "package.json"), `{ "main": "index.js" }`);
    await symlink(join(this.workspace.directory, "node_modules"), join(cwd, "node_modules"));
    const stack = basename(cwd);
    await this.run(cwd, ["stack", "init", stack]);
    return await this.run(cwd, ["preview", "--stack", stack]);
  }

  /** Seconds of a preview of the stack, less those of a program that declares nothing. */
  async previewOverEmpty(): Promise<{ seconds: number; overEmpty: number }> {
    const [ours, empty] = [await this.preview(), await this.plainPreview(0)];
    return { seconds: ours.seconds, overEmpty: ours.seconds - empty.seconds };
  }

  private async counts(): Promise<Counts> {
    const { total, ofProvider, byEndpoint } = (await this.lab.status).requests;
    const states = await readdir(join(this.root, "lab", "state", ".pulumi", "stacks", "evergreen"));
    const stateWrites = states.filter((file) => /\.json\.\d+$/.test(file)).length;
    return { requests: total, ofProvider, byEndpoint, stateWrites };
  }

  private async pulumi(...args: string[]): Promise<Measured> {
    return await this.run(this.workspace.directory, args);
  }

  private async run(cwd: string, args: readonly string[]): Promise<Measured> {
    // Every state that is written is kept, so that writes can be counted.
    const env = { ...this.tools.environment(), ...this.lab.env, PULUMI_DIY_BACKEND_RETAIN_CHECKPOINTS: "true" };
    return await measured(this.tools.pulumi, [...args, "--non-interactive"], { cwd, env });
  }
}

function plainProgram(resources: number): string {
  if (resources === 0) return "";
  return `const { CustomResource } = require("@pulumi/pulumi");
for (let number = 0; number < ${resources}; number++)
  new CustomResource("command:local:Command", "plain-" + number, { create: "true" }, { version: "1.2.1" });
`;
}

function since(before: Counts, after: Counts): Counts {
  const byEndpoint = Object.entries(after.byEndpoint).map(([endpoint, count]): [string, number] => [
    endpoint,
    count - (before.byEndpoint[endpoint] ?? 0),
  ]);
  return {
    requests: after.requests - before.requests,
    ofProvider: after.ofProvider - before.ofProvider,
    byEndpoint: Object.fromEntries(byEndpoint),
    stateWrites: after.stateWrites - before.stateWrites,
  };
}
