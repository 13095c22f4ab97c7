import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import net from "node:net";
import { dirname, join } from "node:path";
import { Deadline } from "../../src/runtime/deadline.ts";
import { UserError } from "../../src/runtime/errors.ts";
import { Lab, readDaemon, startLab, stopLab } from "../../lab/lab.ts";
import { identify, sessionOf } from "../../lab/processes.ts";
import { filesOf, type LabOptions } from "../../lab/site.ts";
import { Operator } from "./support/operator.ts";
import { labOptions } from "./support/start.ts";

describe("a lab", function () {
  this.timeout(180_000);
  let options: LabOptions;

  beforeEach(async () => {
    options = await labOptions("127.62");
  });

  afterEach(async () => {
    await stopLab(options.directory);
    await rm(dirname(options.directory), { recursive: true });
  });

  it("comes up once, however often and by however many it is started", async () => {
    const labs = await Promise.all([startLab(options), startLab(options), startLab(options)]);
    const pids = await Promise.all(labs.map(async (lab) => (await lab.status).pid));
    assert.equal(new Set(pids).size, 1);
    const status = await labs[0].status;
    assert.deepEqual(
      status.vms.map(({ vmid, name, template }) => [vmid, name, template]),
      [
        [9001, "ubuntu-24.04-rke2-v1.0.0", true],
        [9002, "ubuntu-24.04-rke2-v1.1.0", true],
      ],
    );
    assert.equal(status.endpoint, "https://127.62.0.2:8006/");
    assert.deepEqual(status.violations, []);
  });

  it("is refused on a machine that could not end its programs with it", async () => {
    const { PATH } = process.env;
    process.env.PATH = "/nowhere";
    try {
      await assert.rejects(startLab(options), /setpriv is missing/);
    } finally {
      process.env.PATH = PATH;
    }
    assert.equal(existsSync(options.directory), false);
  });

  it("says how to reach it in a file for its owner only, and answers there", async () => {
    const lab = await startLab(options);
    const files = filesOf(options.directory);
    for (const file of [files.env, files.daemon, files.socket]) assert.equal(statSync(file).mode & 0o77, 0, file);
    const operator = new Operator(lab);
    const version = (await operator.pve("GET", "version")) as { version: string };
    assert.match(version.version, /^8\.4/);
    await operator.close();
    assert.equal(lab.env.PULUMI_BACKEND_URL, `file://${files.state}`);
    assert.ok(existsSync(files.state) && existsSync(join(lab.env.SSL_CERT_DIR, "lab-ca.pem")));
  });

  it("leaves nothing when it is stopped, twice if need be", async () => {
    const lab = await startLab(options);
    const owner = readDaemon(options.directory);
    assert.ok(owner);
    await lab.stop();
    assert.equal(existsSync(options.directory), false);
    assert.deepEqual(sessionOf(owner.process), []);
    await stopLab(options.directory);
  });

  it("leaves nothing of a daemon that was killed, and comes up again", async () => {
    const lab = await startLab(options);
    const operator = new Operator(lab);
    const server = { vmid: 1000, pool: "servers", slot: 0 } as const;
    await operator.createVm(server);
    await operator.joinFirstServer(server);
    const owner = readDaemon(options.directory);
    assert.ok(owner);
    await new Deadline("etcd and an API server", 60).poll(50, () =>
      Promise.resolve(sessionOf(owner.process).length >= 3 ? true : undefined),
    );
    await operator.close();
    process.kill(owner.process.pid, "SIGKILL");
    await startLab(options);
    assert.deepEqual(sessionOf(owner.process), []);
    assert.equal((await lab.status).vms.length, 2);
  });

  it("ends when its owner has ended, and leaves nothing", async () => {
    await stopLab(options.directory);
    const owner = spawn("sleep", ["60"]);
    await startLab({ ...options, owner: identify(owner.pid ?? 0) });
    const daemon = readDaemon(options.directory);
    assert.ok(daemon);
    owner.kill("SIGKILL");
    await new Deadline("the lab to end", 60).poll(100, () =>
      Promise.resolve(sessionOf(daemon.process).length === 0 && !existsSync(options.directory) ? true : undefined),
    );
  });

  it("says which address is taken, and what to do", async () => {
    const stranger = net.createServer().listen(8006, "127.62.0.2");
    await once(stranger, "listening");
    try {
      await assert.rejects(startLab(options), (error) => {
        assert.ok(error instanceof UserError);
        assert.match(error.problem.where, /127\.62\.0\.2:8006/);
        assert.match(error.problem.todo, /prefix/);
        return true;
      });
      assert.equal(existsSync(options.directory), false);
    } finally {
      stranger.close();
    }
  });

  it("removes no directory that is not a lab's", async () => {
    await mkdir(options.directory);
    writeFileSync(join(options.directory, "thesis.txt"), "years of work");
    await assert.rejects(stopLab(options.directory), /not a lab's/);
    assert.equal(readFileSync(join(options.directory, "thesis.txt"), "utf8"), "years of work");
    await rm(options.directory, { recursive: true });
  });

  it("tells whoever asks a lab that is not there", async () => {
    await assert.rejects(new Lab(options.directory).status, (error) => error instanceof UserError);
  });
});
