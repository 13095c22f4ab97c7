import { relative } from "node:path";
import type { Command } from "commander";
import { findImage, inspectImages } from "../../src/config/images.ts";
import { PACKAGES_OF_EVERY_IMAGE, templateNameOf, type ImageDefinition } from "../../src/domain/images/definition.ts";
import { imageDigests, imagesOption, jsonOption, printJson, type ImageOptions } from "./folder.ts";

/** `evergreen image show NAME`: all that a definition says, with its digest. */
export function showCommand(image: Command): void {
  image
    .command("show")
    .description("show what a definition says, and the digest of the image that it describes")
    .argument("<name>", "its name, which means the newest version, or its template's name")
    .addOption(imagesOption())
    .addOption(jsonOption())
    .action((name: string, { images, json = false }: ImageOptions) => {
      const { definition, folder } = findImage(inspectImages(images), name);
      const facts = {
        template: templateNameOf(definition),
        digest: imageDigests()(definition),
        folder: relative(process.cwd(), folder),
      };
      if (json) printJson({ ...facts, definition });
      else process.stdout.write(`${shown(facts, definition).join("\n")}\n`);
    });
}

function shown(facts: Readonly<Record<string, string>>, definition: ImageDefinition): string[] {
  const { base, archiveDate, packages, hold, diskGiB, rke2, kernel, sysctl, hardening, ssh, services } = definition;
  const files = (["files", "scripts", "tests"] as const).map((name): [string, string[]] => [
    name,
    definition[name].map(({ path, mode, sha256 }) => `${mode} ${sha256.slice(0, 12)} ${path}`),
  ]);
  const values: [string, string | readonly string[]][] = [
    ...Object.entries(facts),
    ["base", [base.url, `sha256 ${base.sha256}`, `of ${base.serial}, signed by ${base.signedBy}`]],
    ["archive", archiveDate],
    ["packages", [...PACKAGES_OF_EVERY_IMAGE, ...packages].toSorted()],
    ["held", hold],
    ["disk", `${diskGiB} GiB`],
    ["rke2", `${rke2.version}, for clusters with cni ${rke2.cni.join(", ")}`],
    ["artefacts", rke2.artefacts.map(({ file, sha256 }) => `${sha256.slice(0, 12)} ${file}`)],
    ["kernel", [...kernel.parameters, ...kernel.modules.map((module) => `module ${module}`)]],
    ["sysctl", Object.entries(sysctl).map(([key, value]) => `${key} = ${value}`)],
    ["hardening", hardening],
    ["ssh", ssh ? "a server" : "none"],
    ["enabled", services.enable],
    ["masked", services.mask],
    ...files,
  ];
  return values.flatMap(([name, value]) => {
    const lines = typeof value === "string" ? [value] : value;
    return lines.map((line, index) => `${(index === 0 ? name : "").padEnd(10)} ${line}`);
  });
}
