/** 12 agents that are rolled with surge 3 and maxUnavailable 2, held against the bound of the lab's profile. */
import { durationsOf, lowerBound } from "../../lab/lower-bound.ts";
import { busiest, round, table, type Row } from "./report.ts";
import { NEWER, type Stage } from "./stage.ts";

const AGENTS = 12;
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
  /** Times that the engine wrote its whole state. */
  stateWrites: number;
  /** Engine, plugins, program and steps together at their largest, shared pages counted once. */
  peakMemoryBytes: number;
}

export async function rollAgents(stage: Stage): Promise<AgentsReport> {
  const strategy = { kind: "rolling", surge: SURGE, maxUnavailable: MAX_UNAVAILABLE };
  await stage.change({ "pools.0.slots": AGENTS, "pools.0.strategy": strategy });
  console.log(`profile ${stage.profile.name}: creating 3 servers and ${AGENTS} agents`);
  console.log(`  created in ${(await stage.up()).seconds.toFixed(1)} s`);

  await stage.change({ "pools.0.image": NEWER });
  const roll = await stage.up();
  const shape = { agents: AGENTS, surge: SURGE, maxUnavailable: MAX_UNAVAILABLE };
  const bound = lowerBound(durationsOf(stage.profile), shape);
  const report: AgentsReport = {
    agents: AGENTS,
    seconds: round(roll.seconds, 2),
    lowerBoundSeconds: round(bound.seconds, 2),
    efficiency: round(bound.seconds / roll.seconds, 3),
    apiRequestsPerNode: round(roll.spent.requests / AGENTS, 1),
    stateWrites: roll.spent.stateWrites,
    peakMemoryBytes: roll.peakMemoryBytes,
  };
  const changed = Number(/(\d+) changes?\./.exec(roll.output)?.[1] ?? Number.NaN);
  const previews = await stage.previews();
  console.log(`  requests per node, by endpoint:\n${busiest(roll.spent.byEndpoint, AGENTS)}`);
  console.log(table(rows(report, { bound: bound.by, changed, ...previews })));
  return report;
}

function rows(report: AgentsReport, more: { bound: string; changed: number; ours: number; empty: number }): Row[] {
  const over = more.ours - more.empty;
  return [
    ["time", `${report.seconds} s`, `lower bound ${report.lowerBoundSeconds} s, by ${more.bound}`],
    ["efficiency", `${(report.efficiency * 100).toFixed(1)} %`, "wanted: at least 85 %"],
    ["API requests per node", String(report.apiRequestsPerNode), "wanted: at most 60"],
    ["state writes", String(report.stateWrites), `wanted: at most ${2 * more.changed + 5} (${more.changed} changes)`],
    ["peak memory", `${(report.peakMemoryBytes / 2 ** 20).toFixed(0)} MiB`, "engine, plugins, program, steps"],
    ["no-op preview", `${more.ours.toFixed(1)} s`, `${over.toFixed(1)} s over an empty program, wanted: at most 3 s`],
  ];
}
