import { spawnSync } from "node:child_process";
import { createHash, randomInt } from "node:crypto";
import { projectRoot } from "../../src/runtime/project.ts";

const most = 1_000_000_000;

/** A random seed. */
export function freshSeed(): number {
  return randomInt(most);
}

/**
 * The seed that a test begins with: it differs between commits and is always the same for one commit. EVERGREEN_SEED
 * selects another seed.
 */
export function baseSeed(): number {
  const asked = process.env.EVERGREEN_SEED;
  if (asked !== undefined) return Number(asked);
  const { stdout, status } = spawnSync("git", ["rev-parse", "HEAD"], { cwd: projectRoot, encoding: "utf8" });
  if (status !== 0) return freshSeed();
  return createHash("sha256").update(stdout.trim()).digest().readUInt32BE(0) % most;
}
