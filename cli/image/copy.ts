import { chmodSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { withValues } from "../../src/config/image-edit.ts";
import { isName, nameOf } from "../../src/config/image-definition.ts";
import { IMAGE_FILE } from "../../src/config/image-files.ts";
import { readFolder } from "../../src/config/image-folder.ts";
import { compareVersions, type ImageFolder, type ReadFolder } from "../../src/config/images.ts";
import { templateNameOf } from "../../src/domain/images/definition.ts";
import { UserError } from "../../src/runtime/errors.ts";

/** A copy of a definition that is about to be made. */
export interface PlannedCopy {
  /** Template's name of what is copied. */
  from: string;
  name: string;
  version: string;
  /** Where it will lie. */
  folder: string;
}

/**
 * What a copy will be called, and where it will lie.
 * @param wanted name of the copy: that of the source for its next version, with `-vX.Y.Z` for this one, or another name
 * @throws UserError when that is there already, or is no name of a template
 */
export function planCopy(
  all: readonly ImageFolder[],
  { definition }: ReadFolder,
  wanted: string,
  images: string,
): PlannedCopy {
  const { name, version: given } = nameOf(wanted);
  if (!isName(name))
    throw new UserError({
      what: `${JSON.stringify(wanted)} is no name that a template can have`,
      where: "evergreen image new",
      todo: "use small letters and digits, with single dots and dashes between them",
    });
  const versions = all.flatMap((one) =>
    "definition" in one && one.definition.name === name ? [one.definition.version] : [],
  );
  const newest = versions.toSorted(compareVersions).at(-1);
  const version = given ?? (newest === undefined ? "v1.0.0" : nextVersion(newest));
  const plain = join(images, name);
  const folder = existsSync(plain) || given !== undefined ? join(images, `${name}-${version}`) : plain;
  if (versions.includes(version) || existsSync(folder))
    throw new UserError({
      what: `there is ${name} ${version} already`,
      where: folder,
      todo: `name another version: npx evergreen image new ${name}-vX.Y.Z --from ${templateNameOf(definition)}`,
    });
  return { from: templateNameOf(definition), name, version, folder };
}

/** The version after `v1.2.3`: `v1.3.0`. */
function nextVersion(version: string): string {
  const [major = 0, minor = 0] = version.slice(1).split(".").map(Number);
  return `v${major}.${minor + 1}.0`;
}

/** Copies a definition's folder; of its text nothing changes but the version. All of the copy is there, or nothing. */
export function copyImage(source: string, { folder, version }: PlannedCopy): void {
  const { entries } = readFolder(source);
  const unfinished = mkdtempSync(join(dirname(folder), ".new-"));
  try {
    for (const { path, bytes, isExecutable } of entries) {
      const file = join(unfinished, path);
      mkdirSync(dirname(file), { recursive: true });
      const content = path === IMAGE_FILE ? withVersion(Buffer.from(bytes).toString("utf8"), version) : bytes;
      writeFileSync(file, content, { mode: isExecutable ? 0o755 : 0o644 });
    }
    chmodSync(unfinished, 0o755);
    renameSync(unfinished, folder);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    throw error;
  }
}

/** The text of an `image.yaml` with another version. Comments, order and spelling stay. */
export function withVersion(text: string, version: string): string {
  return withValues(text, [{ path: ["version"], value: version }]);
}
