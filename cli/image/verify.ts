import { relative } from "node:path";
import type { Command } from "commander";
import { findImage, inspectImages, type ImageFolder } from "../../src/config/images.ts";
import { templateNameOf } from "../../src/domain/images/definition.ts";
import { ageWarning, futureFault } from "../../src/domain/images/pins.ts";
import { problemText, type Problem } from "../../src/domain/model/problem.ts";
import { imageDigests, imagesOption, jsonOption, printJson, short, type ImageOptions } from "./folder.ts";

/** `evergreen image verify [NAME]`: every check that needs no network. */
export function verifyCommand(image: Command): void {
  image
    .command("verify")
    .description("check the definitions, or one of them, without a network")
    .argument("[name]", "its name or its template's name; all of them by default")
    .addOption(imagesOption())
    .addOption(jsonOption())
    .action((name: string | undefined, { images, json = false }: ImageOptions) => {
      const all = inspectImages(images);
      const found = verified(name === undefined ? all : [findImage(all, name)], new Date());
      if (json) printJson(found);
      else for (const line of verdicts(found)) process.stdout.write(`${line}\n`);
      if (found.some(({ problems }) => problems.length > 0)) process.exitCode = 1;
    });
}

/** What the checks say of one definition. */
interface Verified {
  folder: string;
  /** Name of its template, and the digest of the image; not for a definition that cannot be read. */
  template?: string;
  digest?: string;
  problems: Problem[];
  /** What is right now, and will not stay so. */
  notes: string[];
}

function verified(folders: readonly ImageFolder[], now: Date): Verified[] {
  const digest = imageDigests();
  return folders.map((one): Verified => {
    const folder = relative(process.cwd(), one.folder);
    if ("problems" in one) return { folder, problems: one.problems, notes: [] };
    const { definition } = one;
    const future = futureFault(definition.archiveDate, now);
    const old = ageWarning(definition.archiveDate, now);
    return {
      folder,
      template: templateNameOf(definition),
      digest: digest(definition),
      problems: future === undefined ? [] : [{ ...future, where: `${folder}/image.yaml (archiveDate)` }],
      notes: old === undefined ? [] : [old],
    };
  });
}

function verdicts(found: readonly Verified[]): string[] {
  if (found.length === 0) return ["there are no definitions"];
  return found.flatMap(({ folder, template, digest = "", problems, notes }) => [
    problems.length > 0
      ? `${folder}: ${problems.length} wrong`
      : `${folder}: ${template ?? ""} ${short(digest)} is right`,
    ...problems.map(problemText),
    ...notes.map((note) => `  ${note}`),
  ]);
}
