import assert from "node:assert/strict";
import { readStackConfig } from "../../src/config/stack-config.ts";
import { UserError } from "../../src/runtime/errors.ts";

describe("the configuration of a stack, read from its file", () => {
  it("is what the program would get, defaults included", async () => {
    const config = await readStackConfig("prod");
    assert.equal(config.cluster, "prod");
    assert.equal(config.pools[0]?.strategy.maxUnavailable, 2);
    assert.equal(config.timeouts.agentSeconds, 300);
  });

  it("that does not exist is refused with the file's name and what to do", async () => {
    await assert.rejects(readStackConfig("nowhere"), (error: unknown) => {
      assert.ok(error instanceof UserError);
      assert.match(error.problem.what, /^the configuration of stack nowhere cannot be read: /);
      assert.equal(error.problem.where, "Pulumi.nowhere.yaml");
      assert.match(error.problem.todo, /--stack/);
      return true;
    });
  });
});
