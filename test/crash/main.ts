/** Command line of the crash tests: `npm run test:crash [-- --help]`. */
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { table } from "../../cli/table.ts";
import { campaign, header, rowOf, type CampaignOptions } from "./campaign.ts";
import { parsePoint } from "./points.ts";
import type { Shape } from "./trial.ts";

const PREFIX = "127.43";

const usage = `npm run test:crash -- [options]

Rolls 3 servers and 4 agents, kills the engine, its plugins and its steps all at once at a boundary of a request, runs
\`pulumi up\` once more, and holds the end against that of a roll that nobody disturbed; then at the next boundary.

A boundary is the moment before a request has any effect, or after its effect and before its answer. A request that only
reads has one. Requests are those of program, plugins and steps to Proxmox VE, to Kubernetes and to RKE2's supervisor; not
the engine's writes of its own state, nor requests to the bucket for snapshots, nor renewals of leases, which come by the
clock. The next run comes at once after every third point, and after the others when the leases of the dead have run out.

  --sample N       N points, drawn from the whole length of the roll (default: every boundary)
  --seed S         of the sample (default: by the clock)
  --point POINT    just this one, as the table names it: change:12:after; may be repeated
  --agents-only    2 agents roll, and their one server stays
  --bakes          2 agents roll to an image that the same update bakes and proves. The boundaries are those of the requests
                   that have the token of bakes; what is not of the bake, what it leaves, how often the image is made and
                   who uses it before it is proved are looked at when a run is killed, and at the end
  --report FILE    { points, tried, converged, violations, seed } as JSON
  --prefix P       first two octets of the lab's addresses (default ${PREFIX})
`;

const { values } = parseArgs({
  options: {
    sample: { type: "string" },
    seed: { type: "string" },
    point: { type: "string", multiple: true },
    report: { type: "string" },
    prefix: { type: "string", default: PREFIX },
    "agents-only": { type: "boolean", default: false },
    bakes: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  console.log(usage);
  process.exit();
}

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

function shapeOf({ bakes, "agents-only": agentsOnly }: typeof values): Shape {
  if (bakes) return { servers: 1, agents: 2, rollServers: false, bakes };
  return { servers: agentsOnly ? 1 : 3, agents: agentsOnly ? 2 : 4, rollServers: !agentsOnly, bakes };
}

const seed = values.seed === undefined ? Date.now() % 1_000_000 : number("seed", values.seed);
const shape = shapeOf(values);
const stay = shape.rollServers ? "" : " that stay";
console.log(
  `seed ${seed}: servers${stay}: ${shape.servers}, agents: ${shape.agents}${shape.bakes ? ", an image each" : ""}`,
);
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
