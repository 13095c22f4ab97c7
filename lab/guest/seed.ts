/**
 * Reads the CD of a NoCloud seed as a guest does: the kernel mounts it (ISO 9660, Joliet before plain names), cloud-init
 * takes its files (cloudinit/sources/DataSourceNoCloud.py). What either would not take is refused here.
 */
import { parse } from "yaml";

const SECTOR = 2048;

/** What cloud-init finds on the CD. */
export interface Seed {
  userData: CloudConfig;
  metaData: { instanceId: string; hostname: string | undefined };
  /** Version 1, undefined when there is none: the guest asks for an address by DHCP. */
  network: { version: 1; config: unknown[] } | undefined;
}

/** The part of a cloud-config that a bake uses. */
export interface CloudConfig {
  bootcmd?: unknown;
  write_files?: { path: string; content: string; encoding?: string; permissions?: string }[];
  runcmd?: unknown;
  power_state?: { mode?: unknown; condition?: unknown };
}

/** A CD that no guest would begin with. */
export class SeedRefused extends Error {
  override readonly name = "SeedRefused";
}

/** @throws SeedRefused */
export function readSeed(image: Uint8Array): Seed {
  const files = readFiles(image);
  const text = (name: string): string => {
    const bytes = files.get(name);
    // cloud-init wants both, else it takes the disk for none of its own (NoCloud: required).
    if (bytes === undefined) throw new SeedRefused(`the seed has no ${name}`);
    return utf8(bytes, name);
  };
  return {
    userData: cloudConfig(text("user-data")),
    metaData: metaDataOf(text("meta-data")),
    network: files.has("network-config") ? networkOf(text("network-config")) : undefined,
  };
}

/** Bytes of a file that a cloud-config writes. @throws SeedRefused for an encoding that no bake uses */
export function contentOf({ path, content, encoding }: NonNullable<CloudConfig["write_files"]>[number]): Buffer {
  if (encoding === undefined || encoding === "text/plain") return Buffer.from(content);
  if (encoding === "b64" || encoding === "base64") return Buffer.from(content, "base64");
  throw new SeedRefused(`write_files: ${path} has the encoding ${encoding}`);
}

/** The files of the CD's root directory. @throws SeedRefused when it is no such CD, or is named otherwise */
export function readFiles(image: Uint8Array): Map<string, Uint8Array> {
  const volumes = descriptorsOf(image);
  const joliet = volumes.find(({ kind, bytes }) => kind === 2 && /^%\/[@CE]/.test(latin1(bytes.subarray(88, 91))));
  const primary = volumes.find(({ kind }) => kind === 1);
  if (primary === undefined) throw new SeedRefused("the CD has no primary volume descriptor");
  // blkid, by which cloud-init finds its disk, takes the name of the first one that it knows.
  for (const { bytes, kind } of [primary, ...(joliet ? [joliet] : [])]) {
    const label = (kind === 2 ? ucs2(bytes.subarray(40, 72)) : latin1(bytes.subarray(40, 72))).trimEnd();
    if (label.toLowerCase() !== "cidata") throw new SeedRefused(`the volume is named "${label}" and not cidata`);
  }
  const { bytes, kind } = joliet ?? primary;
  const size = both32(bytes, 80);
  if (image.length < size * SECTOR) throw new SeedRefused(`the CD has ${image.length} bytes of ${size} sectors`);
  if (both16(bytes, 128) !== SECTOR) throw new SeedRefused("the CD has blocks of another size than 2048 bytes");
  const root = recordAt(bytes, 156);
  return new Map(
    recordsOf(slice(image, root.sector, root.size)).map(({ name, ...file }) => {
      const plain =
        kind === 2
          ? ucs2(name)
          : latin1(name)
              .toLowerCase()
              .replace(/\.?;1$/, "");
      return [plain, slice(image, file.sector, file.size)];
    }),
  );
}

interface FileRecord {
  name: Uint8Array;
  sector: number;
  size: number;
  isDirectory: boolean;
}

function descriptorsOf(image: Uint8Array): { kind: number; bytes: Uint8Array }[] {
  const found: { kind: number; bytes: Uint8Array }[] = [];
  for (let sector = 16; ; sector += 1) {
    const bytes = slice(image, sector, SECTOR);
    if (latin1(bytes.subarray(1, 6)) !== "CD001") throw new SeedRefused(`no volume descriptor in sector ${sector}`);
    const kind = bytes[0] ?? 0;
    if (kind === 255) return found;
    found.push({ kind, bytes });
  }
}

