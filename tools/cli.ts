import { readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { allOnPath, compareVersions, which } from "./go.ts";
import { OLDEST_PULUMI } from "./pins.ts";
import { run } from "./run.ts";

/** A Pulumi CLI that is installed on the machine. */
export interface InstalledPulumi {
  path: string;
  version: string;
  /** The Node.js language host that is installed with it; undefined when it is missing. */
  languageHost: string | undefined;
}

/** The first Pulumi CLI on PATH that is new enough, and is neither Evergreen's launcher nor built by Evergreen. */
export async function installedPulumi(
  cache: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<InstalledPulumi | undefined> {
  for (const path of allOnPath("pulumi", env)) {
    const file = realpathSync(path);
    if (isLauncher(file) || file.startsWith(join(cache, "/"))) continue;
    const { code, stdout } = await run(path, ["version"], { env: { ...env, ...SILENT }, timeout: 20_000 });
    const version = /^v?(\d+\.\d+\.\d+)/.exec(stdout.trim())?.[1];
    if (code !== 0 || version === undefined || compareVersions(version, OLDEST_PULUMI) < 0) continue;
    const beside = allOnPath("pulumi-language-nodejs", { PATH: dirname(file) })[0];
    return { path, version, languageHost: beside ?? which("pulumi-language-nodejs", env) };
  }
  return undefined;
}

/** Variables that keep a CLI from requesting update information from the Internet. */
export const SILENT = { PULUMI_SKIP_UPDATE_CHECK: "true", PULUMI_SUPPRESS_NEO_LINK: "true" } as const;

/** True for the launcher of this or another checkout: it would start itself without end. */
function isLauncher(file: string): boolean {
  return file.endsWith(".mjs") && readFileSync(file, "utf8").includes("./launch.mjs");
}
