import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { mock } from "node:test";
import { gzipSync } from "node:zlib";
import { prepareUpdate } from "../../cli/pre-update.ts";
import { EngineSide } from "../../src/recovery/engine-side.ts";
import {
  isDead,
  lockRefusal,
  locksOf,
  parseState,
  PROJECT,
  stateIn,
  VM_TYPE,
  type EngineLock,
} from "../../src/recovery/engine-state.ts";
import { refuseLiving } from "../../src/recovery/exclusive-use.ts";
import { noteEngine } from "../../src/runtime/engine-notes.ts";
import { UserError } from "../../src/runtime/errors.ts";
import { identify } from "../../src/runtime/process-identity.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { makeZombie } from "../support/zombie.ts";

const lockOf = (changes: Partial<EngineLock> = {}): EngineLock => ({
  pid: process.pid,
  hostname: hostname(),
  username: "ops",
  timestamp: new Date().toISOString(),
  ...changes,
});

/** The pid of an engine that ran here and has ended. */
async function deadEngine(): Promise<number> {
  const child = spawn("sleep", ["60"]);
  await once(child, "spawn");
  const engine = identify(child.pid ?? 0);
  assert.ok(engine);
  noteEngine(engine);
  child.kill("SIGKILL");
  await once(child, "exit");
  return engine.pid;
}

describe("the lock of an engine", () => {
  it("is alive while its process runs", () => {
    const self = identify(process.pid);
    assert.ok(self);
    noteEngine(self);
    assert.equal(isDead(lockOf()), false);
  });

  it("is dead when its engine ran here and nobody has its pid", async () => {
    assert.equal(isDead(lockOf({ pid: await deadEngine() })), true);
  });

  it("is dead when its process has ended and nobody asks for it, as in a container without an init", async () => {
    const { pid, end } = await makeZombie();
    try {
      const self = identify(process.pid);
      assert.ok(self);
      noteEngine({ ...self, pid });
      assert.equal(isDead(lockOf({ pid })), true);
    } finally {
      end();
    }
  });

  it("is dead when a younger process has its pid", () => {
    const self = identify(process.pid);
    assert.ok(self);
    noteEngine({ ...self, pid: process.ppid, start: 1 });
    assert.equal(isDead(lockOf({ pid: process.ppid })), true);
  });

  it("is not called dead for a pid that is free here: the engine of another container has the same host name", () => {
    assert.equal(isDead(lockOf({ pid: 2 ** 22 + 3 })), false);
  });

  it("is not called dead for another engine that had its pid here a day ago", async () => {
    const timestamp = new Date(Date.now() + 24 * 3600 * 1000).toISOString();
    assert.equal(isDead(lockOf({ pid: await deadEngine(), timestamp })), false);
  });

  it("is not called dead for an engine of another pid namespace or another boot", () => {
    const self = identify(process.pid);
    assert.ok(self);
    noteEngine({ ...self, pid: 2 ** 22 + 2, scope: "0123456789abcdef" });
    assert.equal(isDead(lockOf({ pid: 2 ** 22 + 2 })), false);
  });

  it("of another machine is never called dead", async () => {
    assert.equal(isDead(lockOf({ pid: await deadEngine(), hostname: "elsewhere" })), false);
  });

  it("stops whoever wants to repair while its owner may live, and names the owner", async () => {
    const dead = lockOf({ pid: await deadEngine() });
    refuseLiving([dead], "dev");
    assert.throws(
      () => {
        refuseLiving([dead, lockOf({ pid: 4711, hostname: "elsewhere" })], "dev");
      },
      (error: unknown) =>
        error instanceof UserError && error.problem.where.startsWith("process 4711 of ops on elsewhere, since "),
    );
  });
});

