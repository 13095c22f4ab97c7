import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** Name of the file that marks a plugin's directory as a stand-in. Its text, one line, names the official plugin. */
export const STAND_IN = "STAND-IN";

/**
 * The plugins of a PULUMI_HOME that stand in for the official ones, as `command 1.2.1`.
 * @param pulumiHome default: the PULUMI_HOME of this process, else `~/.pulumi`
 */
export function standIns(pulumiHome = process.env.PULUMI_HOME ?? join(homedir(), ".pulumi")): string[] {
  const plugins = join(pulumiHome, "plugins");
  if (!existsSync(plugins)) return [];
  return readdirSync(plugins)
    .filter((plugin) => existsSync(join(plugins, plugin, STAND_IN)))
    .map((plugin) => plugin.replace(/^resource-/, "").replace(/-v(?=\d)/, " "))
    .sort();
}
