import { existsSync, statSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import { readImageDefinition } from "../../src/config/image-definition.ts";
import { findImage, inspectImages, type ImageFolder } from "../../src/config/images.ts";
import type { ImageDefinition } from "../../src/domain/images/definition.ts";
import { diffLines, diffOf } from "../../src/domain/images/image-diff.ts";
import { imagesOption, jsonOption, printJson, type ImageOptions } from "./folder.ts";

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
    .action((a: string, b: string, { images, json = false }: ImageOptions) => {
      const all = inspectImages(images);
      const diff = diffOf(definitionBy(all, a), definitionBy(all, b));
      if (json) printJson(diff);
      else process.stdout.write(`${diffLines(diff).join("\n")}\n`);
    });
}

function definitionBy(all: readonly ImageFolder[], given: string): ImageDefinition {
  const isFolder = given.includes("/") && existsSync(given) && statSync(given).isDirectory();
  return isFolder ? readImageDefinition(resolve(given)).definition : findImage(all, given).definition;
}