describe("the file backend", () => {
  let backend = "";
  beforeEach(async () => {
    backend = await mkdtemp(join(tmpdir(), "evergreen-backend-"));
  });
  afterEach(() => rm(backend, { recursive: true }));

  const put = async (path: string, content: string | Buffer) => {
    const file = join(backend, ".pulumi", path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, content);
  };
  const pending = { urn: "urn:pulumi:dev::evergreen::vm::a", type: VM_TYPE, inputs: { name: "a", vmId: 1100 } };
  const stack = (...operations: string[]) =>
    JSON.stringify({
      version: 3,
      checkpoint: { latest: { pending_operations: operations.map((type) => ({ type, resource: pending })) } },
    });

  it("has no locks of a stack that nobody works on", async () => {
    assert.deepEqual(locksOf(backend, PROJECT, "dev"), []);
    await put(`locks/organization/${PROJECT}/prod/1.json`, JSON.stringify(lockOf()));
    assert.deepEqual(locksOf(backend, PROJECT, "dev"), []);
  });

  it("does not show whether a stack is worked on that it has not: the share may not be mounted here", async () => {
    const engine = new EngineSide("dev", "/nowhere/pulumi", { PULUMI_BACKEND_URL: `file://${backend}` });
    assert.equal(await engine.readLocks(), undefined);
    await put(`stacks/${PROJECT}/dev.json`, stack());
    assert.deepEqual(await engine.readLocks(), []);
    await put(`locks/organization/${PROJECT}/dev/1.json`, JSON.stringify(lockOf()));
    assert.equal((await engine.readLocks())?.length, 1);
  });

  it("keeps locks beside attributes, which are no locks", async () => {
    const lock = lockOf();
    await put(`locks/organization/${PROJECT}/dev/1.json`, JSON.stringify(lock));
    await put(`locks/organization/${PROJECT}/dev/1.json.attrs`, '{"user.cache_control":""}');
    assert.deepEqual(locksOf(backend, PROJECT, "dev"), [lock]);
  });

  it("tells creates that never ended, and only creates, from a plain and from a packed state", async () => {
    assert.deepEqual(stateIn(backend, PROJECT, "dev").pending, []);
    await put(`stacks/${PROJECT}/dev.json`, stack("creating", "deleting", "updating"));
    assert.deepEqual(stateIn(backend, PROJECT, "dev").pending, [pending]);
    await put(`stacks/${PROJECT}/packed.json.gz`, gzipSync(stack("creating")));
    assert.deepEqual(stateIn(backend, PROJECT, "packed").pending, [pending]);
    await put(`stacks/${PROJECT}/empty.json`, '{"version":3,"checkpoint":{"latest":null}}');
    assert.deepEqual(stateIn(backend, PROJECT, "empty").pending, []);
  });

  it("that a power cut or a full disk has cut off is refused with the file's name and what to do", async () => {
    await put(`stacks/${PROJECT}/short.json`, stack("creating").slice(0, 40));
    await put(`stacks/${PROJECT}/short-packed.json.gz`, gzipSync(stack("creating")).subarray(0, 20));
    await put(`locks/organization/${PROJECT}/short/1.json`, "");
    for (const [read, file, todo] of [
      [() => stateIn(backend, PROJECT, "short"), "short.json", /\.bak/],
      [() => stateIn(backend, PROJECT, "short-packed"), "short-packed.json.gz", /\.bak/],
      [() => locksOf(backend, PROJECT, "short"), "1.json", /npx pulumi cancel --yes short/],
    ] as const)
      assert.throws(read, (error) => {
        assert.ok(error instanceof UserError);
        assert.match(error.problem.where, new RegExp(`/${file}$`));
        assert.match(error.problem.todo, todo);
        return true;
      });
  });

  it("is refreshed only where that is asked, for a refresh of all fails while one host is silent, and whole to adopt", async () => {
    const program = join(backend, "pulumi");
    await writeFile(program, `#!/bin/sh\necho "$@" >> ${backend}/asked\n`, { mode: 0o755 });
    const engine = new EngineSide("dev", program, { PATH: process.env.PATH });
    await engine.refresh([], ["urn:gone"]);
    await engine.refresh([{ urn: "urn:made", id: "pve1/1100" }], ["urn:gone"]);
    const [gone, adopted] = (await readFile(join(backend, "asked"), "utf8")).split("\n");
    assert.match(gone ?? "", /^refresh .*--target urn:gone --clear-pending-creates/);
    assert.match(adopted ?? "", /--import-pending-creates urn:made --import-pending-creates pve1\/1100 --clear/);
    assert.doesNotMatch(adopted ?? "", /--target/);
  });

  it("is left alone by an update when nothing was killed, and by every other command", async () => {
    const environment = { PULUMI_BACKEND_URL: `file://${backend}` };
    const engine = new EngineSide("dev", "/nowhere/pulumi", environment);
    await prepareUpdate(["up", "--yes"], "dev", engine, environment);
    await put(`locks/organization/${PROJECT}/dev/1.json`, JSON.stringify(lockOf()));
    await prepareUpdate(["preview"], "dev", engine, environment);
    await prepareUpdate(["up", "--help"], "dev", engine, environment);
    await assert.rejects(prepareUpdate(["up"], "dev", engine, environment), /an update of stack dev is running/);
  });

  it("is compared with the file that the engine is told to read, and not with that of the stack's name", async () => {
    const environment = { PULUMI_BACKEND_URL: `file://${backend}` };
    const engine = new EngineSide("dev", "/nowhere/pulumi", environment);
    const urn = "urn:pulumi:dev::evergreen::x::other-workers-0-0a1b2c3d";
    const resources = [{ type: VM_TYPE, urn, outputs: { vmId: 1100 } }];
    await put(`stacks/${PROJECT}/dev.json`, JSON.stringify({ version: 3, checkpoint: { latest: { resources } } }));
    const file = join(projectRoot, "Pulumi.dev.yaml");
    const named = /none is a node of the cluster demo\n/;
    await assert.rejects(prepareUpdate(["up", "--config-file", file], "nowhere", engine, environment), named);
    const asked = { ...environment, PULUMI_OPTION_CONFIG_FILE: file };
    await assert.rejects(prepareUpdate(["up"], "nowhere", engine, asked), named);
    await assert.rejects(prepareUpdate(["up"], "nowhere", engine, environment), /Pulumi\.nowhere\.yaml/);
  });

  it("keeps a refresh from beginning that cannot look for the VMs", async () => {
    const environment = { PULUMI_BACKEND_URL: `file://${backend}` };
    const engine = new EngineSide("dev", "/nowhere/pulumi", environment);
    await prepareUpdate(["refresh"], "dev", engine, environment);
    const vm = { type: VM_TYPE, urn: "urn:a", outputs: { vmId: 1100 } };
    await put(
      `stacks/${PROJECT}/dev.json`,
      JSON.stringify({ version: 3, checkpoint: { latest: { resources: [vm] } } }),
    );
    await assert.rejects(prepareUpdate(["refresh", "--yes"], "dev", engine, environment), /PROXMOX_VE_ENDPOINT/);
    await prepareUpdate(["refresh", "--help"], "dev", engine, environment);
  });

  it("says what a destroy leaves: the VM of a create that never ended", async () => {
    const environment = { PULUMI_BACKEND_URL: `file://${backend}` };
    const engine = new EngineSide("dev", "/nowhere/pulumi", environment);
    await put(`stacks/${PROJECT}/dev.json`, stack("creating", "updating"));
    const said = mock.method(process.stdout, "write", () => true);
    await prepareUpdate(["destroy", "--yes"], "dev", engine, environment);
    said.mock.restore();
    assert.match(said.mock.calls.map(({ arguments: [line] }) => String(line)).join(""), /look for VM 1100 after it/);
  });
});

