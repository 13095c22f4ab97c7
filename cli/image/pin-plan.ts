/** What `evergreen image pin` would pin: the newest release of the base image, today's archive, RKE2's files. */
import { readRke2Release } from "../../src/clients/feeds/rke2-release.ts";
import { requireNone } from "../../src/clients/feeds/faults.ts";
import { NotThere } from "../../src/clients/feeds/fetch-errors.ts";
import { fetchBytes } from "../../src/clients/feeds/fetch.ts";
import { UPSTREAM, type Source } from "../../src/clients/feeds/source.ts";
import { findUbuntuRelease } from "../../src/clients/feeds/ubuntu-release.ts";
import type { NewValue } from "../../src/config/image-edit.ts";
import type { ImageDefinition } from "../../src/domain/images/definition.ts";
import { archiveDateOf, dateOfSerial, futureFault, leastArtefacts, olderFault } from "../../src/domain/images/pins.ts";
import type { Deadline } from "../../src/runtime/deadline.ts";
import { UserError } from "../../src/runtime/errors.ts";

/** What is asked for beside the newest. */
export interface PinWishes {
  /** Date of a release of the base image. */
  base?: string;
  /** Version of RKE2: the definition's by default. */
  rke2?: string;
  /** Moment of the archive: the beginning of this day by default. */
  archiveDate?: string;
}

/** Where it is looked for. */
export interface PinPlaces {
  /** A mirror that is asked in place of the network, or beside it. */
  mirror: Source | undefined;
  /** Nothing but the mirror is asked. */
  isMirrorOnly: boolean;
  /** Public keys, armored: Ubuntu's by default. */
  keys: string;
  cache: string;
  now: Date;
  deadline: Deadline;
}

/** What changes, and what it rests on. */
export interface PinPlan {
  values: readonly (NewValue & { before: string | undefined })[];
  archiveDate: string;
  signedAt: Date;
  /** Lists, signature, manifest and changelog, by the names of files. */
  evidence: ReadonlyMap<string, Uint8Array>;
}

/** Finds what a definition shall pin. @throws UserError when anything of it cannot be found, or is not to be trusted */
export async function findPins(definition: ImageDefinition, wishes: PinWishes, places: PinPlaces): Promise<PinPlan> {
  const { base, rke2 } = definition;
  const { releases, series, architecture } = releasesOf(base.url);
  const { mirror = UPSTREAM, isMirrorOnly, keys, cache, now, deadline } = places;
  const release = await findUbuntuRelease({
    ...{ source: mirror, releases, serial: wishes.base, architecture, keys, fingerprint: base.signedBy },
    ...{ cache, now, deadline },
  });
  if (wishes.base === undefined) requireNone(olderFault(base.serial, release.serial), base.url);
  const archiveDate = wishes.archiveDate ?? newestArchive(release.serial, now);
  requireNone(futureFault(archiveDate, now), "--archive-date");
  if (!isMirrorOnly) await requireArchive(archiveDate, series, deadline);
  const version = wishes.rke2 ?? rke2.version;
  const named = rke2.artefacts.map(({ file }) => file);
  const { artefacts, evidence } = await readRke2Release({
    sources: mirror === UPSTREAM || isMirrorOnly ? [mirror] : [mirror, UPSTREAM],
    version,
    architecture,
    files: named.length > 0 ? named : leastArtefacts(architecture, rke2.cni),
    deadline,
  });
  const before = new Map(rke2.artefacts.map(({ file, sha256 }) => [file, sha256]));
  const values = [
    { path: ["base", "url"], value: release.url, before: base.url },
    { path: ["base", "sha256"], value: release.sha256, before: base.sha256 },
    { path: ["archiveDate"], value: archiveDate, before: definition.archiveDate },
    { path: ["rke2", "version"], value: version, before: rke2.version },
    ...artefacts.map(({ file, sha256 }) => ({
      path: ["rke2", "artefacts", file],
      value: sha256,
      before: before.get(file),
    })),
  ];
  return {
    values: values.filter((one) => one.value !== one.before),
    archiveDate,
    signedAt: release.signedAt,
    evidence: new Map([...release.evidence, ...evidence]),
  };
}

/** `https://cloud-images.ubuntu.com/releases/noble/release-20260725/ubuntu-24.04-server-cloudimg-amd64.img` */
function releasesOf(url: string): { releases: URL; series: string; architecture: string } {
  const [, folder, series, architecture] =
    /^(https:\/\/[^?#]+\/([a-z]+)\/)release-[\d.]+\/ubuntu-[\d.]+-server-cloudimg-([a-z0-9]+)\.img$/.exec(url) ?? [];
  if (folder !== undefined && series !== undefined && architecture !== undefined)
    return { releases: new URL(folder), series, architecture };
  throw new UserError({
    what: "the base image is no release of Ubuntu's cloud images: what is newer than it cannot be found",
    where: `base.url: ${url}`,
    todo: "pin it by hand, or begin with one of https://cloud-images.ubuntu.com/releases/",
  });
}

/** The beginning of the day, but not before the release of the base: apt would have older packages than are installed. */
function newestArchive(serial: string, now: Date): string {
  return archiveDateOf(new Date(Math.max(now.getTime(), dateOfSerial(serial))));
}

const INDEX_BYTES = 4 * 1024 * 1024;

/** The archive must have this moment: the bake would find out hours later. */
async function requireArchive(archiveDate: string, series: string, deadline: Deadline): Promise<void> {
  const address = new URL(`https://snapshot.ubuntu.com/ubuntu/${archiveDate}/dists/${series}/InRelease`);
  try {
    await fetchBytes({ source: UPSTREAM, address, mostBytes: INDEX_BYTES, deadline });
  } catch (error) {
    if (!(error instanceof NotThere)) throw error;
    throw new UserError(
      {
        what: `Ubuntu's archive has no moment ${archiveDate} for ${series}`,
        where: address.href,
        todo: "name another one with --archive-date: since March 2023, and not to come",
      },
      { cause: error },
    );
  }
}
