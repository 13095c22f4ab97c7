import assert from "node:assert/strict";
import { table } from "../../cli/table.ts";

describe("a table", () => {
  it("has columns as wide as their widest cell, and no blanks at the end of a line", () => {
    const text = table(
      ["slot", "node"],
      [
        ["0", "a-long-name"],
        ["10000", "b"],
      ],
    );
    assert.equal(text, "slot   node\n0      a-long-name\n10000  b");
  });

  it("of no rows is its header", () => {
    assert.equal(table(["slot", "node"], []), "slot  node");
  });

  it("keeps the place of a cell that is missing", () => {
    assert.equal(table(["a", "b"], [["1"]]), "a  b\n1");
  });
});
