import { existsSync, lstatSync, readdirSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { contentDigest, templateNameOf, type ImageSource } from "../domain/images/definition.ts";
import { UserError, UserErrors, type Problem } from "../runtime/errors.ts";
import { inspectImageDefinition, nameOf } from "./image-definition.ts";
import { nearest } from "./messages.ts";

/** The folder of `images/` with what a bake runs in the guest: no definition. */
const BAKE = "bake";

/** A folder of `images/`, and the definition in it or what keeps it from being one. */
export type ImageFolder = { folder: string } & (ImageSource | { problems: Problem[] });

/** A folder with a definition that is right. */
export type ReadFolder = { folder: string } & ImageSource;

/**
 * All definitions of a folder, in the order of their folders' names.
 * @param images the folder, `images/` as a rule; files that lie right in it are no definitions
 */
export function inspectImages(images: string): ImageFolder[] {
  if (!existsSync(images))
    throw new UserError({
      what: "there is no folder with definitions of images",
      where: images,
      todo: "run it in the project's folder, or name the folder with --images",
    });
  const names = readdirSync(images).filter((name) => name !== BAKE && !name.startsWith("."));
  const read = names.toSorted().flatMap((name) => {
    const folder = join(images, name);
    const entry = lstatSync(folder);
    if (entry.isSymbolicLink()) return [{ folder, problems: [linked(folder)] }];
    return entry.isDirectory() ? [{ folder, ...inspectImageDefinition(folder) }] : [];
  });
  return read.map((one) => withTwins(one, read));
}

/**
 * The definition that is meant by a template's name (`ubuntu-24-04-rke2-v1.1.0`), a folder's name, or a name without
 * version, which means the newest.
 * @throws UserErrors with the problems of what is meant, or when there is none
 */
export function findImage(all: readonly ImageFolder[], wanted: string): ReadFolder {
  const meant = all.filter((one) => namesOf(one).includes(wanted));
  const problems = meant.flatMap((one) => ("problems" in one ? one.problems : []));
  if (problems.length > 0) throw new UserErrors(problems);
  const right = meant.filter((one) => "definition" in one);
  const exact = right.find(({ definition }) => templateNameOf(definition) === wanted);
  const [newest] = right.toSorted((a, b) => compareVersions(b.definition.version, a.definition.version));
  if (exact !== undefined) return exact;
  if (newest !== undefined) return newest;
  const known = [...new Set(all.flatMap(namesOf))];
  const near = nearest(wanted, known);
  throw new UserError({
    what: `there is no definition ${wanted}`,
    where: "the folder with the definitions of images",
    todo: near === undefined ? `use one of: ${known.join(", ") || "there are none"}` : `did you mean ${near}?`,
  });
}

/** What a definition may be called: by its name, its template's, and that of its folder. */
function namesOf(one: ImageFolder): string[] {
  const folder = basename(one.folder);
  return "definition" in one
    ? [...new Set([one.definition.name, templateNameOf(one.definition), folder])]
    : [...new Set([nameOf(folder).name, folder])];
}

/** Negative when the version `a` is older than `b`, as `v1.9.0` than `v1.10.0`. */
export function compareVersions(a: string, b: string): number {
  const parts = (version: string): number[] => version.slice(1).split(".").map(Number);
  const [left, right] = [parts(a), parts(b)];
  const index = left.findIndex((part, i) => part !== right[i]);
  return index < 0 ? 0 : (left[index] ?? 0) - (right[index] ?? 0);
}

function linked(folder: string): Problem {
  return {
    what: "a symbolic link cannot be a definition: what it leads to may change",
    where: relative(process.cwd(), folder),
    todo: "put the folder itself there",
  };
}

/** Two folders whose templates would have one name, and that do not say the same: which one was baked would be chance. */
function withTwins(one: ImageFolder, all: readonly ImageFolder[]): ImageFolder {
  if (!("definition" in one)) return one;
  const { definition, folder } = one;
  const twin = all.find(
    (other) =>
      other.folder !== folder &&
      "definition" in other &&
      templateNameOf(other.definition) === templateNameOf(definition) &&
      contentDigest(other.definition) !== contentDigest(definition),
  );
  if (twin === undefined) return one;
  return {
    folder,
    problems: [
      {
        what: `${templateNameOf(definition)} is defined twice, and not alike`,
        where: `${relative(process.cwd(), folder)} and ${relative(process.cwd(), twin.folder)}`,
        todo: "give one of them another version",
      },
    ],
  };
}
