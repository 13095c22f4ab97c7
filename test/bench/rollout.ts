/**
 * `npm run bench:rollout [-- --agents N,N | --servers] [--report FILE] [--profile nvme]`: rolls agents, or servers, and holds
 * the time against the bound that follows from the lab's profile alone. With several numbers of agents it prints how what a
 * node costs changes with their number.
 */
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { growthOf, rollAgents, type AgentsReport } from "./agents.ts";
import { numbersOf } from "./report.ts";
import { rollServers } from "./servers.ts";
import { Stage } from "./stage.ts";

const { values } = parseArgs({
  options: {
    agents: { type: "string", default: "12" },
    servers: { type: "boolean", default: false },
    report: { type: "string" },
    profile: { type: "string", default: "nvme" },
  },
});
const profile = values.profile === "fast" || values.profile === "ceph" ? values.profile : "nvme";
const report = values.servers ? await Stage.with<object>(profile, rollServers) : await ofAgents();
if (values.report !== undefined) await writeFile(resolve(values.report), `${JSON.stringify(report, undefined, 2)}\n`);

/** One report, or one for each number of agents. */
async function ofAgents(): Promise<object> {
  const reports: AgentsReport[] = [];
  for (const agents of numbersOf("--agents", values.agents))
    reports.push(await Stage.with(profile, (stage) => rollAgents(stage, agents)));
  const [only] = reports;
  if (only && reports.length === 1) return only;
  console.log(`growth:\n${growthOf(reports)}`);
  return { byAgents: reports };
}
