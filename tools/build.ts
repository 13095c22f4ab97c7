import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../src/runtime/errors.ts";
import { goEnvironment, type Go } from "./go.ts";
import { projectRoot } from "../src/runtime/project.ts";
import { BUILD_ENVIRONMENT, BUILD_FLAGS, type GoTool } from "./pins.ts";
import { Progress } from "./progress.ts";
import { run } from "./run.ts";

/** The record of a finished build, stored beside the program for `doctor`. */
export interface BuildRecord {
  go: string;
  seconds: number;
  at: string;
}

function linkerFlags(tool: GoTool): string {
  return ["-s", "-w", ...Object.entries(tool.variables).map(([name, value]) => `-X ${name}=${value}`)].join(" ");
}

/** The directory of a tool's build, keyed by its sources, pins and build settings. */
export function directoryOf(tool: GoTool, go: Go, cache: string, root = projectRoot): string {
  const hash = createHash("sha256");
  const module = join(root, tool.module);
  const sources = readdirSync(module, { recursive: true, encoding: "utf8" })
    .filter((file) => /(?:^|\/)go\.(?:mod|sum)$|\.go$/.test(file))
    .sort();
  for (const file of sources) hash.update(`${file}\n`).update(readFileSync(join(module, file)));
  const settings = [BUILD_FLAGS, BUILD_ENVIRONMENT, go.version, process.platform, process.arch];
  hash.update(JSON.stringify([tool.package, linkerFlags(tool), tool.launcher, ...settings]));
  return join(cache, "tools", `${tool.name}-${tool.version}-${hash.digest("hex").slice(0, 12)}`);
}

/** Whether `directory` holds a finished build. It was renamed into place as a whole, so it is complete. */
export function isBuilt(tool: GoTool, directory: string): boolean {
  return existsSync(join(directory, tool.binary));
}

/**
 * Builds a tool in a temporary directory and renames that to `directory` at the end, so that an interrupted build
 * leaves no incomplete program.
 * @throws UserError when a module cannot be fetched, the disk is full, or the sources do not compile
 */
export async function build(tool: GoTool, go: Go, directory: string, quiet = false, root = projectRoot): Promise<void> {
  const half = `${directory}.${process.pid}${HALF}`;
  const progress = new Progress(`building ${tool.name} ${tool.version}`, quiet);
  const started = performance.now();
  let result = "failed";
  try {
    mkdirSync(half, { recursive: true });
    await compile(tool, go, half, directory, progress, root);
    const seconds = Math.round((performance.now() - started) / 1000);
    const record: BuildRecord = { go: go.version, seconds, at: new Date().toISOString() };
    writeFileSync(join(half, "build.json"), JSON.stringify(record));
    rmSync(directory, { recursive: true, force: true });
    renameSync(half, directory);
    result = "done";
  } catch (error) {
    throw isFull(String(error)) && !(error instanceof UserError) ? diskFull(directory, error) : error;
  } finally {
    rmSync(half, { recursive: true, force: true });
    progress.done(result);
  }
}

/** Suffix of a directory that is not finished, or never will be. (Pulumi itself uses `.partial`.) */
export const HALF = ".half";

async function compile(
  tool: GoTool,
  go: Go,
  half: string,
  directory: string,
  progress: Progress,
  root: string,
): Promise<void> {
  const binary = tool.launcher === undefined ? tool.binary : `${tool.binary}.bin`;
  const args = ["build", "-v", "-o", join(half, binary), "-ldflags", linkerFlags(tool), tool.package];
  const { code, stderr } = await run(go.path, args, {
    cwd: join(root, tool.module),
    env: goEnvironment(),
    onLine: (line) => (progress.now = line.replace(/^go: downloading /, "fetching ")),
  });
  if (code !== 0) throw failedBuild(tool, stderr);
  if (tool.launcher === undefined) return;
  const lines = `#!/bin/sh\nPROGRAM="${join(directory, binary)}"\n${tool.launcher}\n`;
  writeFileSync(join(half, tool.binary), lines, { mode: 0o755 });
}

const NO_NETWORK =
  /no such host|dial tcp|connection re(?:fused|set)|i\/o timeout|network is unreachable|TLS handshake|proxyconnect|unexpected EOF|deadline exceeded|reading https?:\/\/\S+: [45]\d\d |module lookup disabled/i;

function isFull(text: string): boolean {
  return /no space left on device|ENOSPC|disk quota exceeded|EDQUOT/i.test(text);
}

function diskFull(where: string, cause: unknown): UserError {
  const todo = "make room for 6 GB under the caches of Go (`go clean -cache` helps) and of Evergreen, then run again";
  return new UserError({ what: "the disk is full", where, todo }, { cause });
}

/** The error of a failed build, from Go's output. */
export function failedBuild(tool: GoTool, stderr: string): UserError {
  // With -v Go prints each package that it compiles on its own line.
  const lines = stderr.split("\n").filter((line) => line.trim() !== "" && !/^go: downloading |^[\w.~/-]+$/.test(line));
  const where = `${tool.module}: ${lines.slice(-3).join("; ") || "go build said nothing"}`;
  if (isFull(stderr)) return diskFull(where, stderr);
  if (NO_NETWORK.test(stderr)) {
    return new UserError({
      what: `a Go module of ${tool.name} cannot be fetched`,
      where,
      todo: "check the network and GOPROXY (`go env GOPROXY`), then run again: what was fetched is kept",
    });
  }
  return new UserError({
    what: `${tool.name} ${tool.version} cannot be built`,
    where,
    todo: "run again; if it stays, the pins in tools/ and this Go do not fit together: report it with these lines",
  });
}
