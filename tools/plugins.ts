import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
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
import { putLink } from "./link.ts";
import { projectRoot } from "../src/runtime/project.ts";
import { node24, pulumiHome } from "./paths.ts";
import type { Plugin } from "./pins.ts";
import { STAND_IN } from "../src/runtime/stand-ins.ts";

/** The directory from which the engine loads a plugin. */
export function pluginDirectory(cache: string, plugin: Plugin): string {
  return join(pulumiHome(cache), "plugins", `resource-${plugin.name}-v${plugin.version}`);
}

/** Which kind of the plugin is installed now. */
export function pluginState(cache: string, plugin: Plugin): "official" | "stand-in" | "missing" {
  const directory = pluginDirectory(cache, plugin);
  if (!existsSync(join(directory, `pulumi-resource-${plugin.name}`))) return "missing";
  return existsSync(join(directory, STAND_IN)) ? "stand-in" : "official";
}

/** Installs a program as a plugin, marked as a stand-in. */
export function installStandIn(cache: string, plugin: Plugin, program: string): void {
  const directory = pluginDirectory(cache, plugin);
  const binary = `pulumi-resource-${plugin.name}`;
  // An engine may be starting the present stand-in, so the link is replaced atomically.
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

/** Whether the installed stand-in is this program. */
export function isStandIn(cache: string, plugin: Plugin, program: string): boolean {
  if (pluginState(cache, plugin) !== "stand-in") return false;
  return readlinkSync(join(pluginDirectory(cache, plugin), `pulumi-resource-${plugin.name}`)) === program;
}

/** A program that is generated from a bundle. */
export interface Made {
  path: string;
  /** Generates it, if it does not exist yet. The caller must hold the lock of the cache. */
  make: () => void;
}

/**
 * The stand-in for `command`, keyed by its content like everything else in the cache. It does not depend on a checkout,
 * which can be removed.
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

/** A script that runs the bundle with the Node of the running checkout, else of the installing one, else from PATH. */
function wrapper(bundle: string): string {
  return `#!/bin/sh
node="\${EVERGREEN_NODE:-${node24}}"
[ -x "$node" ] || node=node
exec "$node" "${bundle}" "$@"
`;
}

/** Renames `made` to `place` and removes what was there. */
export function swap(made: string, place: string): void {
  mkdirSync(dirname(place), { recursive: true });
  const old = `${place}.${process.pid}.old${HALF}`;
  if (existsSync(place)) renameSync(place, old);
  renameSync(made, place);
  rmSync(old, { recursive: true, force: true });
}
