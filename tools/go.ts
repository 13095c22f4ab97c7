import { createHash } from "node:crypto";
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { delimiter, join, relative } from "node:path";
import { UserError } from "../common/errors.ts";
import { projectRoot } from "./paths.ts";
import { BUILD_ENVIRONMENT, BUILD_FLAGS, type GoTool } from "./pins.ts";
import { Progress } from "./progress.ts";
import { run } from "./run.ts";

/** The Go tool chain of the machine. */
export interface Go {
  path: string;
  /** As `1.26.8`. */
  version: string;
}

/** The oldest Go that builds every pinned module. */
export const OLDEST_GO = "1.26.0";

/** Of a finished build, beside the program: for `doctor`. */
export interface BuildRecord {
  go: string;
  seconds: number;
  at: string;
}

/** The Go on PATH. @throws UserError when there is none, or an older one than {@link OLDEST_GO} */
export async function findGo(env: NodeJS.ProcessEnv = process.env): Promise<Go> {
  const path = which("go", env);
  if (!path) {
    throw new UserError({
      what: "Go is missing: tools are built from their sources with it",
      where: "no program `go` on PATH",
      todo: `install Go ${OLDEST_GO} or newer, then run again`,
    });
  }
  const { code, stdout, stderr } = await run(path, ["env", "GOVERSION"], { env: goEnvironment(env), timeout: 20_000 });
  const version = /^go(\d+\.\d+(?:\.\d+)?)/.exec(stdout)?.[1];
  if (code !== 0 || version === undefined) {
    throw new UserError({
      what: "Go does not say its version",
      where: `${path} env GOVERSION: ${(stderr || stdout).trim()}`,
      todo: `mend or replace this Go by ${OLDEST_GO} or newer, then run again`,
    });
  }
  if (compareVersions(version, OLDEST_GO) < 0) {
    throw new UserError({
      what: `Go ${version} is too old, ${OLDEST_GO} is the oldest that builds the pinned tools`,
      where: path,
      todo: `install Go ${OLDEST_GO} or newer and put it first on PATH, then run again`,
    });
  }
  return { path, version };
}

/** The first program of that name on PATH. */
export function which(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  return allOnPath(name, env)[0];
}

/** Every program of that name on PATH, in order. */
export function allOnPath(name: string, env: NodeJS.ProcessEnv = process.env): string[] {
  return (env.PATH ?? "")
    .split(delimiter)
    .filter((directory) => directory !== "")
    .map((directory) => join(directory, name))
    .filter((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** Negative: a is older than b. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number));
  for (let i = 0; i < 3; i++) {
    const difference = (left?.[i] ?? 0) - (right?.[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The user's own settings (proxy, sums, caches), and what makes a build the same everywhere. */
export function goEnvironment(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return { ...env, ...BUILD_ENVIRONMENT, GOFLAGS: BUILD_FLAGS.join(" ") };
}

function linkerFlags(tool: GoTool): string {
  return ["-s", "-w", ...Object.entries(tool.variables).map(([name, value]) => `-X ${name}=${value}`)].join(" ");
}

/** Where a build of exactly these pins belongs. */
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

/** Whether a finished build stands in `directory`. It was renamed into place as a whole, so it is all there. */
export function isBuilt(tool: GoTool, directory: string): boolean {
  return existsSync(join(directory, tool.binary));
}

/**
 * Builds a tool beside its place and renames it there when it is done: an interrupted build leaves no half-made program.
 * @throws UserError when a module cannot be fetched, the disk is full, or the sources do not compile
 */
export async function build(tool: GoTool, go: Go, directory: string, quiet = false, root = projectRoot): Promise<void> {
  const half = `${directory}.${process.pid}.partial`;
  const progress = new Progress(`building ${tool.name} ${tool.version}`, quiet);
  const started = performance.now();
  let done = false;
  try {
    mkdirSync(half, { recursive: true });
    const binary = tool.launcher === undefined ? tool.binary : `${tool.binary}.bin`;
    const args = ["build", "-v", "-o", join(half, binary), "-ldflags", linkerFlags(tool), tool.package];
    const onLine = (line: string) => (progress.now = line.replace(/^go: downloading /, "fetching "));
    const cwd = join(root, tool.module);
    const { code, stderr } = await run(go.path, args, { cwd, env: goEnvironment(), onLine });
    if (code !== 0) throw failedBuild(tool, stderr, root);
    if (tool.launcher !== undefined) {
      const lines = `#!/bin/sh\nPROGRAM="${join(directory, binary)}"\n${tool.launcher}\n`;
      writeFileSync(join(half, tool.binary), lines, { mode: 0o755 });
    }
    const seconds = Math.round((performance.now() - started) / 1000);
    const record: BuildRecord = { go: go.version, seconds, at: new Date().toISOString() };
    writeFileSync(join(half, "build.json"), JSON.stringify(record));
    rmSync(directory, { recursive: true, force: true });
    renameSync(half, directory);
    done = true;
  } catch (error) {
    throw isFull(String(error)) ? diskFull(directory, error) : error;
  } finally {
    rmSync(half, { recursive: true, force: true });
    progress.done(done ? "done" : "failed");
  }
}

const NO_NETWORK =
  /no such host|dial tcp|connection re(?:fused|set)|i\/o timeout|network is unreachable|TLS handshake|proxyconnect|unexpected EOF|context deadline exceeded|50[0-9] /i;

function isFull(text: string): boolean {
  return /no space left on device|ENOSPC|disk quota exceeded|EDQUOT/i.test(text);
}

function diskFull(where: string, cause: unknown): UserError {
  return new UserError(
    {
      what: "the disk is full",
      where,
      todo: "a cold set-up takes about 6 GB under the caches of Go and of Evergreen: make room (`go clean -cache` helps), then run again",
    },
    { cause },
  );
}

/** What went wrong in a build, from what Go printed. */
export function failedBuild(tool: GoTool, stderr: string, root = projectRoot): UserError {
  const lines = stderr.split("\n").filter((line) => line.trim() !== "" && !/^go: downloading |^[\w./-]+$/.test(line));
  const where = `${relative(root, join(root, tool.module))}: ${lines.slice(-3).join("; ") || "go build said nothing"}`;
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
