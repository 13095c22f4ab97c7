/**
 * What a definition pins, from what Ubuntu and RKE2 publish: lists of digests, which file of them, and when a pin is too
 * old. The lists are read and their signatures are checked in `src/clients/feeds/`.
 */
import type { Problem } from "../model/problem.ts";

/** Why a pin cannot be made; where it was found is for the reader of the list to say. */
export type PinFault = Omit<Problem, "where">;

/** A list of digests: SHA-256 by the name of the file. */
export type Sums = ReadonlyMap<string, string>;

/**
 * Reads a list of digests as sha256sum writes it: `DIGEST  FILE`, or `DIGEST *FILE` for files that were read as bytes.
 * A list that says anything else is none: a line that is not understood may be the one that counts.
 */
export function parseSums(text: string): Sums | PinFault {
  const sums = new Map<string, string>();
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line === "") continue;
    const [, digest = "", file] = /^([0-9a-f]{64}) [ *]([^/\\]+)$/.exec(line) ?? [];
    if (file === undefined)
      return {
        what: `line ${index + 1} of the list of digests is not a SHA-256 and a name`,
        todo: "see what the address leads to: a page that asks for a login is no list",
      };
    if ((sums.get(file) ?? digest) !== digest)
      return {
        what: `the list of digests has two digests of ${file}`,
        todo: "report it to whoever publishes the list; pin another release",
      };
    sums.set(file, digest);
  }
  if (sums.size > 0) return sums;
  return { what: "the list of digests is empty", todo: "see what the address leads to" };
}

/** Whether it is a fault. */
export function isFault(value: object): value is PinFault {
  return "what" in value;
}

/** The dates of releases in the names of folders, oldest first: `release-20260725/` gives `20260725`. */
export function serialsOf(names: readonly string[]): string[] {
  const found = names.flatMap((name) => /^release-(\d{8}(?:\.\d{1,4})?)\/?$/.exec(name)?.[1] ?? []);
  return [...new Set(found)].toSorted((a, b) => Number(a) - Number(b));
}

/** The files of a cloud image that a pin is made of, with their digests. */
export interface BaseFiles {
  /** `ubuntu-24.04-server-cloudimg-amd64.img` */
  image: { file: string; sha256: string };
  /** List of the packages of the image. */
  manifest: { file: string; sha256: string };
  /** What has changed since the release before; undefined for a first one. */
  changelog: { file: string; sha256: string } | undefined;
}

/**
 * The files of one architecture in the list of a release.
 * @param serial date of the release. A list of another day has the right signature too: the names of its changelogs tell.
 */
export function baseFilesOf(sums: Sums, architecture: string, serial: string): BaseFiles | PinFault {
  const listed = (pattern: RegExp) =>
    [...sums].flatMap(([file, sha256]) => (pattern.test(file) ? [{ file, sha256 }] : []));
  const kind = `-server-cloudimg-${architecture.replaceAll(/\W/g, "")}`;
  const [image, ...further] = listed(new RegExp(`^ubuntu-[0-9.]+${kind}\\.img$`));
  const [manifest] = listed(new RegExp(`^ubuntu-[0-9.]+${kind}\\.manifest$`));
  const changelogs = listed(new RegExp(`${kind}\\.release\\.[0-9.]+\\.image_changelog\\.json$`));
  const other = otherDays(sums, serial);
  if (other.length > 0)
    return {
      what: `the signed list of digests is of ${other.join(" and ")}, and not of ${serial}`,
      todo: "use another mirror: this one has put a list of another release there",
    };
  if (image === undefined || manifest === undefined || further.length > 0)
    return {
      what: `the signed list of digests has no one image of ${architecture} with its manifest`,
      todo: "pin another release, or another architecture",
    };
  return { image, manifest, changelog: changelogs.at(0) };
}

/** The days of which the changelogs of a list are, without the one that is expected. */
function otherDays(sums: Sums, serial: string): string[] {
  const days = [...sums.keys()].flatMap(
    (file) => /\.(\d{8}(?:\.\d{1,4})?)\.image_changelog\.json$/.exec(file)?.[1] ?? [],
  );
  return [...new Set(days)].filter((day) => day !== serial).toSorted();
}

/** How long before the date of its release a list may have been signed, in milliseconds: a day, for time zones. */
const EARLY_MS = 24 * 3_600_000;

