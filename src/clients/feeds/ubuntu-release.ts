/** The newest release of Ubuntu's cloud images, or a given one, by its signed list of digests. */
import { basename } from "node:path";
import { readFile } from "node:fs/promises";
import { baseFilesOf, parseSums, serialsOf, signatureFault } from "../../domain/images/pins.ts";
import type { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { requireNone, requireRight } from "./faults.ts";
import { fetchBytes, fetchFile, listFolder } from "./fetch.ts";
import { verifySignature } from "./signature.ts";
import { placeOf, type Source } from "./source.ts";

/** What is asked for. */
export interface UbuntuQuery {
  source: Source;
  /** Folder of all releases: `https://cloud-images.ubuntu.com/releases/noble/`. */
  releases: URL;
  /** Date of a release; undefined: the newest. */
  serial: string | undefined;
  architecture: string;
  /** Public keys, armored, and which of them must have signed. */
  keys: string;
  fingerprint: string;
  /** Folder of the cache. */
  cache: string;
  now: Date;
  deadline: Deadline;
}

/** A release whose list has a good signature. */
export interface UbuntuRelease {
  serial: string;
  url: string;
  sha256: string;
  signedAt: Date;
  /** What the pin rests on, by the names of files: the list, its signature, the manifest and the changelog. */
  evidence: ReadonlyMap<string, Uint8Array>;
}

/** Bytes of the largest list, and of the largest changelog. */
const SUMS_BYTES = 1024 * 1024;
const LISTING_BYTES = 8 * 1024 * 1024;

/** Finds a release and checks its list. The image itself is not downloaded. */
export async function findUbuntuRelease(query: UbuntuQuery): Promise<UbuntuRelease> {
  const { source, releases, architecture, cache, deadline } = query;
  const serial = query.serial ?? (await findNewest(query));
  const folder = new URL(`release-${serial}/`, releases);
  const wanted = (file: string, mostBytes: number) => ({
    ...{ source, address: new URL(file, folder), mostBytes, deadline },
  });
  const sums = await fetchBytes(wanted("SHA256SUMS", SUMS_BYTES));
  const signature = await fetchBytes(wanted("SHA256SUMS.gpg", SUMS_BYTES));
  const where = placeOf(source, new URL("SHA256SUMS", folder)).href;
  const { keys, fingerprint, now } = query;
  const signedAt = await verifySignature({ content: sums, signature, keys, fingerprint, where, now });
  requireNone(signatureFault(signedAt, serial), where);
  const list = requireRight(parseSums(sums.toString("utf8")), where);
  const { image, manifest, changelog } = requireRight(baseFilesOf(list, architecture, serial), where);
  const evidence = new Map<string, Uint8Array>([
    ["SHA256SUMS", sums],
    ["SHA256SUMS.gpg", signature],
  ]);
  for (const { file, sha256 } of [manifest, ...(changelog === undefined ? [] : [changelog])]) {
    const { path } = await fetchFile(wanted(file, LISTING_BYTES), sha256, cache);
    evidence.set(basename(file), await readFile(path));
  }
  return { serial, url: new URL(image.file, folder).href, sha256: image.sha256, signedAt, evidence };
}

async function findNewest({ source, releases, deadline }: UbuntuQuery): Promise<string> {
  const names = await listFolder({ source, address: releases, mostBytes: LISTING_BYTES, deadline });
  const newest = serialsOf(names).at(-1);
  if (newest !== undefined) return newest;
  throw new UserError({
    what: "there is no release of the cloud image",
    where: placeOf(source, releases).href,
    todo: "a mirror needs a copy of a release's folder (release-DATE), below the name of its host",
  });
}
