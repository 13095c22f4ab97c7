import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { projectRoot } from "./paths.ts";

/** Where the lab of the stack `dev` writes what a client of it needs. */
export const labEnvironmentFile = join(projectRoot, ".evergreen", "lab", "dev", "env.json");

/** What the lab of the stack `dev` says about itself; empty when it is not up. */
export function labEnvironment(file = labEnvironmentFile): Record<string, string> {
  if (!existsSync(file)) return {};
  return JSON.parse(readFileSync(file, "utf8")) as Record<string, string>;
}