/** The date of a release in milliseconds since the epoch. */
export function dateOfSerial(serial: string): number {
  return Date.parse(serial.replace(/^(....)(..)(..).*$/, "$1-$2-$3T00:00:00Z"));
}

/**
 * Why a signature is not of a release: it is older than that. An old list, with its own good signature, would bring an
 * old image back.
 */
export function signatureFault(signedAt: Date, serial: string): PinFault | undefined {
  if (signedAt.getTime() >= dateOfSerial(serial) - EARLY_MS) return undefined;
  return {
    what: `the list of digests was signed at ${signedAt.toISOString()}, before the release ${serial}`,
    todo: "use another mirror: this one has put a list of an older release there",
  };
}

/** Why a release may not be pinned: the definition has a newer one. */
export function olderFault(pinned: string, found: string): PinFault | undefined {
  if (Number(found) >= Number(pinned)) return undefined;
  return {
    what: `the release ${found} is older than ${pinned}, which is pinned`,
    todo: `use a mirror that has newer releases; if you want the older one, name it: --base ${found}`,
  };
}

/** The artefacts of RKE2 of a definition, with their digests in the list of a release. */
export function artefactPins(
  sums: Sums,
  files: readonly string[],
  version: string,
): { file: string; sha256: string }[] | PinFault {
  const missing = files.filter((file) => !sums.has(file));
  if (missing.length > 0)
    return {
      what: `RKE2 ${version} has no ${missing.join(", ")}`,
      todo: `see what the release is made of, and correct rke2.artefacts; its archives are ${archivesOf(sums)}`,
    };
  return files.map((file) => ({ file, sha256: sums.get(file) ?? "" }));
}

function archivesOf(sums: Sums): string {
  return [...sums.keys()].filter((file) => file.endsWith(".tar.zst")).join(", ") || "none";
}

/** What a bake needs of a release at least, for an image without a list of artefacts of its own. */
export function leastArtefacts(architecture: string, cni: readonly string[]): string[] {
  const sets = ["core", ...cni.filter((plugin) => plugin !== "none")];
  return [
    `rke2.linux-${architecture}.tar.gz`,
    ...sets.flatMap((set) => [
      `rke2-images-${set}.linux-${architecture}.tar.zst`,
      `rke2-images-${set}.linux-${architecture}.txt`,
    ]),
  ];
}

/** The files of which two sources say something else. RKE2 signs nothing: two that agree are better than one. */
export function disagreement(
  one: Sums,
  other: Sums,
  files: readonly string[],
  titles: readonly [string, string],
): PinFault | undefined {
  const different = files.filter((file) => one.get(file) !== other.get(file));
  if (different.length === 0) return undefined;
  return {
    what: `${titles.join(" and ")} have other digests of ${different.join(", ")}`,
    todo: "find out which of them is wrong, and pin nothing until you know: the release signs none of its files",
  };
}

/** For how many months the archive of a date is watched: Ubuntu keeps it for at least 24. */
const WATCHED_MONTHS = 21;

/** The id of snapshot.ubuntu.com for the beginning of a day: `20260801T000000Z`. */
export function archiveDateOf(day: Date): string {
  return `${day.toISOString().slice(0, 10).replaceAll("-", "")}T000000Z`;
}

/** Why a bake cannot take an archive: its moment has not come. */
export function futureFault(archiveDate: string, now: Date): PinFault | undefined {
  const at = Date.parse(archiveDate.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, "$1-$2-$3T$4:$5:$6Z"));
  if (at <= now.getTime()) return undefined;
  return {
    what: `the archive of ${archiveDate} does not exist yet: packages come from a moment that has passed`,
    todo: "set archiveDate to a moment in the past, and look at the clock of this machine",
  };
}

/** Says when an archive date is so old that its image may soon not be baked again. */
export function ageWarning(archiveDate: string, now: Date): string | undefined {
  const limit = new Date(dateOfSerial(archiveDate.slice(0, 8)));
  limit.setUTCMonth(limit.getUTCMonth() + WATCHED_MONTHS);
  if (now < limit) return undefined;
  return `archiveDate ${archiveDate} is older than ${WATCHED_MONTHS} months: Ubuntu keeps its archive for at least 24, and then this image cannot be baked again from the network`;
}
