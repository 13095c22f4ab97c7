/**
 * Three servers that are replaced one after the other, held against the serial bound, while a prober asks the API through
 * the registration address and the workload on two agents.
 */
import { Deadline } from "../../src/runtime/deadline.ts";
import type { LabEvent } from "../../lab/control.ts";
import type { ProbeReport } from "../../lab/load/prober.ts";
import { serialBound, serialFloor, serverDurationsOf } from "../../lab/lower-bound.ts";
import { busiest, round, table, type Row } from "./report.ts";
import type { Stage } from "./stage.ts";

const SERVERS = 3;
const AGENTS = 2;
/** Made for this: the stack's servers have the newest image that the lab begins with. */
const NEWEST = { vmid: 9003, version: "1.2.0", rke2: "v1.34.4+rke2r1" };
/** Time by bound. */
const WANTED = 1.15;
/** Seconds until the workload serves. */
const PATIENCE = 120;

export interface ServersReport {
  servers: number;
  /** The whole update. */
  seconds: number;
  /** The part that the bound covers: from the first clone until the last VM is off. Before it the engine starts, after it VMs are destroyed. */
  rollSeconds: number;
  /** What the parts take one after the other, etcd's interval before each change of its members included. */
  serialBoundSeconds: number;
  /** The whole update by the serial bound. */
  ratio: number;
  /** Below this no tool comes: what can overlap does. */
  floorSeconds: number;
  /** The part that both cover by the floor. */
  rollByFloor: number;
  /** Requests to the Proxmox API, all clients together, by replaced server. */
  apiRequestsPerServer: number;
  /** Requests to the API server, through the registration address, while the servers were replaced. */
  prober: { requests: number; failed: number; slowestMs: number };
  /** The same to the workload on the agents. */
  workload: { requests: number; failed: number; slowestMs: number };
  /** What the lab's watcher saw that must never be. */
  violations: number;
  peakMemoryBytes: number;
}

export async function rollServers(stage: Stage): Promise<ServersReport> {
  // Now: the data centre's list, in which the program looks for images, is seconds old.
  await stage.lab.call("POST /faults", { kind: "template", ...NEWEST });
  await stage.change({ "pools.0.slots": AGENTS });
  console.log(`profile ${stage.profile.name}: creating ${SERVERS} servers and ${AGENTS} agents, which is not measured`);
  await stage.lab.call("POST /profile", { profile: "fast" });
  await stage.up();
  await stage.lab.call("POST /profile", { profile: stage.profile.name });
  await load(stage);

  await stage.change({ "controlPlane.image": `ubuntu-24.04-rke2-v${NEWEST.version}` });
  const before = (await stage.lab.events()).at(-1)?.number ?? 0;
  const roll = await stage.up();
  const { probe, violations } = await stage.lab.status;
  const covered = between(await stage.lab.events(before)) + stage.profile.cloneLock / 1000;
  const durations = serverDurationsOf(stage.profile);
  const [bound, floor] = [serialBound(durations, SERVERS), serialFloor(durations, SERVERS)];
  const report: ServersReport = {
    servers: SERVERS,
    seconds: round(roll.seconds, 2),
    rollSeconds: round(covered, 2),
    serialBoundSeconds: round(bound, 2),
    ratio: round(roll.seconds / bound, 3),
    floorSeconds: round(floor, 2),
    rollByFloor: round(covered / floor, 3),
    apiRequestsPerServer: round(roll.spent.requests / SERVERS, 1),
    prober: counted(probe.api),
    workload: counted(probe.workload),
    violations: violations.length,
    peakMemoryBytes: roll.peakMemoryBytes,
  };
  console.log(`  requests per server, by endpoint:\n${busiest(roll.spent.byEndpoint, SERVERS)}`);
  console.log(table(rows(report)));
  for (const failure of [...probe.api.failures, ...probe.workload.failures])
    console.log(`  failed at ${failure.at}: ${failure.target}: ${failure.reason}`);
  for (const violation of violations) console.log(`  violated: ${JSON.stringify(violation)}`);
  return report;
}

/** Puts the workload on the agents, waits until all of it serves, and counts from then on. */
async function load({ lab }: Stage): Promise<void> {
  await lab.call("POST /load", { replicas: 2 * AGENTS });
  await new Deadline("the workload", PATIENCE).poll(100, async () => {
    const { load, probe } = await lab.status;
    return load && load.ready === load.wanted && probe.workload.requests > 0 ? true : undefined;
  });
  await lab.call("POST /probe/reset", undefined);
  await lab.call("POST /watcher/reset", undefined);
}

/** Seconds from the end of the first clone until the last VM is off, as the lab saw it. */
function between(events: readonly LabEvent[]): number {
  const when = (end: string) =>
    events.filter(({ kind, text }) => kind === "vm" && text.endsWith(end)).map(({ at }) => at);
  const [begin = "", end = ""] = [when(" created")[0], when(" stopped").at(-1)];
  return (Date.parse(end) - Date.parse(begin)) / 1000;
}

function counted({ requests, failed, slowest }: ProbeReport["api"]): ServersReport["prober"] {
  return { requests, failed, slowestMs: slowest };
}

function rows(report: ServersReport): Row[] {
  const asked = (name: string, { requests, failed, slowestMs }: ServersReport["prober"]): Row => [
    name,
    `${failed} failed`,
    `of ${requests} requests, the slowest ${slowestMs} ms; wanted: none`,
  ];
  return [
    ["time", `${report.seconds} s`, `serial bound ${report.serialBoundSeconds} s: one part after the other`],
    ["time by bound", String(report.ratio), `wanted: at most ${WANTED}`],
    [
      "first clone to last off",
      `${report.rollSeconds} s`,
      `${report.rollByFloor} of ${report.floorSeconds} s, below which no tool comes`,
    ],
    ["API requests per server", String(report.apiRequestsPerServer), ""],
    asked("prober", report.prober),
    asked("prober of the workload", report.workload),
    ["violations", String(report.violations), "wanted: none"],
    ["peak memory", `${(report.peakMemoryBytes / 2 ** 20).toFixed(0)} MiB`, "engine, plugins, program, steps"],
  ];
}
