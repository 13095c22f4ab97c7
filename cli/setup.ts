import type { Command } from "commander";
import { say } from "../common/log.ts";
import { toolchain } from "../tools/index.ts";
import { standIns } from "../tools/standins.ts";

/** `evergreen setup`: everything that Evergreen runs, built or fetched. */
export function setupCommand(program: Command): void {
  program
    .command("setup")
    .description("build and fetch the tools that Evergreen runs (idempotent)")
    .option("--quiet", "say nothing while all is well")
    .action(async ({ quiet = false }: { quiet?: boolean }) => {
      const started = performance.now();
      const tools = await toolchain({ quiet, official: true });
      if (quiet) return;
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      const simulated = standIns(tools.pulumiHome);
      const note = simulated.length > 0 ? `; stand-ins, good for the lab only: ${simulated.join(", ")}` : "";
      say(`tools are ready (${seconds} s)${note}`);
    });
}
