import { labStack } from "../tools/environment.ts";
import { toolchain } from "../tools/index.ts";
import { cacheRoot, pulumiHome } from "../tools/paths.ts";
import { prepareUpdate } from "./pre-update.ts";
import { commandLine } from "../src/runtime/command-line.ts";
import { say } from "../src/runtime/log.ts";
import { isChange } from "../src/runtime/refused-flags.ts";
import { EngineSide, noteStarted } from "../src/recovery/engine-side.ts";
import { exec } from "./exec.ts";
import { fail } from "./report.ts";
import { stackOf } from "./stack.ts";

/** Pulumi commands that need no plugin: they work before plugins are installed, for instance to configure a site. */
const WITHOUT =
  "about cancel config console convert-trace env help history login logout logs new org plugin policy stack state version whoami";

function needsPlugins(args: readonly string[]): boolean {
  const [command] = commandLine(args).words;
  return command !== undefined && !WITHOUT.split(" ").includes(command);
}

/** Without its lab the stack `dev` has neither a backend nor a Proxmox VE, and Pulumi's own message speaks of a login. */
function wantsLab(args: readonly string[], stack: string, environment: NodeJS.ProcessEnv): boolean {
  const line = commandLine(args);
  const concerned = isChange(line) || ["preview", "stack init"].some((words) => line.words.join(" ").startsWith(words));
  return concerned && stack === labStack && (environment.PROXMOX_VE_ENDPOINT ?? "") === "";
}

/** Runs `npx pulumi ...`: the real CLI with the environment of this project. */
export async function main(args: readonly string[]): Promise<void> {
  try {
    const stack = stackOf(args, pulumiHome(cacheRoot())) ?? "";
    const tools = await toolchain({ parts: ["engine"], stack, plugins: needsPlugins(args) });
    const environment = tools.environment({}, stack);
    if (wantsLab(args, stack, environment)) say("the lab of the stack dev is not up; start it: npx evergreen lab up");
    await prepareUpdate(args, stack, new EngineSide(stack, tools.pulumi, environment), environment);
    // This process becomes the engine and keeps its pid.
    noteStarted(process.pid);
    exec(tools.pulumi, args, environment);
  } catch (error) {
    fail(error);
  }
}
