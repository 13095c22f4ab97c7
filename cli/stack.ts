import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "../tools/paths.ts";

/** Commands of Pulumi that take the stack as an argument of their own. */
const POSITIONAL: Readonly<Record<string, readonly string[]>> = {
  stack: ["init", "select", "rm"],
  cancel: [],
};

/** Commands of Pulumi that choose the backend: the lab's has no say in them. */
const BACKEND = ["login", "logout"];

/**
 * The stack that a Pulumi command line works on, without organization and project: from `--stack`, from its argument, from
 * PULUMI_STACK, or the selected one. `dev` when nothing is selected yet: the lab is where everybody starts.
 * Undefined for a command that chooses the backend.
 */
export function stackOf(
  args: readonly string[],
  home: string,
  env: NodeJS.ProcessEnv = process.env,
): string | undefined {
  if (args.some((arg, index) => BACKEND.includes(arg) && index === firstWord(args))) return undefined;
  const named = flag(args) ?? positional(args) ?? env.PULUMI_STACK ?? selected(home) ?? "dev";
  return named.split("/").at(-1);
}

function flag(args: readonly string[]): string | undefined {
  for (const [index, arg] of args.entries()) {
    if (arg === "--") return undefined;
    if (arg === "--stack" || arg === "-s") return args[index + 1];
    const inline = /^(?:--stack=|-s=?)(.+)$/.exec(arg)?.[1];
    if (inline !== undefined && !arg.startsWith("--s=")) return inline;
  }
  return undefined;
}

function firstWord(args: readonly string[]): number {
  return args.findIndex((arg) => !arg.startsWith("-"));
}

function positional(args: readonly string[]): string | undefined {
  const words = args.filter((arg) => !arg.startsWith("-"));
  const verbs = POSITIONAL[words[0] ?? ""];
  if (!verbs) return undefined;
  if (verbs.length === 0) return words[1];
  return verbs.includes(words[1] ?? "") ? words[2] : undefined;
}

/** What `pulumi stack select` remembers in a PULUMI_HOME, under a hash of the project file's path. */
function selected(home: string): string | undefined {
  const project = createHash("sha1").update(join(projectRoot, "Pulumi.yaml")).digest("hex");
  const file = join(home, "workspaces", `evergreen-${project}-workspace.json`);
  if (!existsSync(file)) return undefined;
  const settings = JSON.parse(readFileSync(file, "utf8")) as { stack?: string };
  return settings.stack;
}
