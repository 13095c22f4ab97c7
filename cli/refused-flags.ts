import { UserErrors, type Problem } from "../common/errors.ts";
import type { CommandLine } from "./command-line.ts";

/** Commands that change what there is, with their other names. */
const CHANGING = ["up", "update", "destroy", "down", "dn"];

/** What leaves out a part of the program's resources, or makes new ones where none are planned. */
const PARTIAL = ["target", "target-dependents", "target-replace", "replace", "exclude", "exclude-dependents"];

/** Whether a command line changes what there is. */
export function isChange({ words }: CommandLine): boolean {
  return CHANGING.includes(words[0] ?? "");
}

/**
 * Flags that would defeat the order in which a rollout is safe. The program and the steps look themselves as well: a bare
 * `pulumi` does not come by here.
 * @throws UserErrors that names each of them
 */
export function refuseFlags({ flags }: CommandLine): void {
  const problems = flags.flatMap(({ name, value }): Problem[] => {
    if (/^(false|0|f)$/i.test(value ?? "")) return [];
    if (name === "continue-on-error") return [goesOn(name)];
    return PARTIAL.includes(name) ? [partial(name)] : [];
  });
  if (problems.length > 0) throw new UserErrors(problems);
}

function goesOn(name: string): Problem {
  return {
    what: `--${name}: the engine would delete old nodes although new ones failed`,
    where: "the command line",
    todo: "run it without that flag; a step that fails keeps every old node, and the next run goes on from there",
  };
}

function partial(name: string): Problem {
  return {
    what: `--${name}: only a part of the steps would run, and each relies on those before it: a server would leave without a snapshot`,
    where: "the command line",
    todo: "run it without that flag; to replace the nodes of one pool raise its `rollout`, and what needs nothing is left alone anyway",
  };
}
