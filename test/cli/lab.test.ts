import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import type { LabStatus } from "../../lab/control.ts";

const checkout = resolve(import.meta.dirname, "../..");
const name = `cli-${process.pid}`;
const directory = join(checkout, ".evergreen", "lab", name);

interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

function lab(...args: string[]): Promise<Ran> {
  const program = join(checkout, "cli", "bin", "evergreen.mjs");
  return new Promise((resolve) => {
    execFile(process.execPath, [program, "lab", ...args], { cwd: checkout }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    });
  });
}

describe("evergreen lab", function () {
  this.timeout(180_000);

  after(async () => {
    await lab("down", "--name", name);
  });

  it("comes up, says where it is and what to do next, and comes up again as it is", async () => {
    const up = ["up", "--name", name, "--prefix", "127.66", "--profile", "nvme", "--pve", "9.2"];
    const first = await lab(...up);
    assert.equal(first.code, 0, first.stderr);
    assert.match(first.stderr, /Proxmox VE 9\.2, profile nvme/);
    assert.match(first.stderr, /https:\/\/127\.66\.0\.2:8006\//);
    assert.match(first.stderr, /^next: /m);
    const process = /process \d+/;
    const second = await lab(...up);
    assert.equal(process.exec(second.stderr)?.[0], process.exec(first.stderr)?.[0]);
    assert.equal(existsSync(directory), true);
  });

  it("shows what runs in it, for people and for programs", async () => {
    const { stdout } = await lab("status", "--name", name);
    assert.match(stdout, /9001 +ubuntu-24\.04-rke2-v1\.0\.0 +evergreen-templates +template/);
    assert.match(stdout, /^violations +0$/m);
    const json = JSON.parse((await lab("status", "--name", name, "--json")).stdout) as LabStatus;
    assert.equal(json.version, "9.2");
    assert.equal(json.profile, "nvme");
  });

  it("goes away without a trace, twice if need be", async () => {
    assert.match((await lab("down", "--name", name)).stderr, /is gone/);
    assert.equal(existsSync(directory), false);
    const again = await lab("down", "--name", name);
    assert.equal(again.code, 0);
    assert.match(again.stderr, /there is no lab/);
  });

  it("says how to start a lab that is not there", async () => {
    const { code, stderr } = await lab("status", "--name", name);
    assert.equal(code, 1);
    assert.match(stderr, /there is no lab[^]*do: +start it: npx evergreen lab up --name/);
  });

  it("refuses names and addresses that could lead elsewhere", async () => {
    for (const args of [
      ["--name", "../other"],
      ["--prefix", "10.0"],
      ["--prefix", "127.200"],
    ]) {
      const { code, stderr } = await lab("up", ...args);
      assert.equal(code, 1, args.join(" "));
      assert.ok(stderr.includes(args.join(" ")), stderr);
    }
    const down = await lab("down", "--name", "../..");
    assert.equal(down.code, 1);
  });
});
