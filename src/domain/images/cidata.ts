/**
 * A NoCloud seed: a CD image (ISO 9660 with Joliet names) with files in its root directory, whose volume id is `cidata`.
 * The same files give the same bytes: every date in it is the same one. ECMA-119 has the layout, by byte offsets.
 */

const SECTOR = 2048;

/** The date of everything on it. */
const DATE = { year: 2026, digits: "2026010100000000" };

/** Where the parts lie, in sectors: three descriptors, four tables of paths, two directories, then the files. */
const PLACE = { descriptors: 16, tables: 19, directory: 23, jolietDirectory: 24, files: 25 };

interface Entry {
  /** As ECMA-119 wants it: at most 8 and 3 characters. Readers without Joliet see it. */
  short: Uint8Array;
  long: Uint8Array;
  sector: number;
  bytes: Uint8Array;
}

/**
 * @param files by name, such as `user-data`
 * @throws Error when two names are one in their short form, or there are more than a directory of one sector has
 */
export function cidata(files: Readonly<Record<string, Uint8Array | string>>): Uint8Array<ArrayBuffer> {
  const entries = placed(files);
  const end = entries.reduce((next, { sector, bytes }) => Math.max(next, sector + sectorsOf(bytes)), PLACE.files);
  const image = new Uint8Array(end * SECTOR);
  const put = (sector: number, bytes: Uint8Array) => image.set(bytes, sector * SECTOR);
  put(PLACE.descriptors, descriptor(1, end));
  put(PLACE.descriptors + 1, descriptor(2, end));
  put(PLACE.descriptors + 2, ascii("\xffCD001\x01", 7));
  [PLACE.directory, PLACE.jolietDirectory].forEach((directory, index) => {
    put(PLACE.tables + 2 * index, pathTable(directory, true));
    put(PLACE.tables + 2 * index + 1, pathTable(directory, false));
  });
  put(
    PLACE.directory,
    directoryOf(PLACE.directory, entries, ({ short }) => short),
  );
  put(
    PLACE.jolietDirectory,
    directoryOf(PLACE.jolietDirectory, entries, ({ long }) => long),
  );
  for (const { sector, bytes } of entries) put(sector, bytes);
  return image;
}

/** Gives each file its sectors, in the order of the names. */
function placed(files: Readonly<Record<string, Uint8Array | string>>): Entry[] {
  const shorts = new Set<string>();
  let next = PLACE.files;
  return Object.keys(files)
    .toSorted((a, b) => (a < b ? -1 : 1))
    .map((name) => {
      const content = files[name] ?? "";
      const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
      const short = shortName(name);
      if (shorts.has(short)) throw new Error(`two files of the seed are ${short} in their short form`);
      if (name.length > 64) throw new Error(`the name of a file of the seed has more than 64 characters: ${name}`);
      shorts.add(short);
      const entry = { short: ascii(short, short.length), long: wide(name, 2 * name.length), sector: next, bytes };
      next += sectorsOf(bytes);
      return entry;
    });
}

/** `user-data` is `USER_DAT.;1`. */
function shortName(name: string): string {
  const [stem = "", extension = ""] = name
    .toUpperCase()
    .replaceAll(/[^A-Z0-9_.]/g, "_")
    .split(".");
  return `${stem.slice(0, 8)}.${extension.slice(0, 3)};1`;
}

