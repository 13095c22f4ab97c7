import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Progress } from "../../cli/demo/progress.ts";
import { type Report, reportText, rolloutOf } from "../../cli/demo/report.ts";
import { picture } from "../../cli/demo/stage.ts";
import { Deadline } from "../../src/runtime/deadline.ts";
import type { LabStatus } from "../../lab/control.ts";
import { emptyTally } from "../../lab/load/tally.ts";
import { Family } from "../../lab/family.ts";
import { alive, sessionOf } from "../../lab/processes.ts";
import { readDaemon } from "../../lab/lab.ts";

const checkout = resolve(import.meta.dirname, "../..");

describe("what a demo shows", () => {
  const measured = { pool: "workers", from: "aaaaaaaa", to: "bbbbbbbb", evicted: 12, pdbViolations: 0 };

  it("is a table with a row for each roll", () => {
    const report: Report = {
      rollouts: [rolloutOf({ ...measured, seconds: 12.3456, lowerBoundSeconds: 10 })],
      probe: { requests: 1000, failed: 0 },
      vmsLeft: 9,
      templatesLeft: 2,
    };
    const contents = new Map([["bbbbbbbb", { image: "ubuntu-24.04-rke2-v1.1.0", rke2: "v1.34.4+rke2r1" }]]);
    const [head, ...rest] = reportText(report, contents).split("\n");
    for (const title of ["pool", "generation", "image", "RKE2", "took", "lower bound", "efficiency", "evicted"]) {
      assert.ok(head?.includes(title), title);
    }
    assert.match(
      rest.join("\n"),
      /workers +aaaaaaaa -> bbbbbbbb +ubuntu-24\.04-rke2-v1\.1\.0 +v1\.34\.4\+rke2r1 +12\.3 s/,
    );
    assert.match(rest.join("\n"), /1000 requests, 0 failed; at the end: 9 VMs, 2 templates/);
  });

  it("measures efficiency as the share that could not be avoided", () => {
    assert.equal(rolloutOf({ ...measured, seconds: 20, lowerBoundSeconds: 15 }).efficiency, 0.75);
    assert.equal(rolloutOf({ ...measured, seconds: 0, lowerBoundSeconds: 0 }).efficiency, 0);
  });

  it("shows every VM of the cluster, and what the prober saw", () => {
    const vm = {
      image: "i",
      pool: "p",
      template: false,
      running: true,
      node: "pve1",
      agentUp: true,
      tags: ["evergreen"],
    };
    const node = { uuid: "u", ready: true, schedulable: false, kubelet: "k", server: false, pool: "w", slot: "0" };
    const status: Partial<LabStatus> = {
      vms: [
        { ...vm, vmid: 1100, name: "demo-workers-0-a" },
        { ...vm, vmid: 9001, name: "template", template: true },
        { ...vm, vmid: 1101, name: "stranger", tags: [] },
      ],
      nodes: [{ ...node, name: "demo-workers-0-a" }],
      load: { wanted: 12, ready: 11 },
      probe: { requests: 7, failed: 1, workload: emptyTally, api: emptyTally },
      evicted: 3,
      violations: [],
    };
    assert.deepEqual(picture(status as LabStatus, "a roll"), [
      "a roll",
      "  demo-workers-0-a  running  leaving",
      "  11/12 pods ready, 3 evicted; prober 7 requests, 1 failed; 0 violations",
    ]);
  });

  /** A terminal of four lines, as far as it is written to here. */
  class Terminal {
    readonly columns = 24;
    readonly isTTY: boolean;
    text = "";

    constructor(isTTY: boolean) {
      this.isTTY = isTTY;
    }

    write(text: string): boolean {
      this.text += text;
      return true;
    }
  }

  it("draws over its last picture on a terminal, and cuts lines that would wrap", () => {
    const terminal = new Terminal(true);
    const progress = new Progress(terminal);
    progress.show(["one", "two and something that is far too long"]);
    progress.show(["three"]);
    assert.equal(terminal.text, "one\ntwo and something that \n\x1b[2A\x1b[Jthree\n");
    progress.note("news");
    assert.ok(terminal.text.includes("\x1b[1A\x1b[J   0.0 s  news\nthree\n"), JSON.stringify(terminal.text));
  });

  it("writes plain lines where there is no terminal", () => {
    const file = new Terminal(false);
    const progress = new Progress(file);
    progress.show(["picture"]);
    progress.note("news");
    assert.match(file.text, /^ +0\.0 s {2}news\n$/);
  });
});