describe("before an update", () => {
  const goesOn = /would delete old nodes although new ones failed/;
  const partial = /only a part of the steps would run/;
  const lines: [string, RegExp | undefined][] = [
    ["up --continue-on-error", goesOn],
    ["up --continue-on-error=true", goesOn],
    ["up --continue-on-error=1", goesOn],
    ["up --continue-on-error=T", goesOn],
    ["up --continue-on-error=false", undefined],
    ["up --continue-on-errors", undefined],
    ["--continue-on-error up", goesOn],
    ["--stack prod up --continue-on-error", goesOn],
    ["-s prod up --continue-on-error", goesOn],
    ["-C . up --continue-on-error", goesOn],
    ["--cwd . --color never -v 3 update --continue-on-error", goesOn],
    ["destroy --continue-on-error", goesOn],
    ["down --yes --continue-on-error", goesOn],
    ["up --message --continue-on-error", undefined],
    ["up -- --continue-on-error", undefined],
    ["up --target urn:x", partial],
    ["up --target=urn:x", partial],
    ["up -t urn:x", partial],
    ["up -yt urn:x", partial],
    ["up -yfturn:x", partial],
    ["-s prod up --target-replace urn:x", partial],
    ["up --replace urn:x", partial],
    ["up --exclude urn:x", partial],
    ["destroy -x urn:x", partial],
    ["up -m --target", undefined],
    ["up --stack --target", undefined],
    ["preview --target urn:x", undefined],
    ["refresh --target urn:x", undefined],
    ["up -yf --stack prod", undefined],
  ];
  const none = { PULUMI_BACKEND_URL: "file:///nowhere" };
  const begin = (line: string, environment: NodeJS.ProcessEnv = none) =>
    prepareUpdate(line.split(" "), "dev", new EngineSide("dev", "/nowhere/pulumi", environment), environment);
  for (const [line, refusal] of lines) {
    it(`${refusal ? "refuses" : "lets pass"} pulumi ${line}`, async () => {
      const run = begin(line);
      await (refusal ? assert.rejects(run, refusal) : run);
    });
  }

  it("refuses what the environment asks of the engine, also of a destroy, which may run no program", async () => {
    await assert.rejects(begin("destroy", { ...none, PULUMI_OPTION_CONTINUE_ON_ERROR: "true" }), goesOn);
    await assert.rejects(begin("destroy", { ...none, PULUMI_OPTION_TARGET: "urn:x" }), partial);
    await begin("preview", { ...none, PULUMI_OPTION_TARGET: "urn:x" });
  });
});

