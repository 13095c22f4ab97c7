/** Which template a record is of: what Proxmox can show of it, and the line of its notes that leads to the record. */
import { fingerprint } from "../model/canonical.ts";
import { DRIVE, propertiesOf, volumeOf, type TemplateOptions } from "./hardware.ts";

/** What Proxmox can show of a template. It has no digest of a volume: the content of a disk is not part of this. */
export interface TemplateIdentity {
  /** Name of the VM: `ubuntu-24-04-rke2-v1.2.0`. */
  name: string;
  /** SMBIOS uuid, in lower case. */
  uuid: string;
  /** SHA-256 of the options of its configuration, 64 hexadecimal digits. */
  config: string;
  /** Its disks and drives, by their names. */
  volumes: readonly TemplateVolume[];
}

/** A volume of a template. */
export interface TemplateVolume {
  /** Id of the volume: `local:9001/base-9001-disk-0.qcow2`. */
  id: string;
  /** Size in bytes, as the content list of the storage says. */
  bytes: number;
}

/**
 * Options that say nothing of what a clone will be: the notes, which lead to the record and are written after it, the
 * lock of a task, and the digest that Proxmox makes of both.
 */
const NOT_IDENTITY = new Set(["description", "digest", "lock"]);

/**
 * The identity of a template, from its configuration and the sizes of the volumes of its storages, by their ids.
 * @returns undefined when it has no SMBIOS uuid, or when the size of a volume of it is not known
 */
export function identityOf(options: TemplateOptions, sizes: ReadonlyMap<string, number>): TemplateIdentity | undefined {
  const uuid = propertiesOf(options.get("smbios1") ?? "").get("uuid");
  const volumes = volumeIds(options).map((id) => ({ id, bytes: sizes.get(id) }));
  const isKnown = (volume: { id: string; bytes: number | undefined }): volume is TemplateVolume =>
    volume.bytes !== undefined;
  if (uuid === undefined || !volumes.every(isKnown)) return undefined;
  const kept = Object.fromEntries([...options].filter(([name]) => !NOT_IDENTITY.has(name)));
  return { name: options.get("name") ?? "", uuid: uuid.toLowerCase(), config: fingerprint(kept, 64), volumes };
}

/** Ids of the volumes of a template, in the order of the names of its drives. */
export function volumeIds(options: TemplateOptions): string[] {
  return [...options]
    .filter(([name]) => DRIVE.test(name))
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([, value]) => volumeOf(propertiesOf(value)))
    .filter((volume) => volume.includes(":"));
}

/** The SHA-256 of an identity: the digest of a template in statements about it. */
export function identityDigest(identity: TemplateIdentity): string {
  return fingerprint(identity, 64);
}

const NOTE = /^Evergreen: the record of this image is sha256:([0-9a-f]{64})\s*$/;

/** The line of a template's notes that names its record by its digest. */
export function recordNote(digest: string): string {
  return `Evergreen: the record of this image is sha256:${digest}`;
}

/** Digest of the record that the notes of a template name: undefined when they name none, or more than one. */
export function notedRecord(notes: string): string | undefined {
  const digests = new Set(notes.split("\n").flatMap((line) => NOTE.exec(line)?.[1] ?? []));
  return digests.size === 1 ? [...digests][0] : undefined;
}