describe("evergreen demo", function () {
  this.timeout(300_000);
  const family = new Family();
  let scratch: string;
  let names = 0;

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), "evergreen-demo-"));
  });

  after(async () => {
    await family.kill();
    await rm(scratch, { recursive: true });
  });

  function start(...args: string[]) {
    const name = `test-${process.pid}-${++names}`;
    const lab = join(checkout, ".evergreen", "lab", name);
    const program = join(checkout, "cli", "bin", "evergreen.mjs");
    const child = spawn(process.execPath, [program, "demo", "--prefix", "127.65", "--name", name, ...args], {
      cwd: checkout,
      env: { ...process.env, ...family.env },
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => (output += text));
    }
    const ended = once(child, "close").then(([code]) => ({ code: code as number | null, output }));
    return { child, lab, ended, said: () => output };
  }

  it("rolls a cluster forwards and back without a failed request, and leaves nothing", async () => {
    const file = join(scratch, "report.json");
    const { lab, ended } = start("--report", file);
    const { code, output } = await ended;
    assert.equal(code, 0, output);
    const report = JSON.parse(readFileSync(file, "utf8")) as Report;
    assert.deepEqual(Object.keys(report).toSorted(), ["probe", "rollouts", "templatesLeft", "vmsLeft"]);
    assert.equal(report.rollouts.length, 2);
    const [there, back] = report.rollouts;
    assert.ok(there && back);
    const keys = ["efficiency", "evicted", "from", "lowerBoundSeconds", "pdbViolations", "pool", "seconds", "to"];
    assert.deepEqual(Object.keys(there).toSorted(), keys);
    assert.equal(there.pool, "workers");
    assert.notEqual(there.from, there.to);
    assert.deepEqual([back.from, back.to], [there.to, there.from]);
    for (const { evicted, pdbViolations, efficiency } of report.rollouts) {
      assert.ok(evicted >= 12, "every pod has to move");
      assert.equal(pdbViolations, 0);
      assert.ok(efficiency > 0 && efficiency <= 1);
    }
    assert.ok(report.probe.requests > 100);
    assert.equal(report.probe.failed, 0);
    assert.deepEqual([report.vmsLeft, report.templatesLeft], [9, 2]);
    assert.equal(existsSync(lab), false);
  });

  it("cleans up after Ctrl-C", async () => {
    const { child, lab, ended, said } = start();
    await new Deadline("the first server", 60).poll(50, () =>
      Promise.resolve(said().includes("created") ? true : undefined),
    );
    const daemon = readDaemon(lab);
    assert.ok(daemon);
    child.kill("SIGINT");
    const { code, output } = await ended;
    assert.equal(code, 130, output);
    assert.equal(alive(daemon.process), false);
    assert.deepEqual([...sessionOf(daemon.process), ...family.pids], []);
    assert.equal(existsSync(lab), false);
  });

  it("leaves no lab when it is killed", async () => {
    const { child, lab, ended } = start();
    const daemon = await new Deadline("the lab", 60).poll(50, () => Promise.resolve(readDaemon(lab)));
    assert.ok(child.pid !== undefined);
    process.kill(-child.pid, "SIGKILL");
    await ended;
    await new Deadline("the lab to end", 60).poll(100, () =>
      Promise.resolve(alive(daemon.process) || existsSync(lab) ? undefined : true),
    );
    assert.deepEqual(sessionOf(daemon.process), []);
  });

  it("refuses addresses that are none of the loopback network's", async () => {
    const { code, output } = await start("--prefix", "10.1").ended;
    assert.equal(code, 1);
    assert.match(output, /loopback[^]*--prefix 10\.1[^]*127\.N/);
  });
});
