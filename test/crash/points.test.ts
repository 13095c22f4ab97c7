import assert from "node:assert/strict";
import fc from "fast-check";
import { enumerate, parsePoint, sample, wordsOf } from "./points.ts";

const seen = fc.record({ changes: fc.integer({ min: 1, max: 500 }), reads: fc.integer({ min: 0, max: 500 }) });

describe("points of a crash", () => {
  it("are both sides of every change and one of every read", () => {
    assert.deepEqual(enumerate({ changes: 1, reads: 2 }).map(wordsOf), [
      "change:1:before",
      "change:1:after",
      "read:1:before",
      "read:2:before",
    ]);
  });

  it("are drawn from all of them, none twice, and the same ones for the same seed", () => {
    fc.assert(
      fc.property(seen, fc.integer({ min: 1, max: 60 }), fc.nat(), (requests, size, seed) => {
        const drawn = sample(requests, size, seed).map(wordsOf);
        const all = new Set(enumerate(requests).map(wordsOf));
        assert.ok(drawn.every((point) => all.has(point)));
        assert.equal(new Set(drawn).size, drawn.length);
        assert.deepEqual(sample(requests, size, seed).map(wordsOf), drawn);
      }),
    );
  });

  it("are drawn from every part of a run", () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const numbers = sample({ changes: 90, reads: 0 }, 9, seed).map(({ nth }) => nth);
        numbers.forEach((nth, piece) => assert.ok(nth > piece * 10 && nth <= (piece + 1) * 10));
      }),
    );
  });

  it("are read as they are written", () => {
    for (const point of enumerate({ changes: 2, reads: 2 })) assert.deepEqual(parsePoint(wordsOf(point)), point);
    for (const text of ["", "change:0:before", "read:1", "change:1:later"]) assert.equal(parsePoint(text), undefined);
  });
});
