import { createHash } from "node:crypto";
import { join } from "node:path";
import { readBakeShell } from "../../src/runtime/bake-shell.ts";
import type { ImageDefinition, ImageFile } from "../../src/domain/images/definition.ts";
import { PUBLIC_SOURCES, type Bake } from "../../src/domain/images/user-data.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { definitionFixture } from "./image-definition.ts";

/** Where the shell of the guest lies. */
export const bakeFolder = join(projectRoot, "images/bake");

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
    shell: readBakeShell(),
    contents: new Map([...files, ...scripts, ...tests].map(({ bytes }) => [digestOf(bytes), bytes])),
  };
}
