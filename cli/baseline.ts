import { Option, type Command } from "commander";
import { stringify } from "yaml";
import type { NodeBaseline, Weight } from "../src/domain/images/baseline.ts";
import { readBaseline } from "../src/observe/baseline.ts";
import { show } from "../src/runtime/log.ts";
import { withStack } from "./open-stack.ts";
import { table } from "./table.ts";

/** Exit code when nodes differ from their images, or could not be compared with them. */
const DIFFERS = 13;

const OUTPUTS = ["text", "json", "yaml"] as const;
type Output = (typeof OUTPUTS)[number];

/** `evergreen baseline`: what the nodes of a stack run, against what their images hold. */
export function baselineCommand(program: Command): void {
  program
    .command("baseline")
    .description("compare what each node runs with what its image holds: packages, kernel, RKE2, pending reboots")
    .option("-s, --stack <name>", "stack to look at", "dev")
    .addOption(new Option("-o, --output <form>", "form of the result").choices(OUTPUTS).default("text"))
    .addHelpText("after", `\nEnds with 0 when every node is as its image, and with ${DIFFERS} when one is not.`)
    .action(async ({ stack, output }: { stack: string; output: Output }) => {
      await withStack(stack, async ({ pve, config, observed }) => {
        const nodes = await readBaseline(pve, config, observed, process.cwd());
        show(textOf(nodes, output));
        if (nodes.some(({ drift }) => drift.length > 0)) process.exitCode = DIFFERS;
      });
    });
}

function textOf(nodes: readonly NodeBaseline[], output: Output): string {
  switch (output) {
    case "json":
      return JSON.stringify({ nodes }, null, 2);
    case "yaml":
      return stringify({ nodes });
    case "text":
      return baselineText(nodes);
  }
}

/** Heaviest first. */
const WEIGHTS: readonly Weight[] = ["unknown", "broken", "other", "owed"];

const TITLES: Readonly<Record<Weight, string>> = {
  unknown: "not known",
  broken: "broken",
  other: "not as the image",
  owed: "owed",
};

const header = ["node", "image", "RKE2", "kernel", "packages that differ", "reboot"];

/** The result for people: a table, and below it what differs, each difference once with all nodes that have it. */
export function baselineText(nodes: readonly NodeBaseline[]): string {
  if (nodes.length === 0) return "there are no nodes";
  const rows = nodes.map((node) => [
    node.name,
    node.image ?? "?",
    node.rke2.running ?? "?",
    node.kernel?.running ?? "?",
    node.packagesFrom === undefined ? "?" : String(node.packages.length),
    node.rebootPending === undefined ? "?" : node.rebootPending ? "pending" : "-",
  ]);
  const all = nodes.flatMap(({ name, drift }) => drift.map((one) => ({ ...one, name })));
  const parts = WEIGHTS.flatMap((weight) => {
    const own = all.filter((one) => one.weight === weight);
    const alike = [...Map.groupBy(own, ({ what }) => what)];
    return own.length === 0 ? [] : [`${TITLES[weight]}:`, ...alike.flatMap(([what, these]) => driftLines(what, these))];
  });
  const equal = nodes.filter(({ drift }) => drift.length === 0).length;
  return [table(header, rows), ...parts, `${equal} of ${nodes.length} nodes are as their images`].join("\n");
}

function driftLines(what: string, these: readonly { name: string; todo: string }[]): string[] {
  const todos = [...new Set(these.map(({ todo }) => todo))];
  return [
    `  ${what}`,
    `    on: ${these.map(({ name }) => name).join(", ")}`,
    ...todos.map((todo) => `    do: ${todo}`),
  ];
}