/** A volume descriptor: 1 is the primary one, 2 the supplementary one of Joliet. */
function descriptor(kind: 1 | 2, sectors: number): Uint8Array {
  const isJoliet = kind === 2;
  const text = isJoliet ? wide : ascii;
  const { bytes, view } = block(SECTOR);
  bytes[0] = kind;
  bytes.set(ascii("CD001\x01", 6), 1);
  bytes.set(text("", 32), 8);
  bytes.set(text("cidata", 32), 40);
  putBoth32(view, 80, sectors);
  // The escape sequence that says: names are UCS-2, level 3.
  if (isJoliet) bytes.set(ascii("%/E", 3), 88);
  putBoth16(view, 120, 1);
  putBoth16(view, 124, 1);
  putBoth16(view, 128, SECTOR);
  putBoth32(view, 132, 10);
  const table = PLACE.tables + (isJoliet ? 2 : 0);
  view.setUint32(140, table, true);
  view.setUint32(148, table + 1, false);
  const root = isJoliet ? PLACE.jolietDirectory : PLACE.directory;
  bytes.set(record({ name: Uint8Array.of(0), sector: root, size: SECTOR, isDirectory: true }), 156);
  // Names of the volume set, the publisher, the preparer and the application; of three files about them.
  for (const at of [190, 318, 446, 574]) bytes.set(text("", 128), at);
  for (const at of [702, 739, 776]) bytes.set(text("", 37), at);
  for (const at of [813, 830]) bytes.set(ascii(`${DATE.digits}\0`, 17), at);
  for (const at of [847, 864]) bytes.set(ascii("0000000000000000\0", 17), at);
  bytes[881] = 1;
  return bytes;
}

/** The table of paths has one entry: the root. */
function pathTable(root: number, isLittleEndian: boolean): Uint8Array {
  const { bytes, view } = block(10);
  bytes[0] = 1;
  view.setUint32(2, root, isLittleEndian);
  view.setUint16(6, 1, isLittleEndian);
  return bytes;
}

function directoryOf(own: number, entries: readonly Entry[], nameOf: (entry: Entry) => Uint8Array): Uint8Array {
  const self = { sector: own, size: SECTOR, isDirectory: true };
  const files = entries
    .map((entry) => ({ name: nameOf(entry), sector: entry.sector, size: entry.bytes.length, isDirectory: false }))
    .toSorted((a, b) => Buffer.compare(a.name, b.name));
  const records = [{ ...self, name: Uint8Array.of(0) }, { ...self, name: Uint8Array.of(1) }, ...files].map(record);
  const bytes = new Uint8Array(Buffer.concat(records));
  if (bytes.length > SECTOR) throw new Error(`the seed has too many files for its directory: ${entries.length}`);
  return bytes;
}

function record(of: { name: Uint8Array; sector: number; size: number; isDirectory: boolean }): Uint8Array {
  // Of an even length.
  const { bytes, view } = block(2 * Math.ceil((33 + of.name.length) / 2));
  bytes[0] = bytes.length;
  putBoth32(view, 2, of.sector);
  putBoth32(view, 10, of.size);
  // Years since 1900, month, day, hour, minute, second, quarters of an hour from UTC.
  bytes.set([DATE.year - 1900, 1, 1, 0, 0, 0, 0], 18);
  bytes[25] = of.isDirectory ? 2 : 0;
  putBoth16(view, 28, 1);
  bytes[32] = of.name.length;
  bytes.set(of.name, 33);
  return bytes;
}

const sectorsOf = (bytes: Uint8Array): number => Math.ceil(bytes.length / SECTOR);

function block(size: number): { bytes: Uint8Array; view: DataView } {
  const bytes = new Uint8Array(size);
  return { bytes, view: new DataView(bytes.buffer) };
}

/** A text in Latin-1, filled up with blanks. */
function ascii(text: string, size: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, index) => (index < text.length ? text.charCodeAt(index) : 0x20));
}

/** A text in UCS-2, most significant byte first, filled up with blanks; an odd last byte is 0. */
function wide(text: string, size: number): Uint8Array {
  const { bytes, view } = block(size);
  for (let index = 0; 2 * index + 1 < size; index += 1)
    view.setUint16(2 * index, index < text.length ? text.charCodeAt(index) : 0x20, false);
  return bytes;
}

/** Numbers in both orders of bytes, least significant first, then most significant first. */
function putBoth16(view: DataView, at: number, value: number): void {
  view.setUint16(at, value, true);
  view.setUint16(at + 2, value, false);
}

function putBoth32(view: DataView, at: number, value: number): void {
  view.setUint32(at, value, true);
  view.setUint32(at + 4, value, false);
}
