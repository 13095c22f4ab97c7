/**
 * `npm run bench:rollout [-- --servers] [--report FILE] [--profile nvme]`: rolls agents, or servers, and holds the time
 * against the bound that follows from the lab's profile alone.
 */
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { rollAgents } from "./agents.ts";
import { rollServers } from "./servers.ts";
import { Stage } from "./stage.ts";

const { values } = parseArgs({
  options: {
    servers: { type: "boolean", default: false },
    report: { type: "string" },
    profile: { type: "string", default: "nvme" },
  },
});
const profile = values.profile === "fast" || values.profile === "ceph" ? values.profile : "nvme";
const report = await Stage.with<object>(profile, values.servers ? rollServers : rollAgents);
if (values.report !== undefined) await writeFile(resolve(values.report), `${JSON.stringify(report, undefined, 2)}\n`);
