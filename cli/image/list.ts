import { relative } from "node:path";
import type { Command } from "commander";
import { inspectImages } from "../../src/config/images.ts";
import { table } from "../table.ts";
import { imageDigests, imagesOption, jsonOption, printJson, short, type ImageOptions } from "./folder.ts";

/** `evergreen image list`: the definitions of a folder, one a line. */
export function listCommand(image: Command): void {
  image
    .command("list")
    .description("list the definitions, with what each of them pins")
    .addOption(imagesOption())
    .addOption(jsonOption())
    .action(({ images, json = false }: ImageOptions) => {
      const entries = listed(images);
      if (json) printJson(entries);
      else process.stdout.write(`${listing(entries)}\n`);
      if (entries.some(({ problems }) => problems > 0)) process.exitCode = 1;
    });
}

/** A definition in the list. One with problems has no values. */
interface Listed {
  folder: string;
  name?: string;
  version?: string;
  base?: string;
  archiveDate?: string;
  rke2?: string;
  packages?: number;
  digest?: string;
  problems: number;
}

function listed(images: string): Listed[] {
  const digest = imageDigests();
  return inspectImages(images).map((one): Listed => {
    const folder = relative(process.cwd(), one.folder);
    if ("problems" in one) return { folder, problems: one.problems.length };
    const { name, version, base, archiveDate, rke2, packages } = one.definition;
    return {
      folder,
      name,
      version,
      base: base.serial,
      archiveDate,
      rke2: rke2.version,
      packages: packages.length,
      digest: digest(one.definition),
      problems: 0,
    };
  });
}

function listing(entries: readonly Listed[]): string {
  const right = entries.filter(({ problems }) => problems === 0);
  const rows = right.map(
    ({ name = "", version = "", base = "", archiveDate = "", rke2 = "", packages, digest = "" }) => [
      ...[name, version, base, archiveDate, rke2, String(packages ?? 0), short(digest)],
    ],
  );
  const wrong = entries.filter(({ problems }) => problems > 0);
  return [
    table(["NAME", "VERSION", "BASE", "ARCHIVE", "RKE2", "PACKAGES", "DIGEST"], rows),
    ...wrong.map(
      ({ folder, problems }) =>
        `${folder}: ${problems} ${problems === 1 ? "problem" : "problems"}, shown by npx evergreen image verify`,
    ),
  ].join("\n");
}
