import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import type { Command } from "commander";
import { mirrorAt } from "../../src/clients/feeds/source.ts";
import { readUbuntuKey } from "../../src/clients/feeds/signature.ts";
import { withValues } from "../../src/config/image-edit.ts";
import { definitionOf } from "../../src/config/image-definition.ts";
import { IMAGE_FILE } from "../../src/config/image-files.ts";
import { PINS, readFolder } from "../../src/config/image-folder.ts";
import { findImage, inspectImages } from "../../src/config/images.ts";
import { ageWarning } from "../../src/domain/images/pins.ts";
import { Deadline } from "../../src/runtime/deadline.ts";
import { messageOf, UserError, UserErrors } from "../../src/runtime/errors.ts";
import { show } from "../../src/runtime/log.ts";
import { cacheRoot } from "../../tools/paths.ts";
import { imagesOption, type ImageOptions } from "./folder.ts";
import { findPins, type PinPlan, type PinWishes } from "./pin-plan.ts";

/** For all downloads of one call: lists, a manifest and a changelog, none of them large. */
const PIN_SECONDS = 600;

interface PinOptions extends ImageOptions, PinWishes {
  mirror?: string;
  mirrorOnly?: boolean;
  key?: string;
  dryRun?: boolean;
}

/** `evergreen image pin NAME`: writes what is newest into a definition, by digests that were checked. */
export function pinCommand(image: Command): void {
  image
    .command("pin")
    .description("pin the newest base image, the archive of today and the files of RKE2, by signed lists and digests")
    .argument("<name>", "a definition by its name or its template's name")
    .addOption(imagesOption())
    .option("--base <date>", "a release of the base image by its date, in place of the newest")
    .option("--rke2 <version>", "another version of RKE2 than the definition has")
    .option("--archive-date <moment>", "a moment of Ubuntu's archive such as 20260801T000000Z, in place of today")
    .option("--mirror <place>", "a folder or an address with the files below the names of their hosts")
    .option("--mirror-only", "ask nothing but the mirror; else its list of RKE2's digests is held against RKE2's own")
    .option("--key <file>", "OpenPGP keys, armored, in place of Ubuntu's")
    .option("--dry-run", "show what would change, and change nothing")
    .action((name: string, options: PinOptions) => pin(name, options));
}

async function pin(name: string, options: PinOptions): Promise<void> {
  const { folder, definition } = findImage(inspectImages(options.images), name);
  const mirror = options.mirror === undefined ? undefined : mirrorAt(options.mirror);
  if (options.mirrorOnly === true && mirror === undefined)
    throw new UserError({
      what: "no mirror is named, and nothing else shall be asked",
      where: "--mirror-only",
      todo: "name it: --mirror FOLDER, or --mirror https://...",
    });
  const now = new Date();
  const plan = await findPins(definition, options, {
    mirror,
    isMirrorOnly: options.mirrorOnly === true,
    keys: options.key === undefined ? await readUbuntuKey() : readKey(options.key),
    cache: join(cacheRoot(), "feeds"),
    now,
    deadline: new Deadline(`the pins of ${name}`, PIN_SECONDS),
  });
  show(pinText(relative(process.cwd(), folder), plan));
  const warning = ageWarning(plan.archiveDate, now);
  if (warning !== undefined) show(`warning: ${warning}`);
  const text = pinnedText(folder, plan);
  if (options.dryRun === true) return;
  writePins(folder, text, plan);
  if (plan.values.length > 0)
    show(
      `if ${definition.version} was baked already, give the definition another version: its template would be refused`,
    );
}

function readKey(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new UserError(
      { what: `the file with the key cannot be read: ${messageOf(error)}`, where: file, todo: "correct --key" },
      { cause: error },
    );
  }
}

/** What changes, one value a line. */
function pinText(folder: string, { values, signedAt }: PinPlan): string {
  const lines = values.map(({ path, value, before }) => `  ${path.join(".")}: ${before ?? "nothing"} -> ${value}`);
  const title = `${folder}: the list of the base image was signed at ${signedAt.toISOString()}`;
  return [title, ...(lines.length > 0 ? lines : ["  nothing changes"])].join("\n");
}

/** The text of image.yaml with what is pinned. @throws UserErrors when no definition would come of it */
function pinnedText(folder: string, { values }: PinPlan): string {
  const text = withValues(readFileSync(join(folder, IMAGE_FILE), "utf8"), values);
  const { entries } = readFolder(folder);
  const pinned = entries.map((entry) => (entry.path === IMAGE_FILE ? { ...entry, bytes: Buffer.from(text) } : entry));
  const read = definitionOf(basename(folder), pinned);
  if ("definition" in read) return text;
  const where = `${relative(process.cwd(), folder)}/${IMAGE_FILE}, with what would be pinned`;
  throw new UserErrors(read.faults.map(({ what, todo }) => ({ what, where, todo })));
}

/** Writes image.yaml, and beside it what its pins rest on: each whole, or not at all. */
function writePins(folder: string, text: string, { evidence }: PinPlan): void {
  const unfinished = mkdtempSync(join(folder, "..", `.pins-${basename(folder)}-`));
  try {
    const pins = join(unfinished, PINS);
    mkdirSync(pins);
    for (const [name, bytes] of evidence) writeFileSync(join(pins, name), bytes);
    writeFileSync(join(unfinished, IMAGE_FILE), text);
    // First what the values rest on: a definition that was pinned in part is pinned again.
    rmSync(join(folder, PINS), { recursive: true, force: true });
    renameSync(pins, join(folder, PINS));
    renameSync(join(unfinished, IMAGE_FILE), join(folder, IMAGE_FILE));
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}
