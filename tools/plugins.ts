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
import { node24, projectRoot, pulumiHome } from "./paths.ts";
import type { Plugin } from "./pins.ts";
import { STAND_IN } from "./standins.ts";

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
export function swap(made: string, place: string): void {
  mkdirSync(dirname(place), { recursive: true });
  const old = `${place}.${process.pid}.old${HALF}`;
  if (existsSync(place)) renameSync(place, old);
  renameSync(made, place);
  rmSync(old, { recursive: true, force: true });
}
