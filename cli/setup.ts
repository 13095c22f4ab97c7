import type { Command } from "commander";
import { say } from "../src/runtime/log.ts";
import { labStack } from "../tools/environment.ts";
import { toolchain } from "../tools/index.ts";
import type { Part } from "../tools/pins.ts";
import { standIns } from "../src/runtime/stand-ins.ts";

/** `evergreen setup`: builds or fetches all tools that Evergreen runs. */
export function setupCommand(program: Command): void {
  program
    .command("setup")
    .description("build and fetch the tools that Evergreen runs (idempotent)")
    .option("-s, --stack <name>", "the stack that they are for: the lab's needs more than a real site", labStack)
    .option("--quiet", "say nothing while all is well")
    .action(async ({ stack, quiet = false }: { stack: string; quiet?: boolean }) => {
      const started = performance.now();
      const parts: Part[] = stack === labStack ? ["engine", "lab"] : ["engine"];
      const tools = await toolchain({ quiet, parts, stack, official: true });
      if (quiet) return;
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      const simulated = stack === labStack ? standIns(tools.pulumiHome) : [];
      const note = simulated.length > 0 ? `; stand-ins, good for the lab only: ${simulated.join(", ")}` : "";
      say(`tools are ready (${seconds} s)${note}`);
    });
}
