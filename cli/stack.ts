import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "../src/runtime/project.ts";
import { commandLine, valueOf } from "../src/runtime/command-line.ts";

/** Pulumi commands that take the stack as a positional argument, with their subcommands. */
const POSITIONAL: Readonly<Record<string, readonly string[]>> = {
  stack: ["init", "new", "select", "rm", "remove", "delete"],
  cancel: [],
};

/** Pulumi commands that choose the backend: the settings of the lab's backend must not apply to them. */
const BACKEND = ["login", "logout"];

/**
 * The stack that a Pulumi command line works on, without organization and project. It comes from `--stack`, the
 * argument, PULUMI_OPTION_STACK, PULUMI_STACK, or the selected stack. When no stack is selected yet it is `dev`, the
 * stack of the lab.
 * @returns undefined for a command that chooses the backend
 */
export function stackOf(
  args: readonly string[],
  home: string,
  env: NodeJS.ProcessEnv = process.env,
): string | undefined {
  const line = commandLine(args);
  if (BACKEND.includes(line.words[0] ?? "")) return undefined;
  const named = valueOf(line, "stack") ?? positional(line.words) ?? env.PULUMI_OPTION_STACK ?? env.PULUMI_STACK;
  return (named ?? selected(home) ?? "dev").split("/").at(-1);
}

function positional(words: readonly string[]): string | undefined {
  const verbs = POSITIONAL[words[0] ?? ""];
  if (!verbs) return undefined;
  if (verbs.length === 0) return words[1];
  return verbs.includes(words[1] ?? "") ? words[2] : undefined;
}

/** The stack that `pulumi stack select` has stored in a PULUMI_HOME, under a hash of the project file's path. */
function selected(home: string): string | undefined {
  const project = createHash("sha1").update(join(projectRoot, "Pulumi.yaml")).digest("hex");
  const file = join(home, "workspaces", `evergreen-${project}-workspace.json`);
  if (!existsSync(file)) return undefined;
  const settings = JSON.parse(readFileSync(file, "utf8")) as { stack?: string };
  return settings.stack;
}
