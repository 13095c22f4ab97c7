import assert from "node:assert/strict";
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Deadline } from "../../src/runtime/deadline.ts";
import { UserError } from "../../src/runtime/errors.ts";
import { directoryOf, failedBuild } from "../../tools/build.ts";
import { findGo } from "../../tools/go.ts";
import { node24 } from "../../tools/paths.ts";
import type { GoTool } from "../../tools/pins.ts";
import { Store } from "../../tools/store.ts";
import { fakeGo, helloModule, Scratch, tool } from "./fakes.ts";

describe("the store of built tools", () => {
  let scratch: Scratch;
  let cache: string;

  beforeEach(() => {
    scratch = new Scratch();
    cache = join(scratch.path, "cache");
    helloModule(scratch);
  });

  afterEach(() => scratch[Symbol.dispose]());

  const store = () => new Store(cache, true, scratch.path);
  const builds = () => readFileSync(join(scratch.path, "builds"), "utf8").trim().split("\n").length;
  const contents = () => (existsSync(join(cache, "tools")) ? readdirSync(join(cache, "tools")) : []);

  it("builds a real module with its version in it", async function () {
    this.timeout(300_000);
    const program = await store().program(tool, await findGo());
    assert.equal(execFileSync("sh", ["-c", `${program} 2>&1`], { encoding: "utf8" }), "1.2.3\n");
  });

  it("says so when a module cannot be fetched", async function () {
    this.timeout(180_000);
    scratch.file("module/go.mod", "module example/hello\n\ngo 1.24\n\nrequire example.org/missing v1.0.0\n");
    const sum = `h1:${"A".repeat(43)}=`;
    scratch.file("module/go.sum", `example.org/missing v1.0.0 ${sum}\nexample.org/missing v1.0.0/go.mod ${sum}\n`);
    scratch.file("module/main.go", 'package main\n\nimport _ "example.org/missing"\n\nfunc main() {}\n');
    const { GOPROXY } = process.env;
    // Nothing listens there.
    process.env.GOPROXY = "http://127.0.0.1:9";
    try {
      await assert.rejects(store().program(tool, await findGo()), /a Go module of hello cannot be fetched/);
    } finally {
      if (GOPROXY === undefined) delete process.env.GOPROXY;
      else process.env.GOPROXY = GOPROXY;
    }
  });

  it("builds once", async () => {
    const go = fakeGo(scratch);
    const first = await store().program(tool, go);
    const second = await store().program(tool, go);
    assert.equal(first, second);
    assert.equal(builds(), 1);
  });

  it("puts a launcher in place of the program that it starts", async () => {
    const launcher = 'exec "$PROGRAM" "$@"';
    const program = await store().program({ ...tool, launcher }, fakeGo(scratch));
    assert.equal(execFileSync(program, { encoding: "utf8" }), "built\n");
    assert.match(readFileSync(program, "utf8"), /PROGRAM=/);
  });

  it("keys a build by everything that makes it what it is", () => {
    const go = fakeGo(scratch);
    const key = (pins: GoTool = tool, version = go.version) =>
      directoryOf(pins, { path: go.path, version }, cache, scratch.path);
    const keys = [
      key(),
      key({ ...tool, version: "1.2.4" }),
      key({ ...tool, variables: { "main.version": "x" } }),
      key({ ...tool, package: "./other" }),
      key({ ...tool, launcher: "exec" }),
      key(tool, "1.99.1"),
    ];
    assert.equal(key(), keys[0]);
    for (const [file, content] of [
      ["module/main.go", "package main\n\nfunc main() {}\n"],
      ["module/go.sum", "example.org/x v1.0.0 h1:x=\n"],
      ["module/stub/other.go", "package stub\n"],
    ] as const) {
      scratch.file(file, content);
      keys.push(key());
    }
    assert.equal(new Set(keys).size, keys.length);
  });

  it("leaves nothing of a failed build, and says what went wrong", async () => {
    const go = fakeGo(scratch, 'echo half > "$out"; echo "main.go:3:1: syntax error" >&2; exit 1');
    await assert.rejects(store().program(tool, go), (error: unknown) => {
      assert.ok(error instanceof UserError);
      assert.match(error.problem.what, /hello 1\.2\.3 cannot be built/);
      assert.match(error.problem.where, /module: main\.go:3:1: syntax error/);
      return true;
    });
    assert.deepEqual(contents(), []);
  });

  it("takes a killed build for nothing, and builds again", async () => {
    const go = fakeGo(scratch, 'echo half > "$out"; [ -e "$0.go-on" ] || exec sleep 3');
    const child = await startBuild();
    await half();
    child.kill("SIGKILL");
    await once(child, "exit");
    assert.equal(contents().length, 1, "the incomplete build is beside its place");
    writeFileSync(`${go.path}.go-on`, "");
    const program = await store().program(tool, go);
    assert.equal(execFileSync(program, { encoding: "utf8" }), "built\n");
    assert.deepEqual(contents(), [program.split("/").at(-2)]);
  });

  it("ends the build with itself", async () => {
    fakeGo(scratch, `echo $$ > "$0.pid"; exec sleep 20`);
    const child = await startBuild();
    const file = join(scratch.path, "bin", "go.pid");
    const pid = await new Deadline("the build to begin", 60).poll(20, () =>
      Promise.resolve(existsSync(file) ? Number(readFileSync(file, "utf8")) || undefined : undefined),
    );
    child.kill("SIGTERM");
    assert.deepEqual(await once(child, "exit"), [null, "SIGTERM"]);
    await new Deadline("the end of the build", 60).poll(20, () => Promise.resolve(isAlive(pid) ? undefined : true));
  });

  it("lets one process build while the other waits and says for whom", async () => {
    fakeGo(scratch, 'while [ ! -e "$0.go-on" ]; do sleep 0.05; done');
    const first = await startBuild();
    await half();
    const second = await startBuild();
    let said = "";
    second.stderr?.setEncoding("utf8").on("data", (text: string) => (said += text));
    await new Deadline("the second build to wait", 60).poll(20, () =>
      Promise.resolve(said.includes("waiting") ? true : undefined),
    );
    assert.match(said, new RegExp(`waiting for process ${first.pid ?? 0}, which builds hello 1\\.2\\.3 \\(since 20`));
    writeFileSync(join(scratch.path, "bin", "go.go-on"), "");
    const codes = await Promise.all([first, second].map(async (child) => (await once(child, "exit"))[0] as number));
    assert.deepEqual(codes, [0, 0]);
    assert.equal(builds(), 1);
  });

  it("sweeps away what interrupted processes left, and nothing of others", async () => {
    for (const left of ["try-x/plugins/y", "tools/etcd-1.0.0-x.99.half/etcd", "pulumi-home/plugins/a.half/b"])
      scratch.file(`cache/${left}`, "");
    for (const kept of ["pulumi-home/plugins/resource-aws-v7.0.0.partial", "pulumi-home/credentials.json"])
      scratch.file(`cache/${kept}`, "");
    await store().program(tool, fakeGo(scratch));
    assert.deepEqual(readdirSync(cache).sort(), ["pulumi-home", "tools"]);
    assert.equal(contents().length, 1);
    assert.deepEqual(readdirSync(join(cache, "pulumi-home", "plugins")), ["resource-aws-v7.0.0.partial"]);
  });

  it("removes what nobody used for a month, and keeps what is in use", async () => {
    const program = await store().program(tool, fakeGo(scratch));
    const old = join(cache, "tools", "hello-1.0.0-0123456789ab");
    mkdirSync(old);
    const longAgo = new Date(Date.now() - 31 * 24 * 3600 * 1000);
    for (const directory of [old, join(program, "..")]) utimesSync(directory, longAgo, longAgo);
    await store().prune([program]);
    assert.deepEqual(contents(), [program.split("/").at(-2)]);
  });

  function isAlive(pid: number): boolean {
    // An orphan that nobody has waited for yet is as good as gone.
    const stat = existsSync(`/proc/${pid}/stat`) ? readFileSync(`/proc/${pid}/stat`, "utf8") : "";
    return stat !== "" && !stat.includes(") Z ");
  }

  async function startBuild(): Promise<ChildProcess> {
    const script = join(import.meta.dirname, "build-one.ts");
    const child = spawn(node24, [script, scratch.path], { stdio: ["ignore", "pipe", "pipe"] });
    await once(child, "spawn");
    return child;
  }

  /** Waits until a build has begun to write. */
  async function half(): Promise<void> {
    await new Deadline("the build to begin", 60).poll(20, () =>
      Promise.resolve(existsSync(join(scratch.path, "builds")) ? true : undefined),
    );
  }
});

