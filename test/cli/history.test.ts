import assert from "node:assert/strict";
import { lastGood, type Update } from "../../cli/history.ts";
import { UserError } from "../../src/runtime/errors.ts";

/** Updates in the order in which they happened, a minute apart: commit, dirty, result, configured image. */
function history(...entries: [head: string, dirty: boolean, result: string, image: string, kind?: string][]): Update[] {
  return entries.map(([head, dirty, result, image, kind = "update"], minute) => ({
    kind,
    result,
    endTime: new Date(Date.UTC(2026, 0, 1, 0, minute)).toISOString(),
    environment: { "git.head": head, "git.dirty": String(dirty) },
    config: { "evergreen:image": { value: image } },
  }));
}

describe("the last good update", () => {
  const cases: { title: string; history: Update[]; expected: string }[] = [
    {
      title: "is the one before a succeeded update of another commit",
      history: history(["a", false, "succeeded", "1"], ["b", false, "succeeded", "2"]),
      expected: "a",
    },
    {
      title: "is the newest succeeded one when the present update failed",
      history: history(["a", false, "succeeded", "1"], ["b", false, "succeeded", "2"], ["c", false, "failed", "3"]),
      expected: "b",
    },
    {
      title: "may be the present commit when the present update had uncommitted changes",
      history: history(["a", false, "succeeded", "1"], ["a", true, "succeeded", "2"]),
      expected: "a",
    },
    {
      title: "is not a repetition of the present update",
      history: history(["a", false, "succeeded", "1"], ["b", false, "succeeded", "2"], ["b", false, "succeeded", "2"]),
      expected: "a",
    },
    {
      title: "is never an update with uncommitted changes, and never a refresh",
      history: history(
        ["a", false, "succeeded", "1"],
        ["b", true, "succeeded", "2"],
        ["x", false, "succeeded", "2", "refresh"],
        ["c", false, "succeeded", "3"],
      ),
      expected: "a",
    },
  ];
  for (const { title, history, expected } of cases)
    it(title, () => {
      assert.equal(lastGood(history, "dev").commit, expected);
      assert.equal(lastGood(history.toReversed(), "dev").commit, expected, "whatever the order of the list");
    });

  it("is refused with what to do when there is none", () => {
    for (const none of [
      [],
      history(["a", false, "succeeded", "1"]),
      history(["a", true, "succeeded", "1"], ["b", false, "succeeded", "2"]),
    ])
      assert.throws(
        () => lastGood(none, "dev"),
        (error) => error instanceof UserError && error.problem.todo.includes("--to"),
      );
  });
});
