import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { readStackConfig, readWithRegistries } from "../../src/config/stack-config.ts";
import { findStackFile } from "../../src/config/stack-file.ts";
import { UserError, UserErrors } from "../../src/runtime/errors.ts";
import { redact } from "../../src/runtime/log.ts";
import { projectRoot } from "../../src/runtime/project.ts";

const environment = {};

describe("the configuration of a stack, read from its file", () => {
  it("is what the program would get, defaults included", async () => {
    const config = await readStackConfig("prod", { environment });
    assert.equal(config.cluster, "prod");
    assert.equal(config.pools[0]?.strategy.maxUnavailable, 2);
    assert.equal(config.timeouts.agentSeconds, 300);
  });

  it("that does not exist is refused with the file's name and what to do", async () => {
    await assert.rejects(readStackConfig("nowhere", { environment }), (error: unknown) => {
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
      assert.deepEqual(
        await readStackConfig("secret", { environment }),
        await readStackConfig("prod", { environment }),
      );
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
      assert.deepEqual(await readStackConfig("merge", { environment }), await readStackConfig("prod", { environment }));
    } finally {
      await rm(file);
    }
  });

  it("is refused when the engine alone can decrypt a part of it", async () => {
    const file = join(projectRoot, "Pulumi.elsewhere.yaml");
    await writeFile(file, "config:\n  evergreen:cluster:\n    secure: AAABAKRmdmF1bHQ=\n");
    try {
      await assert.rejects(readStackConfig("elsewhere", { environment }), (error: unknown) => {
        assert.ok(error instanceof UserErrors);
        assert.match(error.problems[0]?.what ?? "", /has secrets beside evergreen:registries/);
        assert.ok(error.problems.length > 1);
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
      await assert.rejects(readStackConfig("conflict", { environment }), (error: unknown) => {
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

describe("the configuration of a stack that is not in its file alone", () => {
  let project: string;

  beforeEach(async () => {
    project = await mkdtemp(join(tmpdir(), "evergreen-project-"));
    await mkdir(join(project, "stacks"));
    await mkdir(join(project, "bin"));
  });

  afterEach(() => rm(project, { recursive: true }));

  /** What the engine says of the keys of a complete stack, and of some more. */
  const told = async (more: Record<string, object>): Promise<object> => {
    const text = await readFile(join(projectRoot, "Pulumi.prod.yaml"), "utf8");
    const { config } = parse(text) as { config: Record<string, unknown> };
    const values = Object.entries(config).map(([key, value]) => [
      key,
      typeof value === "object"
        ? { value: JSON.stringify(value), objectValue: value, secret: false }
        : { value: typeof value === "string" ? value : JSON.stringify(value), secret: false },
    ]);
    return { ...(Object.fromEntries(values) as object), ...more };
  };

  /** @param engine what `pulumi` does */
  async function read(own: string, stack: string, engine: string) {
    await writeFile(join(project, "Pulumi.yaml"), own);
    await writeFile(join(project, "stacks/Pulumi.web.yaml"), stack);
    await writeFile(join(project, "bin/pulumi"), `#!/bin/sh\necho "$*" > ${project}/asked\n${engine}\n`);
    await chmod(join(project, "bin/pulumi"), 0o755);
    const PATH = `${join(project, "bin")}:/usr/bin:/bin`;
    return await readStackConfig("web", { project, environment: { PATH } });
  }

  const sources: [from: string, own: string, stack: string][] = [
    ["an environment", "{ name: evergreen, stackConfigDir: stacks }", "{ environment: [prod], config: {} }"],
    ["Pulumi.yaml", "{ name: evergreen, stackConfigDir: stacks, config: { a:b: 1 } }", "config: {}"],
  ];
  for (const [from, own, stack] of sources)
    it(`is that which the engine has merged from ${from}`, async () => {
      const json = JSON.stringify(
        await told({
          "evergreen:timeouts": { value: '{"agentSeconds":77}', objectValue: { agentSeconds: 77 }, secret: false },
          "evergreen:registries": { secret: true },
        }),
      );
      await writeFile(join(project, "answer"), json);
      const config = await read(own, stack, `cat ${project}/answer`);
      assert.deepEqual([config.cluster, config.timeouts.agentSeconds], ["prod", 77]);
      assert.match(await readFile(join(project, "asked"), "utf8"), /^config --json --stack web --non-interactive$/m);
    });

  it("is refused with the engine's words where it says nothing", async () => {
    const refused = read(sources[0]?.[1] ?? "", sources[0]?.[2] ?? "", "echo 'error: not logged in' >&2; exit 255");
    await assert.rejects(refused, (error: unknown) => {
      assert.ok(error instanceof UserError);
      assert.match(error.problem.what, /does not say the rest: error: not logged in$/);
      assert.deepEqual(error.problem.where, "environment (Pulumi ESC)");
      return true;
    });
  });

  it("is refused when a key of ours is secret there", async () => {
    await writeFile(join(project, "answer"), JSON.stringify(await told({ "evergreen:timeouts": { secret: true } })));
    const refused = read(sources[0]?.[1] ?? "", sources[0]?.[2] ?? "", `cat ${project}/answer`);
    await assert.rejects(refused, /has secrets beside evergreen:registries[^]*evergreen:timeouts/);
  });

  it("has its registries when they are asked for, decrypted by the engine, or why it does not decrypt them", async () => {
    const own = "stackConfigDir: stacks";
    const stack = `${await readFile(join(projectRoot, "Pulumi.prod.yaml"), "utf8")}\n  evergreen:registries:\n    secure: AAA\n`;
    const registries = { configs: { "r.example.org": { auth: { username: "u", password: "s3cret-word" } } } };
    for (const value of [stringify(registries), JSON.stringify(registries)]) {
      await writeFile(join(project, "answer"), JSON.stringify({ "evergreen:registries": { value, secret: true } }));
      await read(own, stack, `cat ${project}/answer`);
      const reading = { project, environment: { PATH: `${join(project, "bin")}:/usr/bin:/bin` } };
      assert.deepEqual((await readWithRegistries("web", reading)).registries, registries);
      assert.match(await readFile(join(project, "asked"), "utf8"), /--show-secrets/);
      assert.ok(!redact("a s3cret-word b").includes("s3cret-word"));
    }
    await read(own, stack, "echo 'error: passphrase must be set' >&2; exit 255");
    const reading = { project, environment: { PATH: `${join(project, "bin")}:/usr/bin:/bin` } };
    await assert.rejects(readWithRegistries("web", reading), /does not decrypt .*: error: passphrase must be set/);
  });

  it("is in the folder that Pulumi.yaml names, also by its older name", async () => {
    const prod = await readFile(join(projectRoot, "Pulumi.prod.yaml"), "utf8");
    for (const own of ["stackConfigDir: stacks", "config: stacks"]) {
      assert.equal((await read(own, prod, "exit 1")).cluster, "prod");
      await writeFile(join(project, "Pulumi.yaml"), own);
      assert.equal(await findStackFile("web", project), "stacks/Pulumi.web.yaml");
    }
  });
});
