import { homedir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import { ownNode } from "./own-node.mjs";

/** The project's own Node 24, from npm. */
export const node24 = ownNode;

/** The cache's directory: `EVERGREEN_CACHE`, else `evergreen` under `XDG_CACHE_HOME`, else under `~/.cache`. */
export function cacheRoot(env: NodeJS.ProcessEnv = process.env): string {
  if (env.EVERGREEN_CACHE) return resolve(env.EVERGREEN_CACHE);
  const xdg = env.XDG_CACHE_HOME;
  // The XDG specification requires that a relative path is ignored.
  return join(xdg && isAbsolute(xdg) ? xdg : join(homedir(), ".cache"), "evergreen");
}

/** The only PULUMI_HOME that Evergreen writes to. Never `~/.pulumi`. */
export function pulumiHome(cache: string): string {
  return join(cache, "pulumi-home");
}
