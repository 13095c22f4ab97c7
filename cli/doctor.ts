import type { Command } from "commander";
import { noSetpriv, setprivVersion } from "../lab/setpriv.ts";
import { labStack } from "../tools/environment.ts";
import { inspect, type Finding } from "../tools/inspect.ts";

/** `evergreen doctor`: shows which tools exist, where each came from, what is missing and how to get it. */
export function doctorCommand(program: Command): void {
  program
    .command("doctor")
    .description("show tools, versions, where each came from, and what is missing")
    .option("-s, --stack <name>", "the stack to look for: the lab's needs more than a real site", labStack)
    .option("--json", "print the findings as JSON")
    .action(async ({ stack, json = false }: { stack: string; json?: boolean }) => {
      const findings = [...(await inspect(stack)), ...(stack === labStack ? [setpriv()] : [])];
      process.stdout.write(json ? `${JSON.stringify(findings, undefined, 2)}\n` : table(findings));
      if (findings.some(({ state }) => state === "missing")) process.exitCode = 1;
    });
}

function setpriv(): Finding {
  const name = "setpriv";
  const version = setprivVersion();
  if (version !== undefined) return { name, version, state: "ok", from: "PATH; ends the lab's programs with the lab" };
  return { name, version: "", state: "missing", from: noSetpriv.where, todo: noSetpriv.todo };
}

function table(findings: readonly Finding[]): string {
  const width = (cells: readonly string[]) => Math.max(...cells.map((cell) => cell.length));
  const names = width(findings.map(({ name }) => name));
  const versions = width(findings.map(({ version }) => version));
  const lines = findings.map(({ name, version, state, from, todo }) => {
    const line = `${state.padEnd(8)}  ${name.padEnd(names)}  ${version.padEnd(versions)}  ${from}`;
    return todo === undefined ? line : `${line}\n${" ".repeat(10)}do: ${todo}`;
  });
  return `${[...lines, summary(findings)].join("\n")}\n`;
}

function summary(findings: readonly Finding[]): string {
  const count = (state: Finding["state"]) => findings.filter((finding) => finding.state === state).length;
  const missing = count("missing");
  if (missing > 0) return `${missing} missing`;
  const simulated = count("stand-in");
  return simulated > 0 ? `nothing is missing; ${simulated} stand-ins, good for the lab only` : "nothing is missing";
}
