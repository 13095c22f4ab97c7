import type { Command } from "commander";
import { toolchain } from "../tools/index.ts";

/** `evergreen env`: prints variables for `eval`, so that a `pulumi` from PATH finds the same tools as `npx pulumi`. */
export function envCommand(program: Command): void {
  program
    .command("env")
    .description('print the environment of the engine: eval "$(npx evergreen env)"')
    .option("--stack <name>", "the stack that is worked on", "dev")
    .action(async ({ stack }: { stack: string }) => {
      const tools = await toolchain({ parts: ["engine"], stack });
      const lines = Object.entries(tools.environment({}, stack))
        .filter(([name, value]) => process.env[name] !== value)
        .map(([name, value]) => `export ${name}=${quote(value)}\n`);
      process.stdout.write(lines.join(""));
    });
}

/** `value` as one word of a shell. */
export function quote(value: string): string {
  return /^[\w@%+=:,./-]+$/.test(value) ? value : `'${value.replaceAll("'", `'\\''`)}'`;
}
