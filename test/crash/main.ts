/**
 * `npm run test:crash [-- --sample N] [--seed S] [--agents-only] [--report FILE] [--point change:12:after]`: rolls 3 servers
 * and 4 agents, kills the engine, its plugins and its steps all at once at a boundary of a request, runs `pulumi up` once
 * more, and holds the end against that of a roll that nobody disturbed; without --sample at every boundary.
 *
 * A boundary is the moment before a request has any effect, or after its effect and before its answer. Requests are those
 * of program, plugins and steps to Proxmox VE, to Kubernetes and to RKE2's supervisor. The next run comes at once after every
 * other point, and after the others when the leases of the dead steps have run out. Not among them: the engine's
 * writes of its own state, renewals of leases, which come by the clock, and requests to the bucket for snapshots.
 */
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { table } from "../../cli/table.ts";
import { campaign, header, rowOf, type CampaignOptions } from "./campaign.ts";
import { parsePoint } from "./points.ts";

const PREFIX = "127.43";

const { values } = parseArgs({
  options: {
    sample: { type: "string" },
    seed: { type: "string" },
    point: { type: "string", multiple: true },
    report: { type: "string" },
    prefix: { type: "string", default: PREFIX },
    "agents-only": { type: "boolean", default: false },
  },
});

function number(name: string, text: string): number {
  if (/^\d+$/.test(text)) return Number(text);
  throw new Error(`--${name} ${text}: a whole number is wanted`);
}

function points(): CampaignOptions["points"] {
  if (values.point !== undefined)
    return values.point.map((text) => {
      const point = parsePoint(text);
      if (point === undefined) throw new Error(`--point ${text}: change:N:before, change:N:after or read:N:before`);
      return point;
    });
  return values.sample === undefined ? "all" : number("sample", values.sample);
}

const seed = values.seed === undefined ? Date.now() % 1_000_000 : number("seed", values.seed);
const agentsOnly = values["agents-only"];
const shape = { servers: agentsOnly ? 1 : 3, agents: agentsOnly ? 2 : 4, rollServers: !agentsOnly };
console.log(`seed ${seed}: ${shape.servers} servers${agentsOnly ? " that stay" : ""} and ${shape.agents} agents`);
const { report, outcomes } = await campaign({
  prefix: values.prefix,
  shape,
  seed,
  points: points(),
  idle: "each",
  tell: (line) => console.log(line),
});
console.log(`\n${table(header, outcomes.map(rowOf))}\n`);
console.log(`${report.points} points, ${report.tried} tried, ${report.converged} converged, seed ${seed}`);
if (values.report !== undefined) await writeFile(resolve(values.report), `${JSON.stringify(report, undefined, 2)}\n`);
process.exitCode = report.violations.length > 0 ? 1 : 0;
