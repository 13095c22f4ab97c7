import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SILENT } from "./cli.ts";
import { Growth } from "./growth.ts";
import type { Plugin } from "./pins.ts";
import { pluginDirectory, swap } from "./plugins.ts";
import { Progress } from "./progress.ts";
import { run } from "./run.ts";

/** A download without progress for this long has stalled, in milliseconds. There is no other limit: it may be slow. */
const STALL_MS = 60_000;

/** How long the lab does not retry after a failed installation, in milliseconds. A requested set-up always retries. */
const REMEMBER_MS = 24 * 3600 * 1000;

/** Output of the CLI which shows that the release host is unreachable. The CLI itself would continue to retry. */
const OUT_OF_REACH =
  /no such host|connection refused|network is unreachable|no route to host|x509: |\b(?:403|404) (?:HTTP|Forbidden|Not Found)/i;

/** Prefix of the temporary directories of installation attempts. */
export const TRY = "try-";

interface Outcome {
  at: string;
  why: string;
}

function outcomeFile(cache: string, plugin: Plugin): string {
  return join(cache, "official", `${plugin.name}-${plugin.version}.json`);
}

/** Why the official installation failed less than a day ago; undefined when there is no such failure. */
export function recentFailure(cache: string, plugin: Plugin): Outcome | undefined {
  const file = outcomeFile(cache, plugin);
  if (!existsSync(file)) return undefined;
  const outcome = JSON.parse(readFileSync(file, "utf8")) as Outcome;
  return Date.now() - Date.parse(outcome.at) < REMEMBER_MS ? outcome : undefined;
}

/** Arguments of the Pulumi CLI that install a plugin. */
export function installArguments({ name, version, server }: Plugin): string[] {
  return ["plugin", "install", "resource", name, version, ...(server === undefined ? [] : ["--server", server])];
}

/**
 * Installs the official plugin with the Pulumi CLI. It is first installed into a temporary home, so that a stand-in
 * stays in place until the official plugin is complete. The reason of a failure is recorded.
 * @returns whether it is installed now
 */
export async function installOfficial(
  cache: string,
  cli: string,
  plugin: Plugin,
  quiet: boolean,
  stallMs = STALL_MS,
): Promise<boolean> {
  const progress = new Progress(`installing the plugin ${plugin.name} ${plugin.version}`, quiet);
  mkdirSync(cache, { recursive: true });
  const home = mkdtempSync(join(cache, TRY));
  try {
    const why = await download(cli, plugin, home, progress, stallMs);
    if (why === undefined) {
      swap(madeIn(home, plugin), pluginDirectory(cache, plugin));
      rmSync(outcomeFile(cache, plugin), { force: true });
    } else remember(cache, plugin, why);
    progress.done(why === undefined ? "done" : `it is not to be had: ${why}`);
    return why === undefined;
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

/** @returns why it failed; undefined when the plugin is in `home` */
async function download(
  cli: string,
  plugin: Plugin,
  home: string,
  progress: Progress,
  stallMs: number,
): Promise<string | undefined> {
  const stop = new AbortController();
  let reason = "";
  const giveUp = (why: string): void => {
    reason ||= why;
    stop.abort();
  };
  // Pulumi downloads into the directory for temporary files, and then unpacks into its home.
  using growth = new Growth(home, stallMs, {
    grown: (bytes) => (progress.now = `${(bytes / 1e6).toFixed(1)} MB`),
    stalled: () => giveUp(`nothing came for ${stallMs / 1000} s`),
  });
  const { code, stdout, stderr } = await run(cli, [...installArguments(plugin), "--non-interactive"], {
    env: { ...process.env, ...SILENT, PULUMI_HOME: home, TMPDIR: home },
    signal: stop.signal,
    onLine: (line) => {
      growth.heard();
      if (OUT_OF_REACH.test(line)) giveUp(line.trim());
    },
  });
  if (code === 0 && existsSync(madeIn(home, plugin))) return undefined;
  return reason || lastWords(stderr || stdout) || "the Pulumi CLI does not say why";
}

function madeIn(home: string, plugin: Plugin): string {
  return join(home, "plugins", `resource-${plugin.name}-v${plugin.version}`);
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