describe("the refusal of a stack that is locked", () => {
  it("names each lock, as the engine words it, and nothing else does", () => {
    const words =
      "error: could not create stack: the stack is currently locked by 2 lock(s). Either wait for the other process(es) to end or delete the lock file with `pulumi cancel`.\n" +
      "  s3://b/.pulumi/locks/organization/evergreen/dev/a.json: created by ops@build-1 (pid 1234) at 2026-11-28T20:00:00Z\n" +
      "  s3://b/.pulumi/locks/organization/evergreen/dev/b.json: created by j@doe@vm (pid 7) at 2026-11-28T20:00:01+01:00\n";
    assert.deepEqual(lockRefusal(words), [
      { username: "ops", hostname: "build-1", pid: 1234, timestamp: "2026-11-28T20:00:00Z" },
      { username: "j@doe", hostname: "vm", pid: 7, timestamp: "2026-11-28T20:00:01+01:00" },
    ]);
    assert.deepEqual(lockRefusal("error: stack 'organization/evergreen/dev' already exists"), []);
  });
});

describe("the locks of a stack in a bucket", () => {
  let directory = "";
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "evergreen-bucket-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  const locked =
    "s3://b/.pulumi/locks/organization/evergreen/dev/a.json: created by ops@build-1 (pid 12) at 2026-11-28T20:00:00Z";

  /** An engine whose `stack export` fails with these words, or succeeds, and whose `stack init` names a lock. */
  async function engineThat(failure?: string): Promise<EngineSide> {
    const program = join(directory, "pulumi");
    const exported = failure === undefined ? "echo '{}'" : `echo "error: ${failure}" >&2; exit 255`;
    const script = `#!/bin/sh\ncase "$1 $2" in\n"stack export") ${exported};;\n*) echo "${locked}" >&2; exit 255;;\nesac\n`;
    await writeFile(program, script, { mode: 0o755 });
    return new EngineSide("dev", program, { PATH: process.env.PATH, PULUMI_BACKEND_URL: "s3://b" });
  }

  it("are those that the engine names", async () => {
    const locks = await (await engineThat()).readLocks();
    assert.deepEqual(
      locks?.map(({ pid }) => pid),
      [12],
    );
  });

  it("are unknown, not none, when the bucket does not answer, and when it has no such stack", async () => {
    const silent = await engineThat("could not load stack: blob (code=Unknown): dial tcp: i/o timeout");
    await assert.rejects(silent.readLocks(), /pulumi stack export failed: .*i\/o timeout/);
    assert.equal(await (await engineThat("no stack named 'dev' found")).readLocks(), undefined);
  });
});

