import { spawnSync } from "node:child_process";
import { createHash, randomInt } from "node:crypto";
import { projectRoot } from "../../tools/paths.ts";

const most = 1_000_000_000;

/** A seed that nobody has used. */
export function freshSeed(): number {
  return randomInt(most);
}

/**
 * The seed that a test begins with: another for every commit, and the same for all who test that commit. EVERGREEN_SEED plays
 * any other again.
 */
export function baseSeed(): number {
  const asked = process.env.EVERGREEN_SEED;
  if (asked !== undefined) return Number(asked);
  const { stdout, status } = spawnSync("git", ["rev-parse", "HEAD"], { cwd: projectRoot, encoding: "utf8" });
  if (status !== 0) return freshSeed();
  return createHash("sha256").update(stdout.trim()).digest().readUInt32BE(0) % most;
}
