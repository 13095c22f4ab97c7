import { existsSync, readlinkSync, renameSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { say } from "../common/log.ts";
import { bundle } from "./bundle.mjs";
import { installedPulumi, SILENT } from "./cli.ts";
import { build, directoryOf, findGo, isBuilt, type Go } from "./go.ts";
import { labEnvironment } from "./lab-environment.ts";
import { locked } from "./lock.ts";
import { cacheRoot, node24, projectRoot, pulumiHome } from "./paths.ts";
import {
  labTools,
  languageHost,
  plugins,
  proxmoxStandIn,
  pulumi,
  type GoTool,
  type Part,
  type Plugin,
} from "./pins.ts";
import { commandStandIn, installOfficial, installStandIn, isStandIn, pluginState, recentFailure } from "./plugins.ts";

/** How to set the tools up. */
export interface Options {
  /** Say nothing while all is well. Default: false. */
  quiet?: boolean;
  /** What is needed. Default: everything. */
  parts?: readonly Part[];
  /** Try the official plugins again when a stand-in is in place and the last try is a day old. Default: false. */
  official?: boolean;
}

/** Everything that Evergreen runs, ready to be started. */
export interface Toolchain {
  /** Path of a program by its file name: `pulumi`, `etcd`, `kube-apiserver`, ... @throws Error when it was not asked for */
  bin(name: string): string;
  /** The only PULUMI_HOME that is ours. */
  readonly pulumiHome: string;
  /** Path of the Pulumi CLI. */
  readonly pulumi: string;
  /**
   * The environment of the engine's processes.
   * @param extra variables that win over all others
   * @param stack the stack that they work on: for `dev`, what the lab says is added where the user has not set it.
   *   Default: `dev`
   */
  environment(extra?: Readonly<Record<string, string>>, stack?: string): Record<string, string>;
}

/**
 * Makes sure that every tool is there and resolves to where they are. Quick when they are; else builds what is missing,
 * with progress on standard error. Processes that do so at the same time wait for each other.
 * @throws UserError when something is missing that the user has to get
 */
export async function toolchain(options: Options = {}): Promise<Toolchain> {
  await bundle();
  const setup = new Setup(options);
  await setup.run();
  return setup.result();
}

class Setup {
  private readonly cache = cacheRoot();
  private readonly programs = new Map<string, string>();
  private readonly quiet: boolean;
  private readonly official: boolean;
  private readonly parts: readonly Part[];
  private go: Promise<Go> | undefined;

  constructor({ quiet = false, parts = ["engine", "lab"], official = false }: Options) {
    this.quiet = quiet;
    this.parts = parts;
    this.official = official;
  }

  async run(): Promise<void> {
    if (this.parts.includes("engine")) await this.engine();
    if (this.parts.includes("lab")) for (const tool of labTools) await this.tool(tool);
  }

  result(): Toolchain {
    const programs = this.programs;
    const bin = (name: string): string => {
      const path = programs.get(name);
      if (path === undefined)
        throw new Error(`${name} is not part of this toolchain: ${[...programs.keys()].join(", ")}`);
      return path;
    };
    const home = pulumiHome(this.cache);
    return {
      bin,
      pulumiHome: home,
      get pulumi() {
        return bin("pulumi");
      },
      environment: (extra = {}, stack = "dev") => engineEnvironment(programs, home, extra, stack),
    };
  }

  private async engine(): Promise<void> {
    const installed = await installedPulumi(this.cache);
    if (installed) this.programs.set("pulumi", installed.path);
    else await this.tool(pulumi);
    if (installed?.languageHost) this.programs.set(languageHost.binary, installed.languageHost);
    else {
      const host = await this.tool(languageHost);
      // The engine looks beside itself first, and warns about a host that it finds on PATH.
      if (!installed) putLink(join(dirname(this.result().pulumi), languageHost.binary), host);
    }
    for (const plugin of plugins) await this.plugin(plugin);
  }

  /** Finds a tool in the cache, or builds it there. */
  private async tool(tool: GoTool): Promise<string> {
    this.go ??= findGo();
    const go = await this.go;
    const directory = directoryOf(tool, go, this.cache);
    if (!isBuilt(tool, directory)) {
      await this.alone(`builds ${tool.name} ${tool.version}`, async () => {
        if (!isBuilt(tool, directory)) await build(tool, go, directory, this.quiet);
      });
    }
    const program = join(directory, tool.binary);
    this.programs.set(tool.binary, program);
    return program;
  }

  private async plugin(plugin: Plugin): Promise<void> {
    const state = pluginState(this.cache, plugin);
    if (state === "official") return;
    const retry = state === "missing" || this.official;
    if (retry && !recentFailure(this.cache, plugin)) {
      const cli = this.result().pulumi;
      const installed = await this.alone(`installs the plugin ${plugin.name}`, async () => {
        if (pluginState(this.cache, plugin) === "official") return true;
        return !recentFailure(this.cache, plugin) && (await installOfficial(this.cache, cli, plugin, this.quiet));
      });
      if (installed) return;
    }
    const program = plugin.name === "command" ? commandStandIn(this.cache, plugin) : await this.tool(proxmoxStandIn);
    if (isStandIn(this.cache, plugin, program)) return;
    await this.alone(`installs the stand-in for ${plugin.name}`, () => {
      if (!isStandIn(this.cache, plugin, program)) installStandIn(this.cache, plugin, program);
      return Promise.resolve();
    });
  }

  /** One process at a time changes the cache. */
  private async alone<T>(what: string, work: () => Promise<T>): Promise<T> {
    return await locked(
      join(this.cache, "setup.lock"),
      what,
      (owner) => {
        if (!this.quiet) say(`waiting for process ${String(owner.pid)}, which ${owner.what} since ${owner.since}`);
      },
      work,
    );
  }
}

/** Makes `link` point to `target`, also when another process does so at the same time. */
function putLink(link: string, target: string): void {
  if (existsSync(link) && readlinkSync(link) === target) return;
  const draft = `${link}.${String(process.pid)}`;
  symlinkSync(target, draft);
  renameSync(draft, link);
}

/** See {@link Toolchain.environment}. */
function engineEnvironment(
  programs: ReadonlyMap<string, string>,
  home: string,
  extra: Readonly<Record<string, string>>,
  stack: string,
): Record<string, string> {
  const own = Object.entries(process.env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const host = programs.get(languageHost.binary);
  const path = [join(projectRoot, "node_modules", ".bin"), ...(host ? [dirname(host)] : []), process.env.PATH ?? ""];
  return {
    ...(stack === "dev" ? labEnvironment() : {}),
    ...Object.fromEntries(own),
    ...SILENT,
    PULUMI_HOME: home,
    PATH: path.join(":"),
    ...(existsSync(node24) ? { EVERGREEN_NODE: node24 } : {}),
    ...extra,
  };
}
