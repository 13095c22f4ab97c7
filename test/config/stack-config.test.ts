import assert from "node:assert/strict";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readStackConfig } from "../../src/config/stack-config.ts";
import { UserError, UserErrors } from "../../src/runtime/errors.ts";
import { projectRoot } from "../../src/runtime/project.ts";

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

  it("leaves registries out, which the engine alone can decrypt", async () => {
    const file = join(projectRoot, "Pulumi.secret.yaml");
    const prod = await readFile(join(projectRoot, "Pulumi.prod.yaml"), "utf8");
    await writeFile(file, `${prod}\n  evergreen:registries:\n    secure: AAABAKRmdmF1bHQ=\n`);
    try {
      assert.deepEqual(await readStackConfig("secret"), await readStackConfig("prod"));
    } finally {
      await rm(file);
    }
  });

  it("takes over the keys of another map as the engine does", async () => {
    const file = join(projectRoot, "Pulumi.merge.yaml");
    const prod = await readFile(join(projectRoot, "Pulumi.prod.yaml"), "utf8");
    const plain = "vmIds: { first: 5000, last: 5019 }";
    assert.ok(prod.includes(plain));
    const merged = `  x:ranges: &range { first: 5000, last: 1 }\n`;
    const text = prod.replace(plain, "vmIds: { <<: *range, last: 5019 }").replace("config:\n", `config:\n${merged}`);
    await writeFile(file, text);
    try {
      assert.deepEqual(await readStackConfig("merge"), await readStackConfig("prod"));
    } finally {
      await rm(file);
    }
  });

  const elsewhere: [from: string, text: string][] = [
    ["environment (Pulumi ESC)", "environment: [evergreen/prod]\nconfig: {}\n"],
    ["values encrypted by the engine", "config:\n  evergreen:cluster:\n    secure: AAABAKRmdmF1bHQ=\n"],
  ];
  for (const [from, text] of elsewhere)
    it(`is refused with where the program gets the rest: ${from}`, async () => {
      const file = join(projectRoot, "Pulumi.elsewhere.yaml");
      await writeFile(file, text);
      try {
        await assert.rejects(readStackConfig("elsewhere"), (error: unknown) => {
          assert.ok(error instanceof UserErrors);
          assert.deepEqual([error.problems[0]?.where, error.problems.length > 1], [from, true]);
          return true;
        });
      } finally {
        await rm(file);
      }
    });

  it("that a merge has left in conflict is refused with the line", async () => {
    const file = join(projectRoot, "Pulumi.conflict.yaml");
    await writeFile(file, "config:\n<<<<<<< HEAD\n  evergreen:cluster: a\n=======\n");
    try {
      await assert.rejects(readStackConfig("conflict"), (error: unknown) => {
        assert.ok(error instanceof UserError);
        assert.match(error.problem.what, /is no YAML: .*line 2/);
        assert.equal(error.problem.where, "Pulumi.conflict.yaml");
        return true;
      });
    } finally {
      await rm(file);
    }
  });
});
