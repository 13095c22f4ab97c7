/** What differs between what two images hold, from their records. */
import { compareDebianVersions, parseDebianVersion } from "../versions/debian-version.ts";
import type { ContainerImage, ImageContents, MeasuredFile, Package } from "./contents.ts";

/** How a package differs. `changed`: dpkg's order does not say which of the two versions is newer. */
export type PackageChange =
  | { kind: "added"; name: string; architecture: string; after: string }
  | { kind: "removed"; name: string; architecture: string; before: string }
  | { kind: "upgraded" | "downgraded" | "changed"; name: string; architecture: string; before: string; after: string };

/** How anything differs that has a digest: a container image by its reference, a file by its path. */
export type DigestChange =
  | { kind: "added"; name: string; after: string }
  | { kind: "removed"; name: string; before: string }
  | { kind: "changed"; name: string; before: string; after: string };

/** All differences between two contents; each list is in the order of names. */
export interface ContentsDiff {
  packages: readonly PackageChange[];
  images: readonly DigestChange[];
  files: readonly DigestChange[];
}

/** Compares what two images hold. Nothing is left out: without a change the contents are equal. */
export function diffContents(before: ImageContents, after: ImageContents): ContentsDiff {
  const image = ({ reference, sha256 }: ContainerImage): [string, string] => [reference, sha256];
  const file = ({ path, sha256 }: MeasuredFile): [string, string] => [path, sha256];
  return {
    packages: diffPackages(before.packages, after.packages),
    images: diffDigests(before.images.map(image), after.images.map(image)),
    files: diffDigests(before.files.map(file), after.files.map(file)),
  };
}

/** Compares two lists of packages, in any order. A name may be there in several architectures. */
export function diffPackages(before: readonly Package[], after: readonly Package[]): PackageChange[] {
  const versions = (list: readonly Package[]) =>
    list.map(({ name, architecture, version }): [string, string] => [`${name}:${architecture}`, version]);
  return diffDigests(versions(before), versions(after)).map((change) => {
    const colon = change.name.lastIndexOf(":");
    const [name, architecture] = [change.name.slice(0, colon), change.name.slice(colon + 1)];
    if (change.kind !== "changed") return { ...change, name, architecture };
    return { ...change, name, architecture, kind: directionOf(change.before, change.after) };
  });
}

function directionOf(before: string, after: string): "upgraded" | "downgraded" | "changed" {
  const [old, young] = [parseDebianVersion(before), parseDebianVersion(after)];
  if (old === undefined || young === undefined) return "changed";
  const difference = compareDebianVersions(old, young);
  return difference < 0 ? "upgraded" : difference > 0 ? "downgraded" : "changed";
}

function diffDigests(before: readonly [string, string][], after: readonly [string, string][]): DigestChange[] {
  const [old, young] = [new Map(before), new Map(after)];
  const names = [...new Set([...old.keys(), ...young.keys()])].toSorted();
  return names.flatMap((name): DigestChange[] => {
    const [was, is] = [old.get(name), young.get(name)];
    if (was === is) return [];
    if (was === undefined) return is === undefined ? [] : [{ kind: "added", name, after: is }];
    return is === undefined
      ? [{ kind: "removed", name, before: was }]
      : [{ kind: "changed", name, before: was, after: is }];
  });
}

/** The difference as lines of text: `+` was added, `-` removed, `~` changed. */
export function contentsDiffLines({ packages, images, files }: ContentsDiff): string[] {
  const part = (title: string, lines: readonly string[]): string[] =>
    lines.length === 0 ? [] : [`${title}: ${lines.length} differences`, ...lines.map((line) => `  ${line}`)];
  const all = [
    ...part("installed packages", packages.map(packageLine)),
    ...part("container images", images.map(digestLine)),
    ...part("protected files", files.map(digestLine)),
  ];
  return all.length > 0 ? all : ["both images hold the same packages, container images and protected files"];
}

/** A change of a package as a line of text. */
export function packageLine(change: PackageChange): string {
  const { name } = change;
  switch (change.kind) {
    case "added":
      return `+ ${name} ${change.after}`;
    case "removed":
      return `- ${name} ${change.before}`;
    default:
      return `~ ${name} ${change.before} -> ${change.after}${change.kind === "upgraded" ? "" : ` (${change.kind})`}`;
  }
}

/** Digests as far as a reader compares them. */
function digestLine(change: DigestChange): string {
  const short = (digest: string): string => digest.slice(0, 12);
  switch (change.kind) {
    case "added":
      return `+ ${change.name} ${short(change.after)}`;
    case "removed":
      return `- ${change.name} ${short(change.before)}`;
    case "changed":
      return `~ ${change.name} ${short(change.before)} -> ${short(change.after)}`;
  }
}

/**
 * A list of packages as `dpkg-query -W` prints it and as Ubuntu publishes it beside each cloud image: `NAME\tVERSION`, or
 * `NAME:ARCHITECTURE\tVERSION`; snaps (`snap:NAME`) are no packages.
 * @param architecture of packages without one
 * @returns undefined when a line has another form
 */
export function packagesOf(manifest: string, architecture: string): Package[] | undefined {
  const lines = manifest.split("\n").filter((line) => line !== "" && !line.startsWith("snap:"));
  const packages = lines.flatMap((line) => {
    const [, name, own = architecture, version] = /^([a-z0-9][a-z0-9+.-]*)(?::([a-z0-9-]+))?\t(\S+)$/.exec(line) ?? [];
    return name === undefined || version === undefined ? [] : [{ name, version, architecture: own }];
  });
  return packages.length === lines.length ? packages : undefined;
}