/** The files of a directory. A record never crosses the end of a sector: what is left of it is 0. */
function recordsOf(directory: Uint8Array): FileRecord[] {
  const found: FileRecord[] = [];
  for (let at = 0; at < directory.length;) {
    const length = directory[at] ?? 0;
    if (length === 0) {
      at = (Math.floor(at / SECTOR) + 1) * SECTOR;
      continue;
    }
    found.push(recordAt(directory, at));
    at += length;
  }
  return found.filter(({ isDirectory }) => !isDirectory);
}

function recordAt(bytes: Uint8Array, at: number): FileRecord {
  const length = bytes[at] ?? 0;
  const named = bytes[at + 32] ?? 0;
  if (length < 34 || 33 + named > length || at + length > bytes.length)
    throw new SeedRefused(`a record of a directory is cut off (${length} bytes)`);
  return {
    name: bytes.subarray(at + 33, at + 33 + named),
    sector: both32(bytes, at + 2),
    size: both32(bytes, at + 10),
    isDirectory: ((bytes[at + 25] ?? 0) & 2) !== 0,
  };
}

function slice(image: Uint8Array, sector: number, size: number): Uint8Array {
  const start = sector * SECTOR;
  if (start + size > image.length)
    throw new SeedRefused(`the CD ends before sector ${sector + Math.ceil(size / SECTOR)}`);
  return image.subarray(start, start + size);
}

/** A number that is written in both orders of bytes. */
function both32(bytes: Uint8Array, at: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const value = view.getUint32(at, true);
  if (value !== view.getUint32(at + 4, false)) throw new SeedRefused(`two numbers at byte ${at} differ`);
  return value;
}

function both16(bytes: Uint8Array, at: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const value = view.getUint16(at, true);
  if (value !== view.getUint16(at + 2, false)) throw new SeedRefused(`two numbers at byte ${at} differ`);
  return value;
}

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

function ucs2(bytes: Uint8Array): string {
  return Buffer.from(bytes.subarray(0, bytes.length & ~1))
    .swap16()
    .toString("utf16le");
}

function utf8(bytes: Uint8Array, name: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new SeedRefused(`${name} is no UTF-8`);
  }
}

function mapping(text: string, name: string): Record<string, unknown> {
  try {
    const given: unknown = parse(text, { version: "1.1", logLevel: "error" });
    if (typeof given === "object" && given !== null && !Array.isArray(given)) return given as Record<string, unknown>;
  } catch (error) {
    throw new SeedRefused(`${name}: ${error instanceof Error ? error.message : String(error)}`);
  }
  throw new SeedRefused(`${name} is no map`);
}

/** Without this first line cloud-init does not know what it was given, and does nothing with it. */
function cloudConfig(text: string): CloudConfig {
  if (!/^#cloud-config[ \t]*\n/.test(text)) throw new SeedRefused("user-data does not begin with #cloud-config");
  const given = mapping(text, "user-data");
  for (const key of ["bootcmd", "write_files", "runcmd"])
    if (given[key] !== undefined && !Array.isArray(given[key])) throw new SeedRefused(`user-data: ${key} is no list`);
  for (const file of (given.write_files ?? []) as Record<string, unknown>[]) {
    if (typeof file.path !== "string" || !file.path.startsWith("/"))
      throw new SeedRefused(`user-data: write_files: ${JSON.stringify(file.path)} is no absolute path`);
    if (typeof file.content !== "string") throw new SeedRefused(`user-data: write_files: ${file.path} has no content`);
    // Octal digits in quotes: as a number, YAML would read them as another one.
    const mode = file.permissions ?? "0644";
    if (typeof mode !== "string" || !/^0?[0-7]{3,4}$/.test(mode))
      throw new SeedRefused(`user-data: write_files: ${file.path} has the permissions ${JSON.stringify(mode)}`);
  }
  return given;
}

function metaDataOf(text: string): Seed["metaData"] {
  const given = mapping(text, "meta-data");
  const { "instance-id": instanceId, "local-hostname": hostname } = given;
  // Without one cloud-init takes every boot for the first one of another instance.
  if (typeof instanceId !== "string" || instanceId === "") throw new SeedRefused("meta-data has no instance-id");
  return { instanceId, hostname: typeof hostname === "string" ? hostname : undefined };
}

function networkOf(text: string): NonNullable<Seed["network"]> {
  const { version, config } = mapping(text, "network-config");
  // Version 2 with a match by name was rendered into a network that never came up (cloud-init 25.1, networkd).
  if (version !== 1) throw new SeedRefused(`network-config has version ${String(version)} and not 1`);
  if (!Array.isArray(config)) throw new SeedRefused("network-config has no list config");
  for (const card of config as Record<string, unknown>[])
    if (card.type === "physical" && typeof card.mac_address !== "string")
      throw new SeedRefused("network-config has a card without mac_address");
  return { version, config };
}