describe("an exported state", () => {
  const exported = (deployment: object) => JSON.stringify({ version: 3, deployment });

  it("says which VMs the engine believes in, by the names that they were made with, and what it never saw the end of", () => {
    const state = parseState(
      exported({
        pending_operations: [
          { type: "creating", resource: { urn: "u", type: VM_TYPE, inputs: {} } },
          { type: "deleting", resource: { urn: "urn::old", type: VM_TYPE, outputs: { name: "old", vmId: 1101 } } },
          { type: "deleting", resource: { urn: "w", type: "command:local:Command", outputs: { name: "x", vmId: 1 } } },
        ],
        resources: [
          {
            type: VM_TYPE,
            urn: "urn::demo-workers-0-0a1b2c3d",
            outputs: { name: "web", vmId: 1100, nodeName: "pve2" },
          },
          {
            type: VM_TYPE,
            urn: "urn::demo-workers-1-0a1b2c3d",
            initErrors: ["HTTP 403 response"],
            outputs: { name: "demo-workers-1-0a1b2c3d", vmId: 1101 },
          },
          {
            type: VM_TYPE,
            urn: "urn::demo-servers-0-0a1b2c3d",
            initErrors: ["HTTP 403 response"],
            outputs: { name: "demo-servers-0-0a1b2c3d", vmId: 1000 },
          },
          {
            type: "command:local:Command",
            urn: "urn::demo-servers-0-0a1b2c3d-claim",
            outputs: { stdout: '{"name":"demo-servers-0-0a1b2c3d","vmid":1000,"uuid":"u"}' },
          },
          { type: VM_TYPE, urn: "urn::no-number", outputs: { name: "no-number" } },
          { type: "command:local:Command", urn: "x", outputs: { name: "x", vmId: 1 } },
        ],
      }),
    );
    const unfinished = [{ name: "demo-workers-1-0a1b2c3d", vmid: 1101, urn: "urn::demo-workers-1-0a1b2c3d" }];
    const whole = { name: "demo-workers-0-0a1b2c3d", vmid: 1100, urn: "urn::demo-workers-0-0a1b2c3d", host: "pve2" };
    const claimed = { name: "demo-servers-0-0a1b2c3d", vmid: 1000, urn: "urn::demo-servers-0-0a1b2c3d", claimed: true };
    assert.deepEqual(state.vms, [whole, ...unfinished, claimed]);
    assert.deepEqual(state.unfinished, unfinished);
    assert.deepEqual(
      state.pending.map(({ urn }) => urn),
      ["u"],
    );
    assert.deepEqual(state.deleting, [{ name: "old", vmid: 1101, urn: "urn::old" }]);
  });

  it("of a new stack is empty", () => {
    assert.deepEqual(parseState(exported({})), { pending: [], deleting: [], vms: [], unfinished: [], root: [] });
  });
});