describe("a build that fails", () => {
  const cases: [string, string, RegExp][] = [
    [
      "no network",
      'go: downloading example.org/x v1.0.0\ngo: example.org/x@v1.0.0: Get "https://x": dial tcp: lookup x: no such host',
      /Go module of hello cannot be fetched/,
    ],
    [
      "a proxy that answers an error",
      "go: example.org/x@v1.0.0: reading https://proxy.example/x/@v/v1.0.0.zip: 503 Service Unavailable",
      /Go module of hello cannot be fetched/,
    ],
    ["a full disk", "runtime/cgo\ngo: writing x: write /tmp/x: no space left on device", /the disk is full/],
    ["a changed sum", "verifying example.org/x@v1.0.0: checksum mismatch", /hello 1\.2\.3 cannot be built/],
    ["silence", "", /hello 1\.2\.3 cannot be built/],
  ];
  for (const [name, stderr, what] of cases) {
    it(`is told apart: ${name}`, () => {
      const { problem } = failedBuild(tool, stderr);
      assert.match(problem.what, what);
      assert.doesNotMatch(problem.where, /go: downloading|runtime\/cgo/);
      assert.ok(problem.where.startsWith("module: "));
      assert.notEqual(problem.todo, "");
    });
  }
});

describe("the Go of the machine", () => {
  let scratch: Scratch;
  beforeEach(() => (scratch = new Scratch()));
  afterEach(() => scratch[Symbol.dispose]());

  async function problemOf(lines: string | undefined) {
    const bin = join(scratch.path, "bin");
    if (lines !== undefined) scratch.script("bin/go", lines);
    const error: unknown = await findGo({ PATH: `${bin}:/nowhere` }).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof UserError, `not a UserError: ${String(error)}`);
    return error.problem;
  }

  it("is missing", async () => assert.match((await problemOf(undefined)).what, /Go is missing/));
  it("is too old", async () => assert.match((await problemOf("echo go1.25.9")).what, /Go 1\.25\.9 is too old/));
  it("does not say its version", async () =>
    assert.match((await problemOf("echo broken >&2; exit 2")).where, /broken/));
  it("is a release candidate, or newer", async () => {
    scratch.script("bin/go", "echo go1.27rc1");
    assert.equal((await findGo({ PATH: join(scratch.path, "bin") })).version, "1.27");
  });
});
