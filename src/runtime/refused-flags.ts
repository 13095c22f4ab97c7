import { readFileSync } from "node:fs";
import { commandLine, type CommandLine } from "./command-line.ts";
import { hasDeclared } from "./engine-notes.ts";
import { UserError, UserErrors, type Problem } from "./errors.ts";
import type { ProcessIdentity } from "./process-identity.ts";

/** Commands that change resources, with their aliases. */
const CHANGING = ["up", "update", "destroy", "down", "dn"];

/** Flags that skip a part of the program's resources, or that replace resources without a planned change. */
const PARTIAL = ["target", "target-dependents", "target-replace", "replace", "exclude", "exclude-dependents"];

/** Those of them that delete every resource of a stack. */
const DESTROYING = ["destroy", "down", "dn"];

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
  const line = commandLineOf(pid);
  if (isChange(line)) refuseFlags(line);
}

/**
 * Whether an engine may take a whole cluster away: it runs a destroy, or an update whose program does not declare that
 * cluster any more. What marks a cluster as going away outlives the destroy that has said it, so an update that keeps
 * the cluster may never act on a mark.
 * @param engine undefined: it has ended, and nothing may be done for it
 * @throws UserError when its command line cannot be read
 */
export function mayTearDown(engine: ProcessIdentity | undefined, cluster: string): boolean {
  if (engine === undefined) return false;
  return DESTROYING.includes(commandLineOf(engine.pid).words[0] ?? "") || !hasDeclared(engine, cluster);
}

function commandLineOf(pid: number): CommandLine {
  const [, ...args] = argumentsOf(pid);
  return commandLine(args);
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
