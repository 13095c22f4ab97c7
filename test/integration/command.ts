import { join } from "node:path";
import { projectRoot } from "../../src/runtime/project.ts";

/** A shell that stays between the process that starts it and the one that it starts. */
const between = ["sh", "-c", '"$@"; exit $?'];

/**
 * The command line of a step below an engine and a plugin of its own. Without them a step takes whoever started the test for
 * its engine, which all test files of a run have in common, and with it what is noted of that engine.
 */
export function stepCommand(verb: string): [file: string, args: string[]] {
  const step = [process.execPath, join(projectRoot, "src", "steps", "main.ts"), verb];
  const [file = "sh", ...args] = [...between, "engine", ...between, "plugin", ...step];
  return [file, args];
}
