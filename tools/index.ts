import { dirname, join } from "node:path";
import { messageOf, UserError } from "../src/runtime/errors.ts";
import { bundle } from "./bundle.mjs";
import { installedPulumi } from "./cli.ts";
import { engineEnvironment, labStack } from "./environment.ts";
import { findGo, type Go } from "./go.ts";
import { putLink } from "./link.ts";
import { linkOwnNode } from "./own-node.mjs";
import { cacheRoot, pulumiHome } from "./paths.ts";
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
import { installArguments, installOfficial, recentFailure } from "./official.ts";
import { commandStandIn, installStandIn, isStandIn, pluginState } from "./plugins.ts";
import { Store } from "./store.ts";

/** Options of the tool chain's set-up. */
export interface Options {
  /** Prints nothing unless there is a problem or a long wait. Default: false. */
  quiet?: boolean;
  /** The parts that are needed. Default: all parts. */
  parts?: readonly Part[];
  /** The stack that uses the tools. Only the lab's gets stand-ins for the official plugins. Default: the lab's. */
  stack?: string;
  /** Whether the engine needs its plugins. Default: true. */
  plugins?: boolean;
  /** The user requested the set-up: official plugins are tried again, even after a recent failure. Default: false. */
  official?: boolean;
}

/** The tool chain: all programs that Evergreen runs, ready to be started. */
export interface Toolchain {
  /** Path of a program by file name: `pulumi`, `etcd`, `kube-apiserver`, ... @throws Error when it was not requested */
  bin(name: string): string;
  /** Evergreen's own PULUMI_HOME. */
  readonly pulumiHome: string;
  /** Path of the Pulumi CLI. */
  readonly pulumi: string;
  /**
   * The environment of the engine's processes.
   * @param extra variables that override all others
   * @param stack the stack that they work on: for `dev` the lab's variables are added where the user has not set them.
   *   Default: `dev`
   */
  environment(extra?: Readonly<Record<string, string>>, stack?: string): Record<string, string>;
}

/**
 * Makes sure that every tool exists and resolves to their paths. This is quick when all exist; otherwise it builds or
 * fetches what is missing, with progress on standard error. Processes that do so at the same time wait for each other.
 * @throws UserError when something is missing that the user has to install
 */
export async function toolchain(options: Options = {}): Promise<Toolchain> {
  linkOwnNode();
  await bundle();
  const setup = new Setup(options);
  await setup.run().catch((error: unknown) => {
    throw unwritable(error) ?? error;
  });
  return setup.result();
}

/** The error for the user when the cache cannot be written; undefined for any other error. */
function unwritable(error: unknown): UserError | undefined {
  const { code, path = cacheRoot() } = error as NodeJS.ErrnoException;
  if (!["EACCES", "EPERM", "EROFS", "ENOTDIR", "EEXIST", "ENOSPC", "EDQUOT"].includes(code ?? "")) return undefined;
  return new UserError(
    {
      what: code === "ENOSPC" || code === "EDQUOT" ? "the disk is full" : "the cache cannot be written",
      where: `${path}: ${messageOf(error)}`,
      todo: "mend that, or set EVERGREEN_CACHE to a directory with 6 GB of room, then run again",
    },
    { cause: error },
  );
}

/** The error for a real site whose official plugin cannot be installed: it gets no stand-in. */
function unavailable(cache: string, plugin: Plugin, stack: string): UserError {
  const command = ["pulumi", ...installArguments(plugin)].join(" ");
  return new UserError({
    what: `the official plugin ${plugin.name} ${plugin.version} cannot be installed: ${recentFailure(cache, plugin)?.why ?? "it is not there"}`,
    where: `${command}; needed for the stack ${stack}, for which nothing stands in`,
    todo: `run \`npx evergreen setup --stack ${stack}\` where Pulumi's release downloads can be reached (HTTPS_PROXY counts), or bring the release's archive: PULUMI_HOME=${pulumiHome(cache)} ${command} --file ARCHIVE`,
  });
}

