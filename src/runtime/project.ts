import { readFileSync } from "node:fs";
import { resolve } from "node:path";

/** The project's directory. A bundle of this module would find another one: steps run from a bundle, and need none. */
export const projectRoot = resolve(import.meta.dirname, "..", "..");

/** Version of Evergreen. */
export function programVersion(): string {
  const { version } = JSON.parse(readFileSync(resolve(projectRoot, "package.json"), "utf8")) as { version: string };
  return version;
}
