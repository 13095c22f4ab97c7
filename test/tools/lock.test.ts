import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { locked, type Owner } from "../../tools/lock.ts";
import { node24 } from "../../tools/paths.ts";
import { Scratch } from "./fakes.ts";

describe("the lock", () => {
  let scratch: Scratch;
  let file: string;

  beforeEach(() => {
    scratch = new Scratch();
    file = join(scratch.path, "locks", "setup.lock");
  });

  afterEach(() => scratch[Symbol.dispose]());

  const never = () => assert.fail("nobody is to be waited for");
  const take = (seconds?: number) => locked(file, "tests", never, () => Promise.resolve("done"), seconds);

  /** The lock as this process writes it, changed. */
  async function heldBy(change: Partial<Owner>): Promise<Owner> {
    const own = await locked(file, "works", never, () =>
      Promise.resolve(JSON.parse(readFileSync(file, "utf8")) as Owner),
    );
    const owner = { ...own, ...change };
    writeFileSync(file, JSON.stringify(owner));
    return owner;
  }

  it("is free again when the work is done, or has failed", async () => {
    assert.equal(await take(), "done");
    assert.equal(existsSync(file), false);
    await assert.rejects(
      locked(file, "fails", never, () => Promise.reject(new Error("no"))),
      /^Error: no$/,
    );
    assert.equal(existsSync(file), false);
  });

  it("of a process that died counts for nothing", async () => {
    const { pid } = spawnSync("true");
    await heldBy({ pid });
    assert.equal(await take(5), "done");
  });

  it("of a process that died counts for nothing, though its pid is used again", async () => {
    await heldBy({ started: "1" });
    assert.equal(await take(5), "done");
  });

  it("of a living process is waited for, and named when time is over", async () => {
    const owner = await heldBy({ what: "builds kube-apiserver" });
    const seen: Owner[] = [];
    const waits = locked(
      file,
      "tests",
      (holder) => seen.push(holder),
      () => Promise.resolve(),
      0.5,
    );
    await assert.rejects(waits, new RegExp(`process ${owner.pid}, which builds kube-apiserver since `));
    assert.deepEqual(seen, [owner], "told once");
    assert.equal(existsSync(file), true);
  });

  it("of another container is believed while its heart beats", async () => {
    await heldBy({ namespace: "pid:[1]", pid: 1 });
    await assert.rejects(
      locked(
        file,
        "tests",
        () => undefined,
        () => Promise.resolve(),
        0.5,
      ),
      /gave up/,
    );
    const silent = new Date(Date.now() - 120_000);
    utimesSync(file, silent, silent);
    assert.equal(await take(5), "done");
  });

  it("of an earlier boot is believed for a minute at most", async () => {
    await heldBy({ boot: "earlier" });
    const silent = new Date(Date.now() - 120_000);
    utimesSync(file, silent, silent);
    assert.equal(await take(5), "done");
  });

  it("lets no two processes in at once, also when all of them find it dead", async function () {
    this.timeout(180_000);
    await heldBy({ pid: spawnSync("true").pid });
    const script = scratch.file(
      "worker.ts",
      `import { existsSync, rmSync, writeFileSync, appendFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { locked } from ${JSON.stringify(join(import.meta.dirname, "../../tools/lock.ts"))};
for (let i = 0; i < 5; i++) await locked(${JSON.stringify(file)}, "works", () => undefined, async () => {
  const inside = ${JSON.stringify(join(scratch.path, "inside"))};
  if (existsSync(inside)) { console.error("two at once"); process.exit(3); }
  writeFileSync(inside, "");
  await delay(5);
  appendFileSync(${JSON.stringify(join(scratch.path, "count"))}, "x");
  rmSync(inside);
});
`,
    );
    const workers = Array.from({ length: 6 }, () =>
      spawn(node24, [script], { stdio: ["ignore", "ignore", "inherit"] }),
    );
    const codes = await Promise.all(workers.map(async (worker) => (await once(worker, "exit"))[0] as number));
    assert.deepEqual(codes, [0, 0, 0, 0, 0, 0]);
    assert.equal(readFileSync(join(scratch.path, "count"), "utf8").length, 30);
  });
});
