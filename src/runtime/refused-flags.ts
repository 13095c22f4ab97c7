import { readFileSync } from "node:fs";
import { commandLine, type CommandLine } from "./command-line.ts";
import { UserError, UserErrors, type Problem } from "./errors.ts";

/** Commands that change resources, with their aliases. */
const CHANGING = ["up", "update", "destroy", "down", "dn"];

/** Flags that skip a part of the program's resources, or that replace resources without a planned change. */
const PARTIAL = ["target", "target-dependents", "target-replace", "replace", "exclude", "exclude-dependents"];

/** Whether a command line changes resources. */
export function isChange({ words }: CommandLine): boolean {
  return CHANGING.includes(words[0] ?? "");
}

/**
 * Refuses unsafe flags of the engine that runs this process, read from the kernel. A bare `pulumi` bypasses our
 * launcher, and in a destroy no program runs, so every step checks this.
 * @param pid the engine
 * @throws UserErrors that names each flag; UserError when the command line cannot be read: the flags are unknown then
 */
export function refuseFlagsOfEngine(pid: number): void {
  const [, ...args] = argumentsOf(pid);
  const line = commandLine(args);
  if (isChange(line)) refuseFlags(line);
}

/** The program's name comes first. */
function argumentsOf(pid: number): string[] {
  const file = `/proc/${pid}/cmdline`;
  const text = attempt(() => readFileSync(file, "utf8"));
  if (text !== "") return text.replace(/\0$/, "").split("\0");
  throw new UserError({
    what: "how Pulumi was started cannot be read, and with some flags it leaves steps out",
    where: file,
    todo: "run it as the user who runs pulumi, with a /proc that shows its own processes; a run that was killed is started again",
  });
}

function attempt(look: () => string): string {
  try {
    return look();
  } catch {
    return "";
  }
}

/**
 * Refuses flags that would break the order that makes a rollout safe.
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
