import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ImageDefinition, ImageFile } from "../../src/domain/images/definition.ts";
import { PUBLIC_SOURCES, type Bake } from "../../src/domain/images/user-data.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { definitionFixture } from "./image-definition.ts";

/** Where the shell of the guest lies. */
export const bakeFolder = join(projectRoot, "images/bake");

/** Files of the shell of the guest, by their path in its folder. */
export function bakeShell(): Map<string, Uint8Array> {
  const files = globSync("**/*", { cwd: bakeFolder, withFileTypes: true }).filter((entry) => entry.isFile());
  const paths = files.map(({ parentPath, name }) => join(parentPath, name).slice(bakeFolder.length + 1));
  return new Map(paths.toSorted().map((path) => [path, readFileSync(join(bakeFolder, path))]));
}

/** Files by path, with their bytes. */
export type Files = readonly { path: string; bytes: Uint8Array; mode?: string }[];

const digestOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

const named = (files: Files, mode: string): ImageFile[] =>
  files.map((file) => ({ path: file.path, sha256: digestOf(file.bytes), mode: file.mode ?? mode }));

/** A bake of the fixture with other values, and with these files. */
export function bakeOf(
  changes: Partial<ImageDefinition> = {},
  { files = [], scripts = [], tests = [] }: { files?: Files; scripts?: Files; tests?: Files } = {},
): Bake {
  return {
    definition: {
      ...definitionFixture,
      files: named(files, "0644"),
      scripts: named(scripts, "0755"),
      tests: named(tests, "0755"),
      ...changes,
    },
    sources: PUBLIC_SOURCES,
    shell: bakeShell(),
    contents: new Map([...files, ...scripts, ...tests].map(({ bytes }) => [digestOf(bytes), bytes])),
  };
}
