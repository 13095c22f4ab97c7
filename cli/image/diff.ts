import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import { readImageDefinition } from "../../src/config/image-definition.ts";
import { findImage, inspectImages, type ImageFolder, type ReadFolder } from "../../src/config/images.ts";
import { readPinnedBase } from "../../src/config/pinned-base.ts";
import { baseDiffLines, diffBases, type BaseDiff } from "../../src/domain/images/base-diff.ts";
import { contentsDiffLines, diffContents, type ContentsDiff } from "../../src/domain/images/contents-diff.ts";
import { diffLines, diffOf } from "../../src/domain/images/image-diff.ts";
import { show } from "../../src/runtime/log.ts";
import { imagesOption, jsonOption, printJson, type ImageOptions } from "./folder.ts";
import type { RecordOptions } from "./held.ts";

/** `evergreen image diff A B`: what turns one definition into the other. */
export function diffCommand(image: Command): void {
  image
    .command("diff")
    .description("show every difference between two definitions")
    .argument(
      "<a>",
      "a definition by its name or its template's name, or a folder with one, such as ../older/images/NAME",
    )
    .argument("<b>", "the other one")
    .addOption(imagesOption())
    .addOption(jsonOption())
    .option("--records <folder>", "a store of records: compare what the images hold, too")
    .option("--trust <file...>", "public keys of records, in PEM")
    .action(async (a: string, b: string, { images, json = false, ...held }: ImageOptions & RecordOptions) => {
      const all = inspectImages(images);
      const [from, to] = [folderBy(all, a), folderBy(all, b)];
      const diff = diffOf(from.definition, to.definition);
      const base = basesDiff(from, to);
      const contents = held.records === undefined ? undefined : await readContentsDiff(held, from, to);
      if (json) printJson({ ...diff, basePackages: base, contents });
      else
        show(
          [
            ...diffLines(diff),
            ...(base === undefined ? [] : baseDiffLines(base)),
            ...(contents === undefined ? [] : contentsDiffLines(contents)),
          ].join("\n"),
        );
    });
}

function folderBy(all: readonly ImageFolder[], given: string): ReadFolder {
  const isFolder = given.includes("/") && existsSync(given) && statSync(given).isDirectory();
  return isFolder ? { folder: resolve(given), ...readImageDefinition(resolve(given)) } : findImage(all, given);
}

/** What differs between the base images, where both have the evidence of their pins. */
function basesDiff(from: ReadFolder, to: ReadFolder): BaseDiff | undefined {
  const [before, after] = [from, to].map(({ folder, definition }) => readPinnedBase(folder, definition));
  return before === undefined || after === undefined ? undefined : diffBases(before, after);
}

async function readContentsDiff(held: RecordOptions, from: ReadFolder, to: ReadFolder): Promise<ContentsDiff> {
  // What reads records takes a quarter of a second to load.
  const { readHeld } = await import("./held.ts");
  return diffContents(await readHeld(held, from.definition), await readHeld(held, to.definition));
}
