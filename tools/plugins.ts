import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { HALF } from "./build.ts";
import { bundles } from "./bundle.mjs";
import { SILENT } from "./cli.ts";
import { putLink } from "./link.ts";
import { node24, projectRoot, pulumiHome } from "./paths.ts";
import type { Plugin } from "./pins.ts";
import { Progress } from "./progress.ts";
import { run } from "./run.ts";
import { STAND_IN } from "./standins.ts";

/** Time that the official installation gets, in milliseconds. */
const INSTALL_MS = 30_000;

/** A failed installation is tried again after a day: release downloads may have come into reach. */
const REMEMBER_MS = 24 * 3600 * 1000;

/** What the CLI prints as soon as it knows that it will not reach the release host. It would go on trying. */
const OUT_OF_REACH =
  /no such host|connection refused|network is unreachable|no route to host|x509: |\b(?:403|404|50[234]) (?:HTTP|Forbidden|Not Found|Bad|Service|Gateway)/i;

/** Where the engine looks for a plugin. */
export function pluginDirectory(cache: string, plugin: Plugin): string {
  return join(pulumiHome(cache), "plugins", `resource-${plugin.name}-v${plugin.version}`);
}

/** Of a plugin as it is installed now. */
export function pluginState(cache: string, plugin: Plugin): "official" | "stand-in" | "missing" {
  const directory = pluginDirectory(cache, plugin);
  if (!existsSync(join(directory, `pulumi-resource-${plugin.name}`))) return "missing";
  return existsSync(join(directory, STAND_IN)) ? "stand-in" : "official";
}

/** How the directories of installations that are tried begin. */
export const TRY = "try-";

interface Outcome {
  at: string;
  why: string;
}

function outcomeFile(cache: string, plugin: Plugin): string {
  return join(cache, "official", `${plugin.name}-${plugin.version}.json`);
}

/** Why the official installation failed less than a day ago; undefined when it has not been tried since. */
export function recentFailure(cache: string, plugin: Plugin): Outcome | undefined {
  const file = outcomeFile(cache, plugin);
  if (!existsSync(file)) return undefined;
  const outcome = JSON.parse(readFileSync(file, "utf8")) as Outcome;
  return Date.now() - Date.parse(outcome.at) < REMEMBER_MS ? outcome : undefined;
}

/**
 * Installs the official plugin with the Pulumi CLI. Into a home of its own first, so that a stand-in stays in place until
 * there is something better.
 * @returns whether it is installed now
 */
export async function installOfficial(cache: string, cli: string, plugin: Plugin, quiet: boolean): Promise<boolean> {
  const progress = new Progress(`installing the plugin ${plugin.name} ${plugin.version}`, quiet);
  mkdirSync(cache, { recursive: true });
  const home = mkdtempSync(join(cache, TRY));
  try {
    const stop = new AbortController();
    let reason = "";
    const args = ["plugin", "install", "resource", plugin.name, plugin.version, "--non-interactive"];
    if (plugin.server) args.push("--server", plugin.server);
    const { code, stdout, stderr } = await run(cli, args, {
      env: { ...process.env, ...SILENT, PULUMI_HOME: home },
      timeout: INSTALL_MS,
      signal: stop.signal,
      onLine: (line) => {
        if (!OUT_OF_REACH.test(line)) return;
        reason ||= line.trim();
        stop.abort();
      },
    });
    const made = join(home, "plugins", `resource-${plugin.name}-v${plugin.version}`);
    if (code === 0 && existsSync(made)) {
      swap(made, pluginDirectory(cache, plugin));
      rmSync(outcomeFile(cache, plugin), { force: true });
      progress.done("done");
      return true;
    }
    const why = reason || lastWords(stderr || stdout) || `no answer within ${INSTALL_MS / 1000} s`;
    remember(cache, plugin, why);
    progress.done(`its release download is out of reach, a stand-in takes its place`);
    return false;
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

function remember(cache: string, plugin: Plugin, why: string): void {
  mkdirSync(join(cache, "official"), { recursive: true });
  writeFileSync(outcomeFile(cache, plugin), JSON.stringify({ at: new Date().toISOString(), why } satisfies Outcome));
}

function lastWords(text: string): string {
  return (
    text
      .split("\n")
      .filter((line) => line.trim() !== "" && !/aborted/i.test(line))
      .at(-1)
      ?.trim() ?? ""
  );
}

/** Puts a program where the engine looks for the plugin, marked as a stand-in. */
export function installStandIn(cache: string, plugin: Plugin, program: string): void {
  const directory = pluginDirectory(cache, plugin);
  const binary = `pulumi-resource-${plugin.name}`;
  // An engine may be starting the one that is in place.
  if (pluginState(cache, plugin) === "stand-in") {
    putLink(join(directory, binary), program);
    return;
  }
  const half = `${directory}.${process.pid}${HALF}`;
  rmSync(half, { recursive: true, force: true });
  mkdirSync(half, { recursive: true });
  symlinkSync(program, join(half, binary));
  writeFileSync(join(half, STAND_IN), `stands in for the official plugin ${plugin.name} ${plugin.version}\n`);
  swap(half, directory);
}

/** Whether the stand-in that is in place is this program. */
export function isStandIn(cache: string, plugin: Plugin, program: string): boolean {
  if (pluginState(cache, plugin) !== "stand-in") return false;
  return readlinkSync(join(pluginDirectory(cache, plugin), `pulumi-resource-${plugin.name}`)) === program;
}

/** A program that is made from a bundle. */
export interface Made {
  path: string;
  /** Makes it, or does nothing when it is there. Only while the lock of the cache is held. */
  make: () => void;
}

/**
 * The stand-in for `command`, keyed by its content as everything else in the cache: a checkout that is removed takes
 * nothing with it.
 */
export function commandStandIn(cache: string, plugin: Plugin): Made {
  const bundle = readFileSync(join(projectRoot, bundles.commandPlugin.out));
  const hash = createHash("sha256").update(bundle).update(wrapper("")).digest("hex").slice(0, 12);
  const directory = join(cache, "tools", `command-${plugin.version}-${hash}`);
  const path = join(directory, `pulumi-resource-${plugin.name}`);
  const make = () => {
    if (existsSync(path)) return;
    const half = `${directory}.${process.pid}${HALF}`;
    mkdirSync(half, { recursive: true });
    writeFileSync(join(half, "command-plugin.mjs"), bundle);
    const lines = wrapper(join(directory, "command-plugin.mjs"));
    writeFileSync(join(half, basename(path)), lines, { mode: 0o755 });
    swap(half, directory);
  };
  return { path, make };
}

/** The Node of the checkout that runs, else of the one that installed, else the one on PATH. */
function wrapper(bundle: string): string {
  return `#!/bin/sh
node="\${EVERGREEN_NODE:-${node24}}"
[ -x "$node" ] || node=node
exec "$node" "${bundle}" "$@"
`;
}

/** Renames `made` to `place`; what stood there goes. */
function swap(made: string, place: string): void {
  mkdirSync(dirname(place), { recursive: true });
  const old = `${place}.${process.pid}.old${HALF}`;
  if (existsSync(place)) renameSync(place, old);
  renameSync(made, place);
  rmSync(old, { recursive: true, force: true });
}
