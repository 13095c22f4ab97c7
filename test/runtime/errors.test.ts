import assert from "node:assert/strict";
import { messageOf, UserError, UserErrors } from "../../src/runtime/errors.ts";

const problem = { what: "the disk is full", where: "/var", todo: "free space" };

describe("an error for the user", () => {
  it("reads as what, where and what to do, each on its line", () => {
    assert.equal(new UserError(problem).message, "the disk is full\n  where: /var\n  do:    free space");
  });

  it("keeps its cause and its parts for those who look", () => {
    const cause = new Error("ENOSPC");
    const error = new UserError(problem, { cause });
    assert.equal(error.cause, cause);
    assert.deepEqual(error.problem, problem);
  });

  it("of several problems shows all of them, in order", () => {
    const error = new UserErrors([problem, { ...problem, what: "the disk is slow" }]);
    const first = error.message.indexOf("the disk is full\n  where: /var\n  do:    free space");
    assert.ok(first === 0 && error.message.indexOf("the disk is slow\n  where: /var") > first);
    assert.equal(error.problems.length, 2);
  });

  it("is told from other throws by its message alone where that is all that is wanted", () => {
    assert.equal(messageOf(new Error("no")), "no");
    assert.equal(messageOf("plain"), "plain");
  });
});
