import { compareVersions, parseVersion, type Rke2Version } from "./versions.ts";

/**
 * Known facts about RKE2's releases, as data. From rancher/rke2-docs, `docs/release-notes*` (tables of 1.32 to 1.36,
 * state of 2026-08-20), and rancher/rke2, `channels.yaml`.
 */

/** Releases that RKE2 withdrew: the channels' `excludeRegexp` leaves them out. */
const WITHDRAWN: readonly string[] = [
  "v1.19.13+rke2r1",
  "v1.20.9+rke2r1",
  "v1.21.3+rke2r2",
  "v1.24.9+rke2r1",
  "v1.25.5+rke2r1",
  "v1.26.0+rke2r1",
];

/**
 * The etcd version of each release. Revisions skip numbers, and a new etcd minor version begins in the middle of 1.33.
 */
const ETCD_OF: readonly (readonly [etcd: string, releases: readonly string[]])[] = [
  ["3.5.16", ["v1.32.0+rke2r1", "v1.32.1+rke2r1"]],
  ["3.5.18", ["v1.32.2+rke2r1"]],
  ["3.5.19", ["v1.32.3+rke2r1"]],
  ["3.5.21", ["v1.32.4+rke2r1", "v1.32.5+rke2r1", "v1.32.6+rke2r1", "v1.32.7+rke2r1", "v1.32.8+rke2r1"]],
  ["3.5.21", ["v1.32.9+rke2r1", "v1.32.10+rke2r1"]],
  ["3.5.25", ["v1.32.11+rke2r1"]],
  ["3.5.26", ["v1.32.11+rke2r3", "v1.32.12+rke2r1", "v1.32.13+rke2r1", "v1.32.13+rke2r2"]],

  ["3.5.21", ["v1.33.0+rke2r1", "v1.33.1+rke2r1", "v1.33.2+rke2r1", "v1.33.3+rke2r1", "v1.33.4+rke2r1"]],
  ["3.5.21", ["v1.33.5+rke2r1", "v1.33.6+rke2r1"]],
  ["3.5.25", ["v1.33.7+rke2r1"]],
  ["3.5.26", ["v1.33.7+rke2r3", "v1.33.8+rke2r1", "v1.33.9+rke2r1", "v1.33.10+rke2r1", "v1.33.10+rke2r3"]],
  ["3.6.7", ["v1.33.11+rke2r1", "v1.33.12+rke2r1", "v1.33.12+rke2r2"]],
  ["3.6.12", ["v1.33.13+rke2r1"]],
  ["3.6.14", ["v1.33.13+rke2r2"]],

  ["3.6.4", ["v1.34.1+rke2r1"]],
  ["3.6.5", ["v1.34.2+rke2r1"]],
  ["3.6.6", ["v1.34.3+rke2r1"]],
  ["3.6.7", ["v1.34.3+rke2r3", "v1.34.4+rke2r1", "v1.34.5+rke2r1", "v1.34.6+rke2r1", "v1.34.6+rke2r3"]],
  ["3.6.7", ["v1.34.7+rke2r1", "v1.34.8+rke2r1", "v1.34.8+rke2r2"]],
  ["3.6.12", ["v1.34.9+rke2r1"]],
  ["3.6.14", ["v1.34.10+rke2r1"]],

  ["3.6.6", ["v1.35.0+rke2r1"]],
  ["3.6.7", ["v1.35.0+rke2r3", "v1.35.1+rke2r1", "v1.35.2+rke2r1", "v1.35.3+rke2r1", "v1.35.3+rke2r3"]],
  ["3.6.7", ["v1.35.4+rke2r1", "v1.35.5+rke2r1", "v1.35.5+rke2r2"]],
  ["3.6.12", ["v1.35.6+rke2r1"]],
  ["3.6.14", ["v1.35.7+rke2r1"]],

  ["3.6.7", ["v1.36.0+rke2r1", "v1.36.1+rke2r1", "v1.36.1+rke2r2"]],
  ["3.6.12", ["v1.36.2+rke2r1"]],
  ["3.6.14", ["v1.36.3+rke2r1"]],
];

/** The etcd version of a release. */
export interface Etcd {
  minor: number;
  patch: number;
  /** False when the release is not in the table: then its etcd is this version or a newer one. */
  exact: boolean;
}

interface Release {
  text: string;
  version: Rke2Version;
  etcd: Etcd;
}

/** All known releases, from old to new. */
export const RELEASES: readonly Release[] = ETCD_OF.flatMap(([etcd, releases]) =>
  releases.flatMap((text) => {
    const version = parseVersion(text);
    const [, minor, patch] = etcd.split(".").map(Number);
    return version === undefined || minor === undefined || patch === undefined
      ? []
      : [{ text, version, etcd: { minor, patch, exact: true } }];
  }),
).toSorted((a, b) => compareVersions(a.version, b.version));

/** The etcd of releases before 1.32: in 1.31 it is 3.5.13 to 3.5.21. */
export const BEFORE_THE_TABLE: Etcd = { minor: 0, patch: 0, exact: false };
/** "RKE2 v1.34 and higher include etcd 3.6" (rke2-docs, release notes of v1.33.7+rke2r1). */
const FIRST_MINOR_WITH_3_6 = 34;

export function isWithdrawn(release: string): boolean {
  return WITHDRAWN.includes(release);
}

/**
 * The etcd version of a release; undefined when it is not known. An unlisted release has at least the etcd of the
 * listed release before it in its minor version: within one, etcd never went back. But after a release with 3.5 the
 * next may have 3.5 or 3.6, and that decides whether an upgrade is safe.
 */
export function etcdOf(release: Rke2Version): Etcd | undefined {
  const upTo = RELEASES.filter(({ version }) => compareVersions(version, release) <= 0);
  const nearest = upTo.at(-1);
  if (nearest === undefined) return BEFORE_THE_TABLE;
  if (compareVersions(nearest.version, release) === 0) return nearest.etcd;
  const sameMinor = nearest.version.major === release.major && nearest.version.minor === release.minor;
  if (sameMinor && nearest.etcd.minor >= 6) return { ...nearest.etcd, exact: false };
  return release.minor >= FIRST_MINOR_WITH_3_6 ? { minor: 6, patch: 0, exact: false } : undefined;
}

/** Negative when `a` is older than `b`, as far as they are known. */
export function compareEtcd(a: Etcd, b: Etcd): number {
  return a.minor - b.minor || a.patch - b.patch;
}
