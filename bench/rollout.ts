/**
 * `npm run bench:rollout [-- --report FILE] [--profile nvme]`: rolls 12 agents (surge 3, maxUnavailable 2) and holds the
 * time against the bound that follows from the lab's profile alone.
 */
import { mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { Workspace } from "../cli/demo/workspace.ts";
import { labBinaries } from "../cli/lab.ts";
import { startLab, type Lab } from "../lab/lab.ts";
import { identify } from "../lab/processes.ts";
import { durationsOf, lowerBound } from "../lab/lower-bound.ts";
import { profiles } from "../lab/profiles.ts";
import { toolchain, type Toolchain } from "../tools/index.ts";
import { measured, type Measured } from "./process.ts";

const AGENTS = 12;
const SURGE = 3;
const MAX_UNAVAILABLE = 2;
const PREFIX = "127.42";
const NEWER = "ubuntu-24.04-rke2-v1.1.0";

interface Report {
  agents: number;
  seconds: number;
  lowerBoundSeconds: number;
  /** Lower bound by measured time. */
  efficiency: number;
  /** Requests to the Proxmox API, all clients together, by replaced node. */
  apiRequestsPerNode: number;
  /** Times that the engine wrote its whole state. */
  stateWrites: number;
  /** Engine, plugins, program and steps together at their largest, shared pages counted once. */
  peakMemoryBytes: number;
}

const { values } = parseArgs({
  options: { report: { type: "string" }, profile: { type: "string", default: "nvme" } },
});
const profile = values.profile === "fast" || values.profile === "ceph" ? values.profile : "nvme";
const root = await mkdtemp(join(tmpdir(), "evergreen-bench-"));
const tools = await toolchain();
const options = { name: "bench", prefix: PREFIX, directory: join(root, "lab"), profile, version: "8.4" } as const;
const lab = await startLab({ ...options, owner: identify(process.pid), binaries: labBinaries(tools), load: "asked" });
try {
  const report = await bench(lab, tools);
  if (values.report !== undefined) await writeFile(resolve(values.report), `${JSON.stringify(report, undefined, 2)}\n`);
} finally {
  await lab.stop();
  await rm(root, { recursive: true, force: true, maxRetries: 5 });
}

async function bench(lab: Lab, tools: Toolchain): Promise<Report> {
  const workspace = await Workspace.create(join(root, "project"), PREFIX);
  const state = join(root, "lab", "state", ".pulumi", "stacks", "evergreen");
  // Every state that is written is kept, so that writes can be counted.
  const env = { ...tools.environment(), ...lab.env, PULUMI_DIY_BACKEND_RETAIN_CHECKPOINTS: "true" };
  const pulumi = (...args: string[]): Promise<Measured> =>
    measured(tools.pulumi, [...args, "--non-interactive"], { cwd: workspace.directory, env });
  const writes = async (): Promise<number> => (await readdir(state)).filter((file) => /\.json\.\d+$/.test(file)).length;
  const up = ["up", "--yes", "--skip-preview", "--stack", "dev"];

  await pulumi("stack", "init", "dev");
  const strategy = { kind: "rolling", surge: SURGE, maxUnavailable: MAX_UNAVAILABLE };
  await workspace.change({ "pools.0.slots": AGENTS, "pools.0.strategy": strategy });
  console.log(`profile ${profile}: creating 3 servers and ${AGENTS} agents`);
  console.log(`  created in ${(await pulumi(...up)).seconds.toFixed(1)} s`);

  await workspace.change({ "pools.0.image": NEWER });
  const before = { requests: (await lab.status).requests, writes: await writes() };
  const roll = await pulumi(...up);
  const after = { requests: (await lab.status).requests, writes: await writes() };
  const shape = { agents: AGENTS, surge: SURGE, maxUnavailable: MAX_UNAVAILABLE };
  const bound = lowerBound(durationsOf(profiles[profile]), shape);
  const report: Report = {
    agents: AGENTS,
    seconds: round(roll.seconds, 2),
    lowerBoundSeconds: round(bound.seconds, 2),
    efficiency: round(bound.seconds / roll.seconds, 3),
    apiRequestsPerNode: round((after.requests.total - before.requests.total) / AGENTS, 1),
    stateWrites: after.writes - before.writes,
    peakMemoryBytes: roll.peakMemoryBytes,
  };
  const changed = Number(/(\d+) changes?\./.exec(roll.output)?.[1] ?? Number.NaN);
  const preview = await pulumi("preview", "--stack", "dev");
  const empty = await emptyPreview(tools, env);
  console.log("  requests per node, by endpoint:");
  for (const [endpoint, count] of busiest(before.requests.byEndpoint, after.requests.byEndpoint))
    console.log(`    ${(count / AGENTS).toFixed(1).padStart(5)}  ${endpoint}`);
  print(report, { bound: bound.by, changed, preview: preview.seconds, empty });
  return report;
}

/** The endpoints that were asked most in between. */
function busiest(before: Record<string, number>, after: Record<string, number>): [string, number][] {
  return Object.entries(after)
    .map(([endpoint, count]): [string, number] => [endpoint, count - (before[endpoint] ?? 0)])
    .filter(([, count]) => count > AGENTS / 4)
    .sort(([, a], [, b]) => b - a);
}

/** A preview of a program that declares nothing: what the engine costs by itself. */
async function emptyPreview(tools: Toolchain, env: Record<string, string>): Promise<number> {
  const cwd = await mkdtemp(join(root, "empty-"));
  await writeFile(join(cwd, "Pulumi.yaml"), "name: empty\nruntime: { name: nodejs, options: { typescript: false } }\n");
  await writeFile(join(cwd, "index.js"), "");
  await writeFile(join(cwd, "package.json"), `{ "main": "index.js" }`);
  await symlink(join(root, "project", "node_modules"), join(cwd, "node_modules"));
  const run = (...args: string[]): Promise<Measured> =>
    measured(tools.pulumi, [...args, "--non-interactive"], { cwd, env });
  await run("stack", "init", "empty");
  return (await run("preview", "--stack", "empty")).seconds;
}

function print(report: Report, more: { bound: string; changed: number; preview: number; empty: number }): void {
  const over = more.preview - more.empty;
  const rows: [string, string, string][] = [
    ["time", `${report.seconds} s`, `lower bound ${report.lowerBoundSeconds} s, by ${more.bound}`],
    ["efficiency", `${(report.efficiency * 100).toFixed(1)} %`, "wanted: at least 85 %"],
    ["API requests per node", String(report.apiRequestsPerNode), "wanted: at most 60"],
    ["state writes", String(report.stateWrites), `wanted: at most ${2 * more.changed + 5} (${more.changed} changes)`],
    ["peak memory", `${(report.peakMemoryBytes / 2 ** 20).toFixed(0)} MiB`, "engine, plugins, program, steps"],
    [
      "no-op preview",
      `${more.preview.toFixed(1)} s`,
      `${over.toFixed(1)} s over an empty program, wanted: at most 3 s`,
    ],
  ];
  for (const [name, value, note] of rows) console.log(`  ${name.padEnd(22)} ${value.padStart(10)}   ${note}`);
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}
