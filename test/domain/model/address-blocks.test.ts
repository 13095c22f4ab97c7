import assert from "node:assert/strict";
import fc from "fast-check";
import {
  addressAfter,
  formatAddress,
  inUrl,
  mayBelongToNode,
  nthAddress,
  parseAddress,
  parseBlock,
  usualSpelling,
} from "../../../src/domain/model/address.ts";

describe("blocks of addresses", () => {
  for (const [text, block] of [
    ["10.0.0.9", { family: 4, first: 167772169n, last: 167772169n }],
    ["10.0.0.9-10.0.1.2", { family: 4, first: 167772169n, last: 167772418n }],
    ["::9-::1:2", { family: 6, first: 9n, last: 65538n }],
    ["10.0.0.9-10.0.0.8", undefined],
    ["fd00::9-fd00::8", undefined],
    ["10.0.0.9-fd00::8", undefined],
    ["10.0.0.9-", undefined],
    ["10.0.0.9-10.0.0.10-10.0.0.11", undefined],
    ["10.0.0.256", undefined],
    ["fd00::9%eth0", undefined],
    ["", undefined],
  ] as const)
    it(`are ${block ? "read" : "refused"}: ${text}`, () => assert.deepEqual(parseBlock(text), block));

  it("are counted through in their order", () => {
    const blocks = ["10.0.0.9", "10.0.0.20-10.0.0.21", "fd00::ffff-fd00::1:0"].flatMap(
      (text) => parseBlock(text) ?? [],
    );
    assert.deepEqual(
      [0, 1, 2, 3, 4, 5].map((index) => nthAddress(blocks, index)),
      ["10.0.0.9", "10.0.0.20", "10.0.0.21", "fd00::ffff", "fd00::1:0", undefined],
    );
  });

  it("do not go on after the last address of their family", () => {
    assert.equal(addressAfter("255.255.255.255", 1), undefined);
    assert.equal(addressAfter("fd00::ffff", 1), "fd00::1:0");
    assert.equal(addressAfter("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 1), undefined);
  });
});

describe("an IPv6 address", () => {
  for (const [text, usual] of [
    ["0:0:0:0:0:0:0:1", "::1"],
    ["FD00::A", "fd00::a"],
    ["fd00:0000::0010", "fd00::10"],
    ["fd00::10.0.0.5", "fd00::a00:5"],
    ["fd00:0:0:1:0:0:0:2", "fd00:0:0:1::2"],
    ["fd00:1:0:2:3:4:5:6", "fd00:1:0:2:3:4:5:6"],
    ["fd00::", "fd00::"],
  ] as const)
    it(`is one address in all spellings: ${text}`, () => assert.equal(usualSpelling(text), usual));

  it("is the number that it was written from, however it is written", () => {
    const value = fc.oneof(
      fc.bigInt(0n, 2n ** 128n - 1n),
      fc.array(fc.constantFrom(0n, 0n, 1n, 0xffffn), { minLength: 8, maxLength: 8 }).map((groups) => {
        return groups.reduce<bigint>((sum, group) => (sum << 16n) | group, 0n);
      }),
    );
    fc.assert(
      fc.property(value, (number) => {
        const text = formatAddress({ family: 6, value: number });
        const groups = Array.from({ length: 8 }, (_, i) => (number >> BigInt(112 - 16 * i)) & 0xffffn);
        const long = groups.map((group) => group.toString(16).toUpperCase().padStart(4, "0")).join(":");
        const tail = groups.slice(6).flatMap((group) => [group >> 8n, group & 0xffn]);
        const mixed = `${long.split(":").slice(0, 6).join(":")}:${tail.join(".")}`;
        for (const spelling of [text, long, mixed])
          assert.deepEqual(parseAddress(spelling), { family: 6, value: number }, spelling);
      }),
    );
  });

  for (const [text, may] of [
    ["fd00::20", true],
    ["2001:db8::20-2001:db8::3f", true],
    ["fec0::1", true],
    ["::2", true],
    ["::", false],
    ["::1", false],
    ["::ffff:10.0.0.5", false],
    ["fe80::1", false],
    ["febf::1", false],
    ["ff02::1", false],
    ["fe7f::-fe80::", false],
  ] as const)
    it(`${may ? "may" : "may not"} belong to a node: ${text}`, () => {
      const block = parseBlock(text);
      assert.equal(block && mayBelongToNode(block), may);
    });

  it("stands in brackets in a URL, and nothing else does", () => {
    assert.deepEqual(["fd00::5", "10.0.0.5", "k8s.example"].map(inUrl), ["[fd00::5]", "10.0.0.5", "k8s.example"]);
  });
});
