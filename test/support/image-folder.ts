import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { definitionOf, type DefinitionFault } from "../../src/config/image-definition.ts";
import type { FolderEntry } from "../../src/config/image-files.ts";
import type { ImageDefinition, ImageSource } from "../../src/domain/images/definition.ts";
import { projectRoot } from "../../src/runtime/project.ts";

/** The example of the repository: every key of a definition that most sites need. */
export const exampleFolder = join(projectRoot, "images", "ubuntu-24-04-rke2");
export const exampleText = readFileSync(join(exampleFolder, "image.yaml"), "utf8");

export function entry(path: string, content: string | Uint8Array, isExecutable = false): FolderEntry {
  return { path, bytes: typeof content === "string" ? Buffer.from(content) : content, isExecutable };
}

/** What a folder is read as, that has this image.yaml and these other entries. */
export function readAs(
  text: string | Uint8Array,
  others: readonly FolderEntry[] = [],
  folder = "ubuntu-24-04-rke2",
): ImageSource | { faults: DefinitionFault[] } {
  return definitionOf(folder, [entry("image.yaml", text), ...others]);
}

/** The definition that was read; fails with the faults when there is none. */
export function definitionIn(read: ReturnType<typeof readAs>): ImageDefinition {
  assert.ok("definition" in read, JSON.stringify("faults" in read ? read.faults : []));
  return read.definition;
}

export const faultsIn = (read: ReturnType<typeof readAs>): DefinitionFault[] => ("faults" in read ? read.faults : []);

/** The example with one text in place of another, which it must have. */
export function edited(from: string, to: string): string {
  assert.ok(exampleText.includes(from), `the example has ${from}`);
  return exampleText.replace(from, to);
}
