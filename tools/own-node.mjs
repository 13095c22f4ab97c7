// Plain JavaScript that Node 18 understands: it is what finds the newer Node.
import { existsSync, mkdirSync, rmSync, symlinkSync } from "node:fs";
import nodeModule from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const modules = resolve(dirname(fileURLToPath(import.meta.url)), "..", "node_modules");

/** The oldest major version of Node that runs TypeScript as it stands. */
export const OLDEST_NODE = 24;

/** The program of the npm package for this machine. */
const packaged = join(modules, `node-${process.platform}-${process.arch}`, "bin", "node");

/** Where everything looks for it. */
export const ownNode = join(modules, ".bin", "node");

/** Whether this process runs on a Node that is new enough. */
export function isNewEnough() {
  return Number(process.versions.node.split(".", 1)[0]) >= OLDEST_NODE;
}

/**
 * Has Node keep what it compiles, which is half of what a start costs, and use it the next time; `npm ci` clears it. Where
 * nothing can be written, nothing is kept.
 */
export function keepCompiled() {
  nodeModule.enableCompileCache(join(modules, ".cache", "node-compile"));
}

/**
 * npm 10 installs the package and leaves the link out. Where there is no package for the machine, the Node that runs will
 * do when it is new enough.
 */
export function linkOwnNode() {
  const target = existsSync(packaged) ? relative(dirname(ownNode), packaged) : isNewEnough() && process.execPath;
  if (existsSync(ownNode) || !target) return;
  mkdirSync(dirname(ownNode), { recursive: true });
  rmSync(ownNode, { force: true });
  try {
    symlinkSync(target, ownNode);
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
  }
}
