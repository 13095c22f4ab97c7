import assert from "node:assert/strict";
import { join } from "node:path";
import { readFile, readdir, watch } from "node:fs/promises";
import { Engine } from "../support/engine.ts";

const program = join(import.meta.dirname, "../fixtures/engine");

/** One slot of the design: a VM and a join that carry the generation, a handover that does not. */
function slot(generation: string, plan: string): object[] {
  return [
    { name: "token", value: plan },
    { name: `vm-${generation}` },
    { name: `join-${generation}`, needs: [`vm-${generation}`], valueOf: "token" },
    { name: "handover", needs: [`join-${generation}`], valueOf: "token" },
  ];
}

/** The design rests on these; they are proved on the real engine because no document promises them all. */
describe("engine facts", function () {
  this.timeout(300_000);
  let engine: Engine;

  beforeEach(async () => {
    engine = await Engine.create(program);
  });

  afterEach(async () => {
    await engine.close();
  });

  async function up(facts: object[], extra?: NodeJS.ProcessEnv): Promise<string[]> {
    const ran = await engine.up(facts, extra);
    assert.equal(ran.code, 0, ran.output);
    return engine.happened();
  }

  /** Resolves when the step of `name` stands still at its hold. */
  async function held(name: string): Promise<number> {
    const directory = join(engine.world, "held");
    const limit = AbortSignal.timeout(30_000);
    const events = watch(directory, { signal: limit });
    const pid = async (): Promise<number> => {
      const text = await readFile(join(directory, name), "utf8").catch(() => "");
      return text.endsWith("\n") ? Number(text) : 0;
    };
    if ((await readdir(directory)).includes(name) && (await pid()) > 0) return pid();
    for await (const event of events) if (event.filename === name && (await pid()) > 0) return pid();
    throw new Error(`${name} was never held`);
  }

  it("updates a handover in place, after the new join and before the old generation is deleted", async () => {
    await up(slot("a", "1"));
    const steps = (await up(slot("b", "2")))
      .map((line) => line.replace(/ [0-9a-f-]{36}$/, ""))
      .filter((l) => !l.startsWith("done"));
    assert.deepEqual(
      steps.filter((line) => !line.includes("token")),
      ["create vm-b ", "create join-b", "update handover", "delete join-a", "delete vm-a "],
    );
  });

  it("changes nothing when the plan is the same, from whatever directory, user or home", async () => {
    await up(slot("a", "1"));
    const ran = await engine.pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"], {
      FACTS: JSON.stringify(slot("a", "1")),
      HOME: "/nonexistent",
      USER: "somebody",
    });
    assert.equal(ran.code, 0, ran.output);
    assert.deepEqual(await engine.happened(), []);
  });

  it("keeps the old inputs of a failed update, so that only the token makes a revert run the slots again", async () => {
    const bare = (value: string): object[] => [{ name: "handover", value }];
    await up(bare("a"));
    await engine.mark("fail", "handover");
    assert.notEqual((await engine.up(bare("b"))).code, 0);
    await engine.clear("fail", "handover");
    await engine.happened();
    assert.deepEqual(
      await up(bare("a")),
      [],
      "a revert looks unchanged to the engine: the trap that the token exists for",
    );

    await up(slot("a", "1"));
    await engine.mark("fail", "handover");
    assert.notEqual((await engine.up(slot("b", "2"))).code, 0);
    await engine.clear("fail", "handover");
    await engine.happened();
    const reverted = await up(slot("a", "1"));
    assert.ok(
      reverted.some((line) => line.startsWith("update handover")),
      reverted.join("\n"),
    );
    assert.ok(
      reverted.some((line) => line.startsWith("update join-a")),
      reverted.join("\n"),
    );
  });

  it("deletes nothing when a step fails, and nothing when the program throws", async () => {
    await up(slot("a", "1"));
    await engine.mark("fail", "handover");
    assert.notEqual((await engine.up(slot("b", "2"))).code, 0);
    assert.ok(!(await engine.happened()).some((line) => line.startsWith("delete")));
    await engine.clear("fail", "handover");
    assert.notEqual((await engine.up(slot("b", "2"), { FACTS_THROW: "1" })).code, 0);
    assert.ok(!(await engine.happened()).some((line) => line.startsWith("delete")));
  });

  it("leaves a stale lock and a living step behind when it is killed, and resumes after a cancel", async () => {
    await up(slot("a", "1"));
    await engine.mark("hold", "handover");
    const run = engine.start(["up", "--yes", "--skip-preview"], { FACTS: JSON.stringify(slot("b", "2")) });
    const step = await held("handover");
    run.child.kill("SIGKILL");
    await run.ended;
    assert.doesNotThrow(() => process.kill(step, 0), "the step outlives the engine: it must be fenced");
    const locked = await engine.up(slot("b", "2"));
    assert.notEqual(locked.code, 0);
    assert.match(locked.output, /locked/);
    await engine.clear("hold", "handover");
    assert.equal((await engine.pulumi(["cancel", "--yes", "dev"])).code, 0);
    await engine.happened();
    const resumed = await up(slot("b", "2"));
    assert.ok(
      resumed.some((line) => line.startsWith("update handover")),
      resumed.join("\n"),
    );
    assert.ok(
      resumed.some((line) => line.startsWith("delete vm-a")),
      resumed.join("\n"),
    );
  });

  /** A guard that is made before everything, what it guards, and the guard that depends on all of it. */
  const guarded = [
    { name: "first" },
    { name: "vm" },
    { name: "join", needs: ["vm"] },
    { name: "last", needs: ["first", "join"] },
  ];
  const destroy = () => engine.pulumi(["destroy", "--yes", "--skip-preview"]);

  it("deletes by depth: what depends on nothing goes last, although nothing depends on it", async () => {
    const [first, ...rest] = guarded.slice(0, 3);
    assert.ok(first);
    await up([first, ...rest]);
    await engine.mark("fail", "first");
    assert.notEqual((await destroy()).code, 0);
    const steps = (await engine.happened()).filter((line) => line.startsWith("delete"));
    assert.equal(steps[0], "delete join ", "so a guard that is made first cannot be asked first");
  });

  it("deletes what depends on everything alone and first: when it refuses, nothing is forgotten", async () => {
    await up(guarded);
    await engine.mark("fail", "last");
    assert.notEqual((await destroy()).code, 0);
    assert.deepEqual(await engine.happened(), ["delete last ", "failed last"]);
    await engine.clear("fail", "last");
    assert.deepEqual(await up(guarded), [], "all of it is still in the state");
    assert.equal((await destroy()).code, 0);
    const deleted = (await engine.happened()).filter((line) => line.startsWith("delete"));
    assert.equal(deleted[0], "delete last ");
  });

  it("protects nothing from a destroy before its turn: `protect` is looked at when the resource is deleted", async () => {
    await up([{ name: "vm" }, { name: "guard", protect: true }, { name: "join", needs: ["vm", "guard"] }]);
    assert.notEqual((await destroy()).code, 0);
    assert.ok((await engine.happened()).includes("delete join "));
  });

  it("ends a step on SIGINT, keeps the state clean and needs no cancel", async () => {
    await up(slot("a", "1"));
    await engine.mark("hold", "handover");
    const run = engine.start(["up", "--yes", "--skip-preview"], { FACTS: JSON.stringify(slot("b", "2")) });
    const step = await held("handover");
    run.child.kill("SIGINT");
    assert.notEqual((await run.ended).code, 0);
    assert.throws(() => process.kill(step, 0), "a cancelled step does not live on");
    await engine.clear("hold", "handover");
    await engine.happened();
    const resumed = await up(slot("b", "2"));
    assert.ok(
      resumed.some((line) => line.startsWith("update handover")),
      resumed.join("\n"),
    );
  });
});
