/** Agents that are rolled with surge 3 and maxUnavailable 2, held against the bound of the lab's profile. */
import { durationsOf, lowerBound } from "../../lab/lower-bound.ts";
import { parts, type CpuSeconds } from "./cpu.ts";
import { busiest, round, table, type Row } from "./report.ts";
import { NEWER, type Stage } from "./stage.ts";

const SURGE = 3;
const MAX_UNAVAILABLE = 2;

export interface AgentsReport {
  agents: number;
  seconds: number;
  lowerBoundSeconds: number;
  /** Lower bound by measured time. */
  efficiency: number;
  /** Requests to the Proxmox API, all clients together, by replaced node. */
  apiRequestsPerNode: number;
  /** Those of the engine's provider among them. */
  providerRequestsPerNode: number;
  /** CPU time of the whole update by replaced node, start and end of the engine included. */
  cpuSecondsPerNode: number;
  /** The same by who spent it. */
  cpuSecondsPerNodeOf: CpuSeconds["parts"];
  /** A preview that finds nothing to do, less one of a program that declares nothing. */
  previewSecondsOverEmpty: number;
  /** Times that the engine wrote its whole state. */
  stateWrites: number;
  /** Engine, plugins, program and steps together at their largest, shared pages counted once. */
  peakMemoryBytes: number;
}

/** @param agents how many */
export async function rollAgents(stage: Stage, agents: number): Promise<AgentsReport> {
  const strategy = { kind: "rolling", surge: SURGE, maxUnavailable: MAX_UNAVAILABLE };
  await stage.configureAgents(agents, strategy);
  console.log(`profile ${stage.profile.name}: creating 3 servers and ${agents} agents`);
  console.log(`  created in ${(await stage.up()).seconds.toFixed(1)} s`);

  await stage.change({ "pools.0.image": NEWER });
  const roll = await stage.up();
  const bound = lowerBound(durationsOf(stage.profile), { agents, surge: SURGE, maxUnavailable: MAX_UNAVAILABLE });
  const preview = await stage.previewOverEmpty();
  const perNode = (value: number) => round(value / agents, 2);
  const report: AgentsReport = {
    agents,
    seconds: round(roll.seconds, 2),
    lowerBoundSeconds: round(bound.seconds, 2),
    efficiency: round(bound.seconds / roll.seconds, 3),
    apiRequestsPerNode: round(roll.spent.requests / agents, 1),
    providerRequestsPerNode: round(roll.spent.ofProvider / agents, 1),
    cpuSecondsPerNode: perNode(roll.cpu.total),
    cpuSecondsPerNodeOf: mapParts(roll.cpu.parts, perNode),
    previewSecondsOverEmpty: round(preview.overEmpty, 2),
    stateWrites: roll.spent.stateWrites,
    peakMemoryBytes: roll.peakMemoryBytes,
  };
  const changed = Number(/(\d+) changes?\./.exec(roll.output)?.[1] ?? Number.NaN);
  console.log(`  requests per node, by endpoint:\n${busiest(roll.spent.byEndpoint, agents)}`);
  console.log(table(rows(report, { bound: bound.by, changed, preview: preview.seconds })));
  return report;
}

function mapParts(of: CpuSeconds["parts"], map: (value: number) => number): CpuSeconds["parts"] {
  return { engine: map(of.engine), plugins: map(of.plugins), program: map(of.program), steps: map(of.steps) };
}

function rows(report: AgentsReport, more: { bound: string; changed: number; preview: number }): Row[] {
  const spent = parts.map((part) => `${part} ${report.cpuSecondsPerNodeOf[part]}`).join(", ");
  return [
    ["time", `${report.seconds} s`, `lower bound ${report.lowerBoundSeconds} s, by ${more.bound}`],
    ["efficiency", `${(report.efficiency * 100).toFixed(1)} %`, "wanted: at least 85 %"],
    [
      "API requests per node",
      String(report.apiRequestsPerNode),
      `wanted: at most 60; ${report.providerRequestsPerNode} are the provider's`,
    ],
    ["CPU seconds per node", String(report.cpuSecondsPerNode), spent],
    ["state writes", String(report.stateWrites), `wanted: at most ${2 * more.changed + 5} (${more.changed} changes)`],
    ["peak memory", `${(report.peakMemoryBytes / 2 ** 20).toFixed(0)} MiB`, "engine, plugins, program, steps"],
    [
      "no-op preview",
      `${more.preview.toFixed(1)} s`,
      `${report.previewSecondsOverEmpty} s over an empty program, wanted: at most 3 s`,
    ],
  ];
}

/** How what a node costs changes with their number. */
export function growthOf(reports: readonly AgentsReport[]): string {
  const [least] = reports;
  const by = (value: number, first: number | undefined) => `x ${(value / (first ?? Number.NaN)).toFixed(2)}`;
  return reports
    .map((report) =>
      [
        `  ${String(report.agents).padStart(4)} agents`,
        `efficiency ${(report.efficiency * 100).toFixed(1)} % (${by(report.efficiency, least?.efficiency)})`,
        `CPU ${report.cpuSecondsPerNode} s a node (${by(report.cpuSecondsPerNode, least?.cpuSecondsPerNode)})`,
        `${report.apiRequestsPerNode} requests a node (${by(report.apiRequestsPerNode, least?.apiRequestsPerNode)})`,
        `peak ${(report.peakMemoryBytes / 2 ** 20).toFixed(0)} MiB`,
      ].join("   "),
    )
    .join("\n");
}
