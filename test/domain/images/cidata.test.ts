import assert from "node:assert/strict";
import fc from "fast-check";
import { readFiles } from "../../../lab/guest/seed.ts";
import { cidata } from "../../../src/domain/images/cidata.ts";

const SECTOR = 2048;

describe("the CD of a seed", () => {
  const name = fc.stringMatching(/^[a-z][a-z0-9-]{0,20}(\.[a-z]{1,3})?$/);
  const short = (text: string) => {
    const [stem = "", extension = ""] = text.replaceAll("-", "_").split(".");
    return `${stem.slice(0, 8)}.${extension}`;
  };
  const file = fc.tuple(name, fc.uint8Array({ maxLength: 3 * SECTOR }));
  const files = fc.uniqueArray(file, { maxLength: 12, selector: ([text]) => short(text) });

  it("gives back every file that was put on it, byte by byte", () => {
    const property = fc.property(files, (given) => {
      const read = readFiles(cidata(Object.fromEntries(given)));
      const sorted = (list: Iterable<[string, Uint8Array]>) =>
        [...list].map(([text, bytes]) => [text, [...bytes]] as const).toSorted(([a], [b]) => (a < b ? -1 : 1));
      assert.deepEqual(sorted(read), sorted(given));
    });
    fc.assert(property);
  });

  it("has the same bytes in whatever order its files are named", () => {
    const property = fc.property(files, (given) => {
      assert.deepEqual(cidata(Object.fromEntries(given.toReversed())), cidata(Object.fromEntries(given)));
    });
    fc.assert(property);
  });

  it("is of whole sectors, as long as it says, and named for readers with and without Joliet", () => {
    const image = Buffer.from(cidata({ "user-data": "x".repeat(SECTOR + 1), "meta-data": "y" }));
    assert.equal(image.length % SECTOR, 0);
    for (const sector of [16, 17]) {
      const volume = image.subarray(sector * SECTOR, (sector + 1) * SECTOR);
      assert.equal(volume.readUInt32LE(80) * SECTOR, image.length);
      assert.equal(volume.readUInt32BE(84) * SECTOR, image.length);
    }
    assert.equal(image.toString("latin1", 16 * SECTOR + 40, 16 * SECTOR + 46), "cidata");
    assert.equal(
      Buffer.from(image.subarray(17 * SECTOR + 40, 17 * SECTOR + 52))
        .swap16()
        .toString("utf16le"),
      "cidata",
    );
    assert.match(image.toString("latin1", 23 * SECTOR, 24 * SECTOR), /META_DAT\.;1.*USER_DAT\.;1/s);
  });

  for (const [what, given, message] of [
    ["names that are one in their short form", { "user-data": "", "user-data-2": "" }, /USER_DAT\.;1 in their short/],
    ["a name that Joliet has no room for", { ["n".repeat(65)]: "" }, /more than 64 characters/],
    [
      "more files than its directory has room for",
      Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`f${index}`, ""])),
      /too many files/,
    ],
  ] as const)
    it(`refuses ${what}`, () => {
      assert.throws(() => cidata(given), message);
    });
});
