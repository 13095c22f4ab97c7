import { relative } from "node:path";
import type { Command } from "commander";
import { findImage, inspectImages } from "../../src/config/images.ts";
import { copyImage, planCopy } from "./copy.ts";
import { imagesOption, jsonOption, printJson, type ImageOptions } from "./folder.ts";

/** `evergreen image new NAME --from NAME`: a copy of a definition under its next version, or another name. */
export function newCommand(image: Command): void {
  image
    .command("new")
    .description("copy a definition: under its next version, or with another name")
    .argument("<name>", "the name of the copy; the same name means the next version, NAME-vX.Y.Z this version")
    .requiredOption("--from <name>", "the definition that is copied, by its name or its template's name")
    .addOption(imagesOption())
    .addOption(jsonOption())
    .action((name: string, { from, images, json = false }: ImageOptions & { from: string }) => {
      const all = inspectImages(images);
      const source = findImage(all, from);
      const plan = planCopy(all, source, name, images);
      copyImage(source.folder, plan);
      const folder = relative(process.cwd(), plan.folder);
      if (json) printJson({ ...plan, folder });
      else
        process.stdout.write(
          `${folder} is ${plan.name} ${plan.version}, a copy of ${relative(process.cwd(), source.folder)}\n` +
            `edit it, then: npx evergreen image diff ${plan.from} ${plan.name}-${plan.version}\n`,
        );
    });
}
