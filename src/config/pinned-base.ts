/** Reads the evidence of a base image that `evergreen image pin` has put into `pins/` of a definition. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { z } from "zod";
import type { BaseChangelog, ClearedCve, PinnedBase } from "../domain/images/base-diff.ts";
import { packagesOf } from "../domain/images/contents-diff.ts";
import type { ImageDefinition } from "../domain/images/definition.ts";
import { parseSums, type PinFault, type Sums } from "../domain/images/pins.ts";
import { UserError } from "../runtime/errors.ts";
import { PINS } from "./image-folder.ts";
import { createHash } from "node:crypto";

/**
 * The base image of a definition, by its evidence.
 * @returns undefined when the folder has no list of digests: the definition was pinned by hand
 * @throws UserError when the evidence is of another image than the definition pins, or cannot be read
 */
export function readPinnedBase(folder: string, { base }: ImageDefinition): PinnedBase | undefined {
  const pins = join(folder, PINS);
  if (!existsSync(join(pins, "SHA256SUMS"))) return undefined;
  const where = relative(process.cwd(), pins);
  const sums = parseSums(readFileSync(join(pins, "SHA256SUMS"), "utf8"));
  const file = base.url.split("/").at(-1) ?? "";
  if (!isSums(sums) || sums.get(file) !== base.sha256)
    throw new UserError({
      what: `the evidence of the pins is not of the base image ${base.serial}`,
      where,
      todo: "run npx evergreen image pin again, or remove the folder",
    });
  const listed = (name: RegExp): { name: string; text: string } | undefined => {
    const found = readdirSync(pins).find((entry) => name.test(entry));
    return found === undefined ? undefined : { name: found, text: readListed(pins, found, sums) };
  };
  const manifest = listed(/\.manifest$/);
  const packages = manifest && packagesOf(manifest.text, "");
  if (packages === undefined) throw unreadable(join(where, manifest?.name ?? "*.manifest"));
  const changelog = listed(/\.release\..*\.image_changelog\.json$/);
  return { serial: base.serial, packages, changelog: changelog && readChangelog(changelog, where) };
}

const isSums = (value: Sums | PinFault): value is Sums => !("what" in value);

/** A file of the evidence, which must be the one of the list. */
function readListed(pins: string, name: string, sums: Sums): string {
  const bytes = readFileSync(join(pins, name));
  if (createHash("sha256").update(bytes).digest("hex") === sums.get(name)) return bytes.toString("utf8");
  throw unreadable(join(relative(process.cwd(), pins), name));
}

function unreadable(where: string): UserError {
  return new UserError({
    what: "a file of the pins is not the one that the signed list has, or cannot be understood",
    where,
    todo: "run npx evergreen image pin again, or remove the folder",
  });
}

/** The part of Canonical's changelog that is read (canonical/ubuntu-cloud-image-changelog, models.py). */
const cves = z
  .array(z.object({ cve: z.string().regex(/^CVE-\d{4}-\d{4,}$/), cve_priority: z.string() }))
  .nullish()
  .transform((list) => list ?? []);
const changed = z.object({ name: z.string(), cves });
const changelogSchema = z.object({
  diff: z.object({ deb: z.array(changed) }),
  added: z.object({ deb: z.array(changed) }),
});

function readChangelog({ name, text }: { name: string; text: string }, where: string): BaseChangelog {
  const [, from, to] =
    /\.release\.([\d]+(?:\.\d{1,4})?)\.(\d{8}(?:\.\d{1,4})?)\.image_changelog\.json$/.exec(name) ?? [];
  const read = changelogSchema.safeParse(jsonOf(text));
  if (!read.success || from === undefined || to === undefined) throw unreadable(join(where, name));
  return { from, to, cves: clearedBy([...read.data.diff.deb, ...read.data.added.deb]) };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** By vulnerability, what the changelog has by package. */
function clearedBy(packages: readonly z.output<typeof changed>[]): ClearedCve[] {
  const all = packages.flatMap(({ name, cves: cleared }) =>
    cleared.map(({ cve, cve_priority }) => ({ id: cve, priority: cve_priority.toLowerCase(), name })),
  );
  return [...Map.groupBy(all, ({ id }) => id)].map(([id, alike]) => ({
    id,
    priority: alike[0]?.priority ?? "",
    packages: [...new Set(alike.map(({ name }) => name))].toSorted(),
  }));
}
