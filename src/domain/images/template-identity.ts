/** Which template a record is of: what Proxmox shows of it, and the line of its notes that leads to the record. */
import { fingerprint } from "../model/canonical.ts";
import { DRIVE, propertiesOf, volumeOf, type TemplateOptions } from "./hardware.ts";

/**
 * What Proxmox shows of a template to whoever may clone it. It has no digest of a volume: the content of a disk is not part
 * of this. The list of a storage shows volumes only to whoever may change the template's disks (`VM.Config.Disk`), which a
 * rollout must not: their sizes are those of the configuration.
 */
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
  /** Size, as the drive's option says: `10G`. */
  size?: string;
}

/**
 * Options that say nothing of what a clone will be: the notes, which lead to the record and are written after it, the
 * lock of a task, and the digest that Proxmox makes of both.
 */
const NOT_IDENTITY = new Set(["description", "digest", "lock"]);

/** The identity of a template, from its configuration. @returns undefined when it has no SMBIOS uuid */
export function identityOf(options: TemplateOptions): TemplateIdentity | undefined {
  const uuid = propertiesOf(options.get("smbios1") ?? "").get("uuid");
  if (uuid === undefined) return undefined;
  const kept = Object.fromEntries([...options].filter(([name]) => !NOT_IDENTITY.has(name)));
  const name = options.get("name") ?? "";
  return { name, uuid: uuid.toLowerCase(), config: fingerprint(kept, 64), volumes: volumesOf(options) };
}

/** The volumes of a template, in the order of the names of its drives. */
function volumesOf(options: TemplateOptions): TemplateVolume[] {
  return [...options]
    .filter(([name]) => DRIVE.test(name))
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, value]) => {
      const drive = propertiesOf(value);
      const [id, size] = [volumeOf(drive), drive.get("size")];
      return id.includes(":") ? [{ id, ...(size === undefined ? {} : { size }) }] : [];
    });
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