class Setup {
  private readonly store: Store;
  private readonly programs = new Map<string, string>();
  private readonly options: Required<Options>;
  /** Directories that the engine needs on PATH. */
  private readonly path: string[] = [];
  private go: Promise<Go> | undefined;

  constructor({
    quiet = false,
    parts = ["engine", "lab"],
    stack = labStack,
    plugins = true,
    official = false,
  }: Options) {
    this.options = { quiet, parts, stack, plugins, official };
    this.store = new Store(cacheRoot(), quiet);
  }

  async run(): Promise<void> {
    const { parts, official } = this.options;
    if (parts.includes("engine")) await this.engine();
    if (parts.includes("lab")) for (const tool of labTools) await this.tool(tool);
    if (official) await this.store.prune(this.programs.values());
  }

  result(): Toolchain {
    const programs = this.programs;
    const bin = (name: string): string => {
      const path = programs.get(name);
      if (path !== undefined) return path;
      throw new Error(`${name} is not part of this toolchain: ${[...programs.keys()].join(", ")}`);
    };
    const home = pulumiHome(this.store.root);
    return {
      bin,
      pulumiHome: home,
      get pulumi() {
        return bin(pulumi.binary);
      },
      environment: (extra = {}, stack = "dev") => engineEnvironment({ home, path: this.path, extra, stack }),
    };
  }

  private async engine(): Promise<void> {
    const installed = await installedPulumi(this.store.root);
    const cli = installed?.path ?? (await this.tool(pulumi));
    const host = installed?.languageHost ?? (await this.tool(languageHost));
    // The engine expects the language host in its own directory, and warns when it finds it on PATH. Nothing is added
    // to the directory of an engine that the user has installed.
    if (!installed) putLink(join(dirname(cli), languageHost.binary), host);
    else if (!installed.languageHost) this.path.push(dirname(host));
    this.programs.set(pulumi.binary, cli).set(languageHost.binary, host);
    if (this.options.plugins) for (const plugin of plugins) await this.plugin(plugin, cli);
  }

  /** Finds a tool in the cache, or builds it there. */
  private async tool(tool: GoTool): Promise<string> {
    this.go ??= findGo();
    const program = await this.store.program(tool, await this.go);
    this.programs.set(tool.binary, program);
    return program;
  }

  /** Installs a plugin: the official one, or for the lab a stand-in when that cannot be installed. */
  private async plugin(plugin: Plugin, cli: string): Promise<void> {
    const { root } = this.store;
    const { official, quiet, stack } = this.options;
    const isThere = () => pluginState(root, plugin) === "official";
    // The lab does not need the official plugin, so it does not wait again for an installation that failed recently.
    const isLeftOut = () =>
      stack === labStack &&
      !official &&
      (pluginState(root, plugin) === "stand-in" || recentFailure(root, plugin) !== undefined);
    if (!isThere() && !isLeftOut()) {
      await this.store.exclusive(`installs the plugin ${plugin.name}`, async () => {
        // The previous holder of the lock may have installed it, or may have failed.
        if (!isThere() && !isLeftOut()) await installOfficial(root, cli, plugin, quiet);
      });
    }
    if (isThere()) return;
    if (stack !== labStack) throw unavailable(root, plugin, stack);
    await this.standIn(plugin);
  }

  private async standIn(plugin: Plugin): Promise<void> {
    const { root } = this.store;
    const made = plugin.name === "command" ? commandStandIn(root, plugin) : undefined;
    const program = made?.path ?? (await this.tool(proxmoxStandIn));
    this.programs.set(`pulumi-resource-${plugin.name}`, program);
    if (isStandIn(root, plugin, program)) return;
    await this.store.exclusive(`installs the stand-in for ${plugin.name}`, () => {
      made?.make();
      installStandIn(root, plugin, program);
      return Promise.resolve();
    });
  }
}
