import assert from "node:assert/strict";
import { nthAddress, parseBlock } from "../../../src/domain/model/address.ts";

describe("blocks of addresses", () => {
  for (const [text, block] of [
    ["10.0.0.9", { first: 167772169, last: 167772169 }],
    ["10.0.0.9-10.0.1.2", { first: 167772169, last: 167772418 }],
    ["10.0.0.9-10.0.0.8", undefined],
    ["10.0.0.9-", undefined],
    ["10.0.0.9-10.0.0.10-10.0.0.11", undefined],
    ["10.0.0.256", undefined],
    ["", undefined],
  ] as const)
    it(`are ${block ? "read" : "refused"}: ${text}`, () => assert.deepEqual(parseBlock(text), block));

  it("are counted through in their order", () => {
    const blocks = ["10.0.0.9", "10.0.0.20-10.0.0.21", "10.0.0.5"].flatMap((text) => parseBlock(text) ?? []);
    assert.deepEqual(
      [0, 1, 2, 3, 4].map((index) => nthAddress(blocks, index)),
      ["10.0.0.9", "10.0.0.20", "10.0.0.21", "10.0.0.5", undefined],
    );
  });
});
