/** What is on a guest's disk, read without the guest. */
import { createHash } from "node:crypto";
import { lstatSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { runTool } from "./base.ts";

/** Digest of every file by its path, and where every link leads. */
export type Contents = ReadonlyMap<string, string>;

/** Reads all files of a disk. @param folder takes its files, and is removed again */
export function contentsOf(disk: string, folder: string): Contents {
  const raw = `${folder}.raw`;
  mkdirSync(folder, { recursive: true });
  try {
    runTool("qemu-img", ["convert", "-O", "raw", disk, raw]);
    runTool("debugfs", ["-R", `rdump / ${folder}`, raw]);
    return new Map(filesBelow(folder).map((path) => [`/${relative(folder, path)}`, digestOf(path)]));
  } finally {
    rmSync(raw, { force: true });
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Files and links, of which none is followed: they lead to this machine's own files. */
function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return filesBelow(path);
    return entry.isFile() || entry.isSymbolicLink() ? [path] : [];
  });
}

function digestOf(path: string): string {
  if (lstatSync(path).isSymbolicLink()) return `-> ${readlinkSync(path)}`;
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/** Paths that differ between two disks. */
export function differencesOf(one: Contents, other: Contents): string[] {
  const paths = [...new Set([...one.keys(), ...other.keys()])].toSorted();
  return paths.filter((path) => one.get(path) !== other.get(path));
}
