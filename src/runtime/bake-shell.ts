import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { projectRoot } from "./project.ts";

/** What a bake runs in the guest: every file of `images/bake/`, by its path in it. It is the program's own, at any site. */
export function readBakeShell(folder = join(projectRoot, "images", "bake")): Map<string, Uint8Array> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = entries.map(({ parentPath, name }) => relative(folder, join(parentPath, name)));
  return new Map(paths.toSorted().map((path) => [path, readFileSync(join(folder, path))]));
}

/** The SHA-256 of each of these files, as the digest of an image takes them in (`digestOf`). */
export function shellDigests(shell: ReadonlyMap<string, Uint8Array>): Record<string, string> {
  const digests = [...shell].map(([path, bytes]) => [path, createHash("sha256").update(bytes).digest("hex")] as const);
  return Object.fromEntries(digests);
}
