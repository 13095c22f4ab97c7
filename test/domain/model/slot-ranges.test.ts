import assert from "node:assert/strict";
import { hasSlot, slotRanges } from "../../../src/domain/model/slot-ranges.ts";

describe("slots in a word", () => {
  for (const [slots, word] of [
    [[], ""],
    [[0], "0"],
    [[3, 1, 0, 2], "0-3"],
    [[0, 1, 5, 7, 8, 9], "0-1,5,7-9"],
    [Array.from({ length: 1000 }, (_, slot) => slot), "0-999"],
  ] as [number[], string][]) {
    it(`are ${word || "none"}, and has exactly those`, () => {
      assert.equal(slotRanges(slots), word);
      for (let slot = 0; slot <= 1001; slot += 1) assert.equal(hasSlot(word, slot), slots.includes(slot), `${slot}`);
    });
  }

  it("has every slot when it is not understood", () => {
    assert.ok(hasSlot("all", 3) && hasSlot("0-1,?", 3));
  });
});
