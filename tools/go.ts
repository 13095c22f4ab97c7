import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { UserError } from "../src/runtime/errors.ts";
import { BUILD_ENVIRONMENT, BUILD_FLAGS } from "./pins.ts";
import { run } from "./run.ts";

/** The Go tool chain of the machine. */
export interface Go {
  path: string;
  /** As `1.26.8`. */
  version: string;
}

/** The oldest Go that builds every pinned module. */
export const OLDEST_GO = "1.26.0";

/** Finds Go on PATH. @throws UserError when there is none, or it is older than {@link OLDEST_GO} */
export async function findGo(env: NodeJS.ProcessEnv = process.env): Promise<Go> {
  const path = which("go", env);
  if (!path) {
    throw new UserError({
      what: "Go is missing: tools are built from their sources with it",
      where: "no program `go` on PATH",
      todo: `install Go ${OLDEST_GO} or newer, then run again; a real site needs none where a Pulumi CLI is on PATH (\`npx evergreen setup --stack NAME\`)`,
    });
  }
  const { code, stdout, stderr } = await run(path, ["env", "GOVERSION"], { env: goEnvironment(env), timeout: 20_000 });
  const version = /^go(\d+\.\d+(?:\.\d+)?)/.exec(stdout)?.[1];
  if (code !== 0 || version === undefined) {
    throw new UserError({
      what: "Go does not say its version",
      where: `${path} env GOVERSION: ${(stderr || stdout).trim()}`,
      todo: `mend or replace this Go by ${OLDEST_GO} or newer, then run again`,
    });
  }
  if (compareVersions(version, OLDEST_GO) < 0) {
    throw new UserError({
      what: `Go ${version} is too old, ${OLDEST_GO} is the oldest that builds the pinned tools`,
      where: path,
      todo: `install Go ${OLDEST_GO} or newer and put it first on PATH, then run again`,
    });
  }
  return { path, version };
}

/** The first program of that name on PATH. */
export function which(name: string, env: NodeJS.ProcessEnv = process.env): string | undefined {
  return allOnPath(name, env)[0];
}

/** Every program of that name on PATH, in order. */
export function allOnPath(name: string, env: NodeJS.ProcessEnv = process.env): string[] {
  return (env.PATH ?? "")
    .split(delimiter)
    .filter((directory) => directory !== "")
    .map((directory) => join(directory, name))
    .filter((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

/** Negative: a is older than b. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number));
  for (let i = 0; i < 3; i++) {
    const difference = (left?.[i] ?? 0) - (right?.[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The environment of Go: the user's settings (proxy, sums, caches), and settings that make builds reproducible. */
export function goEnvironment(env: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return { ...env, ...BUILD_ENVIRONMENT, GOFLAGS: BUILD_FLAGS.join(" ") };
}
