import assert from "node:assert/strict";
import { lastGood, rollbackMessage, type Update } from "../../cli/history.ts";
import { UserError } from "../../src/runtime/errors.ts";

/** Updates in the order in which they happened, a minute apart: commit, dirty, result, configured image. */
function history(
  ...entries: [head: string, dirty: boolean, result: string, image: string, kind?: string, message?: string][]
): Update[] {
  return entries.map(([head, dirty, result, image, kind = "update", message = ""], minute) => ({
    kind,
    message,
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
    {
      title: "is the aim of a rollback that did not end, and not the update that it went back from",
      history: history(
        ["a", false, "succeeded", "1"],
        ["b", false, "succeeded", "2"],
        ["a", true, "failed", "1", "update", rollbackMessage],
      ),
      expected: "a",
    },
    {
      title: "is the aim of a rollback that was tried twice and did not end",
      history: history(
        ["a", false, "succeeded", "1"],
        ["b", false, "succeeded", "2"],
        ["b", false, "failed", "2"],
        ["a", false, "failed", "1", "update", rollbackMessage],
        ["a", false, "failed", "1", "update", rollbackMessage],
      ),
      expected: "a",
    },
    {
      title: "is the one before the aim of a rollback that ended, and not the update that it went back from",
      history: history(
        ["z", false, "succeeded", "0"],
        ["a", false, "succeeded", "1"],
        ["b", false, "succeeded", "2"],
        ["a", false, "succeeded", "1", "update", rollbackMessage],
      ),
      expected: "z",
    },
    {
      title: "is the aim of a rollback when an update after it failed",
      history: history(
        ["a", false, "succeeded", "1"],
        ["b", false, "succeeded", "2"],
        ["a", true, "succeeded", "1", "update", rollbackMessage],
        ["c", false, "failed", "3"],
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
