import { readFileSync, realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { allOnPath, compareVersions, which } from "./go.ts";
import { OLDEST_PULUMI } from "./pins.ts";
import { run } from "./run.ts";

/** A Pulumi CLI that the machine already has. */
export interface InstalledPulumi {
  path: string;
  version: string;
  /** The program that starts Node programs, installed with it; undefined when it is missing. */
  languageHost: string | undefined;
}

/** The first Pulumi CLI on PATH that is new enough, and neither our launcher nor something that we built. */
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

/** What keeps a CLI from asking the Internet for news. */
export const SILENT = { PULUMI_SKIP_UPDATE_CHECK: "true", PULUMI_SUPPRESS_NEO_LINK: "true" } as const;

/** This checkout's launcher, or another checkout's: both would start themselves for ever. */
function isLauncher(file: string): boolean {
  return file.endsWith(".mjs") && readFileSync(file, "utf8").includes("./launch.mjs");
}
