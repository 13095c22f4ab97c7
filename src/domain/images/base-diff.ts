/**
 * What differs between two base images that were pinned, from what Ubuntu has signed of each: the list of its packages,
 * and what has changed since the release before it, with the security notices.
 */
import type { Package } from "./contents.ts";
import { diffPackages, packageLine, type PackageChange } from "./contents-diff.ts";

/** A base image by its evidence. */
export interface PinnedBase {
  /** Date of the release. */
  serial: string;
  packages: readonly Package[];
  /** Canonical's changelog of the release; undefined when it has none. */
  changelog: BaseChangelog | undefined;
}

/** What a release has changed. */
export interface BaseChangelog {
  /** Dates of the release before it, and of itself. */
  from: string;
  to: string;
  cves: readonly ClearedCve[];
}

/** A vulnerability that an updated package no longer has. */
export interface ClearedCve {
  id: string;
  /** Ubuntu's own: `critical`, `high`, `medium`, `low`, `negligible`, or another word. */
  priority: string;
  /** Packages of the image with the fix. */
  packages: readonly string[];
}

/** The difference between two base images. */
export interface BaseDiff {
  from: string;
  to: string;
  packages: readonly PackageChange[];
  /** The most severe first. Undefined: no changelog says. */
  cves: readonly ClearedCve[] | undefined;
  /** What the changelogs do not cover; undefined when they cover all. */
  gap: string | undefined;
}

/** Compares two base images. The way back clears nothing: its packages are compared alone. */
export function diffBases(before: PinnedBase, after: PinnedBase): BaseDiff {
  const packages = diffPackages(before.packages, after.packages);
  const plain = { from: before.serial, to: after.serial, packages };
  if (Number(after.serial) <= Number(before.serial)) return { ...plain, cves: undefined, gap: undefined };
  const { changelog } = after;
  if (changelog === undefined)
    return { ...plain, cves: undefined, gap: `no changelog of ${after.serial} is among its pins` };
  const isWhole = changelog.from === before.serial && changelog.to === after.serial;
  const gap = isWhole
    ? undefined
    : `the changelog is of ${changelog.from} to ${changelog.to}: notices of releases between are not in it`;
  return { ...plain, cves: changelog.cves.toSorted(bySeverity), gap };
}

const SEVERITIES = ["critical", "high", "medium", "low", "negligible"];

function bySeverity(a: ClearedCve, b: ClearedCve): number {
  const rank = ({ priority }: ClearedCve): number => {
    const index = SEVERITIES.indexOf(priority);
    return index < 0 ? SEVERITIES.length : index;
  };
  return rank(a) - rank(b) || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

/** The difference as lines of text: `+` was added, `-` removed, `~` changed. */
export function baseDiffLines({ from, to, packages, cves, gap }: BaseDiff): string[] {
  if (from === to && packages.length === 0) return [];
  return [
    `packages of the base image ${from} -> ${to}: ${packages.length} differences`,
    ...packages.map((change) => `  ${packageLine(change)}`),
    ...(cves === undefined ? [] : [`vulnerabilities that the newer base image clears: ${cves.length}`]),
    ...(cves ?? []).map(({ id, priority, packages: fixed }) => `  ${id} (${priority}): ${fixed.join(", ")}`),
    ...(gap === undefined ? [] : [`  ${gap}`]),
  ];
}
