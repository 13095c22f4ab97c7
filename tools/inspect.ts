import { existsSync, readFileSync, statfsSync } from "node:fs";
import { join } from "node:path";
import { messageOf, UserError } from "../src/runtime/errors.ts";
import { bundles } from "./bundle.mjs";
import { installedPulumi } from "./cli.ts";
import { labStack } from "./environment.ts";
import { directoryOf, isBuilt, type BuildRecord } from "./build.ts";
import { findGo, which, type Go } from "./go.ts";
import { projectRoot } from "../src/runtime/project.ts";
import { cacheRoot, node24 } from "./paths.ts";
import { labTools, languageHost, plugins, pulumi, type GoTool, type Plugin } from "./pins.ts";
import { recentFailure } from "./official.ts";
import { pluginDirectory, pluginState } from "./plugins.ts";
import { run } from "./run.ts";

/** The state of one tool or resource on this machine. */
export interface Finding {
  name: string;
  /** Empty when it is missing. */
  version: string;
  /** `stand-in`: sufficient for the lab. Any other stack refuses a stand-in, so for it the plugin is `missing`. */
  state: "ok" | "stand-in" | "missing";
  /** Where it came from, or why it is missing. */
  from: string;
  /** How to get it, when it is missing or a stand-in. */
  todo?: string;
}

const SETUP = "run `npx evergreen setup`";
const SETUP_FOR = "where Pulumi's release downloads can be reached, run `npx evergreen setup --stack";

/** Space that a set-up with empty caches needs in the caches of Go and of Evergreen, in bytes. */
const COLD_BYTES = 6e9;

/** Checks all tools that a stack needs and changes nothing. A real site needs Go only to build a missing Pulumi CLI. */
export async function inspect(stack = labStack, cache = cacheRoot()): Promise<Finding[]> {
  const go = await findGo().catch((error: unknown) => error as Error);
  const tools = await engine(cache, go);
  const builds = stack === labStack || tools.some(({ from }) => !from.startsWith("PATH, "));
  const findings = [await node(), ...(builds ? [goFinding(go)] : []), await git(), ...tools];
  findings.push(...plugins.map((plugin) => pluginFinding(cache, plugin, stack)));
  if (stack === labStack) findings.push(...labTools.map((tool) => built(tool, go, cache)));
  findings.push(step());
  if (findings.some(({ state }) => state === "missing")) findings.push(...disk(cache));
  return findings;
}

async function node(): Promise<Finding> {
  const name = "node";
  const { code, stdout, stderr } = await run(node24, ["--version"], { timeout: 20_000 });
  if (code === 0) return { name, version: stdout.trim().slice(1), state: "ok", from: `npm, ${node24}` };
  return { name, version: "", state: "missing", from: `${node24}: ${stderr.trim()}`, todo: "run `npm ci`" };
}

function goFinding(go: Go | Error): Finding {
  if (!(go instanceof Error)) return { name: "go", version: go.version, state: "ok", from: go.path };
  const problem = go instanceof UserError ? go.problem : { where: messageOf(go), todo: "" };
  return { name: "go", version: "", state: "missing", from: problem.where, todo: problem.todo };
}

async function git(): Promise<Finding> {
  const path = which("git");
  const name = "git";
  if (!path) return { name, version: "", state: "missing", from: "no program `git` on PATH", todo: "install git" };
  const { stdout } = await run(path, ["--version"], { timeout: 20_000 });
  return { name, version: /[\d.]+\d/.exec(stdout)?.[0] ?? "?", state: "ok", from: path };
}

async function engine(cache: string, go: Go | Error): Promise<Finding[]> {
  const installed = await installedPulumi(cache);
  const cli: Finding = installed
    ? { name: "pulumi", version: installed.version, state: "ok", from: `PATH, ${installed.path}` }
    : built(pulumi, go, cache);
  const host: Finding = installed?.languageHost
    ? { name: languageHost.name, version: installed.version, state: "ok", from: `PATH, ${installed.languageHost}` }
    : built(languageHost, go, cache);
  return [cli, host];
}

function built(tool: GoTool, go: Go | Error, cache: string): Finding {
  const { name } = tool;
  const directory = go instanceof Error ? undefined : directoryOf(tool, go, cache);
  if (directory === undefined || !isBuilt(tool, directory))
    return { name, version: "", state: "missing", from: `${tool.purpose}; not built yet`, todo: SETUP };
  const record = JSON.parse(readFileSync(join(directory, "build.json"), "utf8")) as BuildRecord;
  const from = `built from ${tool.module} by Go ${record.go} in ${record.seconds} s, ${join(directory, tool.binary)}`;
  return { name, version: tool.version, state: "ok", from };
}

function pluginFinding(cache: string, plugin: Plugin, stack: string): Finding {
  const name = `plugin ${plugin.name}`;
  const state = pluginState(cache, plugin);
  const failure = recentFailure(cache, plugin);
  const why = failure ? `; its release download was out of reach at ${failure.at}: ${failure.why}` : "";
  const real = stack !== labStack;
  const missing = { name, version: "", state: "missing", todo: real ? `${SETUP_FOR} ${stack}\`` : SETUP } as const;
  if (state === "missing") return { ...missing, from: `${plugin.purpose}${why}` };
  const directory = pluginDirectory(cache, plugin);
  if (state === "official") return { name, version: plugin.version, state: "ok", from: `official, ${directory}` };
  if (real) return { ...missing, from: `a stand-in is there, and only the lab may run on it: ${directory}${why}` };
  const todo =
    "good for the lab only: for a real site, run `npx evergreen setup` where release downloads can be reached";
  return { name, version: plugin.version, state, from: `ours, ${directory}${why}`, todo };
}

function step(): Finding {
  const name = "steps";
  const { out } = bundles.step;
  if (existsSync(join(projectRoot, out))) return { name, version: "-", state: "ok", from: out };
  return { name, version: "", state: "missing", from: `${out}; not bundled yet`, todo: SETUP };
}

function disk(cache: string): Finding[] {
  let directory = cache;
  while (!existsSync(directory)) directory = join(directory, "..");
  const { bavail, bsize } = statfsSync(directory);
  const free = bavail * bsize;
  if (free > COLD_BYTES) return [];
  const from = `${(free / 1e9).toFixed(1)} GB free at ${directory}`;
  const todo = `make room for ${COLD_BYTES / 1e9} GB, or set EVERGREEN_CACHE, GOCACHE and GOMODCACHE to where it is`;
  return [{ name: "disk", version: "", state: "missing", from, todo }];
}
