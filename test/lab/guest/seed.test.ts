import assert from "node:assert/strict";
import fc from "fast-check";
import { readSeed, SeedRefused } from "../../../lab/guest/seed.ts";
import { cidata } from "../../../src/domain/images/cidata.ts";

const SECTOR = 2048;
const good = {
  "user-data": "#cloud-config\nruncmd: [[true]]\n",
  "meta-data": "instance-id: bake-1\nlocal-hostname: bake\n",
  "network-config": "version: 1\nconfig: [{type: physical, name: eth0, mac_address: 'bc:24:11:00:00:01'}]\n",
};
type Files = Partial<Record<keyof typeof good, string>>;

const imageOf = (changes: Files): Buffer =>
  Buffer.from(cidata(Object.fromEntries(Object.entries({ ...good, ...changes }).filter(([, text]) => text !== "-"))));

describe("a guest that reads the CD of a seed", () => {
  it("takes one that is whole", () => {
    const { metaData, userData, network } = readSeed(imageOf({}));
    assert.deepEqual(metaData, { instanceId: "bake-1", hostname: "bake" });
    assert.deepEqual(userData.runcmd, [[true]]);
    assert.equal(network?.version, 1);
    assert.equal(readSeed(imageOf({ "network-config": "-" })).network, undefined);
  });

  const refused: [what: string, files: Files, message: RegExp][] = [
    ["no meta-data", { "meta-data": "-" }, /has no meta-data/],
    ["no user-data", { "user-data": "-" }, /has no user-data/],
    ["no first line", { "user-data": "runcmd: []\n" }, /does not begin with #cloud-config/],
    ["the first line of another form", { "user-data": "#cloud-config-archive\n[]\n" }, /does not begin with/],
    ["no YAML", { "user-data": "#cloud-config\na: [\n" }, /user-data: /],
    ["a list for its user-data", { "user-data": "#cloud-config\n- a\n" }, /is no map/],
    ["one command for a list", { "user-data": "#cloud-config\nruncmd: reboot\n" }, /runcmd is no list/],
    ["a relative path", { "user-data": "#cloud-config\nwrite_files: [{path: a, content: b}]\n" }, /no absolute path/],
    [
      "permissions that YAML read as a number",
      { "user-data": "#cloud-config\nwrite_files: [{path: /a, content: b, permissions: 0o644}]\n" },
      /permissions/,
    ],
    ["no instance", { "meta-data": "local-hostname: bake\n" }, /no instance-id/],
    ["a network of version 2", { "network-config": "version: 2\nethernets: {}\n" }, /version 2 and not 1/],
    [
      "a card without an address of its own",
      { "network-config": "version: 1\nconfig: [{type: physical, name: eth0}]\n" },
      /without mac_address/,
    ],
    ["a text that is no UTF-8", {}, /is no UTF-8/],
  ];
  for (const [what, files, message] of refused)
    it(`refuses one with ${what}`, () => {
      const image = message.source === "is no UTF-8" ? withBytes(imageOf({}), "#cloud", 0xff) : imageOf(files);
      assert.throws(() => readSeed(image), { name: "SeedRefused", message });
    });

  const damaged: [what: string, damage: (image: Buffer) => Buffer, message: RegExp][] = [
    ["named otherwise", (image) => withBytes(image, "cidata", 0x78), /is named "xidata"/],
    ["named otherwise for Joliet alone", (image) => withByte(image, 17 * SECTOR + 41, 0x78), /is named "xidata"/],
    ["cut off", (image) => image.subarray(0, image.length - SECTOR), /has \d+ bytes of/],
    ["without descriptors", (image) => image.subarray(0, 16 * SECTOR), /ends before sector/],
    ["without an end of its descriptors", (image) => withByte(image, 18 * SECTOR + 1, 0), /no volume descriptor/],
    ["with numbers that differ", (image) => withByte(image, 17 * SECTOR + 80, 99), /two numbers/],
  ];
  for (const [what, damage, message] of damaged)
    it(`refuses one that is ${what}`, () => {
      assert.throws(() => readSeed(damage(imageOf({}))), { name: "SeedRefused", message });
    });

  it("ends with its own error on any damage, or reads the same", () => {
    const image = imageOf({});
    const property = fc.property(fc.nat({ max: image.length - 1 }), fc.nat({ max: 255 }), (at, value) => {
      try {
        readSeed(withByte(image, at, value));
      } catch (error) {
        assert.ok(error instanceof SeedRefused, String(error));
      }
    });
    fc.assert(property, { numRuns: 500 });
  });
});

function withByte(image: Buffer, at: number, value: number): Buffer {
  const changed = Buffer.from(image);
  changed[at] = value;
  return changed;
}

/** With the first byte of the first place where a text stands changed. */
function withBytes(image: Buffer, text: string, value: number): Buffer {
  const at = image.indexOf(text);
  assert.ok(at >= 0);
  return withByte(image, at, value);
}
