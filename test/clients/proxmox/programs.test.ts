import assert from "node:assert/strict";
import { ProxmoxError } from "../../../src/clients/proxmox/errors.ts";
import { largestInput, readProgramEnd, runProgram, startProgram } from "../../../src/clients/proxmox/programs.ts";
import { Deadline } from "../../../src/runtime/deadline.ts";
import { fakeProxmox, type Answer } from "./fake.ts";

const vm = { vmid: 130, host: "pve1" };
const silent = { status: 500, reason: "QEMU guest agent is not running" };
/** As recorded: 6-agent-success. */
const started = { data: { pid: 138 } };
const ended = { data: { exitcode: 0, exited: 1, "out-data": "6.1.0-56-cloud-amd64\n", "out-truncated": 0 } };

describe("programs by the guest agent", () => {
  it("are started with each argument by itself, and their end is waited for", async () => {
    const answers: Answer[] = [{ data: { exited: 0 } }, silent, ended];
    await using pve = await fakeProxmox(({ method }, count) =>
      method === "POST" ? started : (answers[count - 1] ?? ended),
    );
    const end = await runProgram(
      pve.client,
      vm,
      { command: ["/bin/sh", "-s"], input: "uname -r\n" },
      new Deadline("it", 20),
    );
    assert.deepEqual(end, { code: 0, output: "6.1.0-56-cloud-amd64\n", errors: "" });
    const [first] = pve.seen;
    assert.equal(first?.path, "/nodes/pve1/qemu/130/agent/exec");
    assert.deepEqual(first.lists?.command, ["/bin/sh", "-s"]);
    assert.equal(first.parameters["input-data"], "uname -r\n");
    assert.deepEqual(
      pve.seen.slice(1).map(({ method, parameters }) => [method, parameters.pid]),
      [1, 2, 3].map(() => ["GET", "138"]),
    );
  });

  it("end with a signal's number beyond 128, as in a shell, and with what they wrote to both outputs", async () => {
    const data = { exited: 1, signal: 9, "err-data": "gr\u00c3\u00bcn\n" };
    await using pve = await fakeProxmox(() => ({ data }));
    assert.deepEqual(await readProgramEnd(pve.client, vm, 138), { code: 137, output: "", errors: "grün\n" });
  });

  it("whose output was cut say nothing", async () => {
    await using pve = await fakeProxmox(() => ({
      data: { exited: 1, exitcode: 0, "out-data": "x", "out-truncated": 1 },
    }));
    await assert.rejects(readProgramEnd(pve.client, vm, 138), /too long and was cut/);
  });

  it("that the agent does not know are no end of theirs", async () => {
    await using pve = await fakeProxmox(() => ({ status: 500, reason: "Agent error: Invalid parameter 'pid'" }));
    await assert.rejects(readProgramEnd(pve.client, vm, 999), (error) => error instanceof ProxmoxError);
  });

  it("are refused before they are sent when Proxmox would not pass them on as they are", async () => {
    await using pve = await fakeProxmox(() => started);
    await assert.rejects(startProgram(pve.client, vm, ["/bin/sh"], "x".repeat(largestInput + 1)), /65537 characters/);
    await assert.rejects(startProgram(pve.client, vm, ["/bin/echo", "grün"]), /ASCII only/);
    assert.equal(pve.seen.length, 0);
    assert.equal(await startProgram(pve.client, vm, ["/bin/sh"], "x".repeat(largestInput)), 138);
  });

  it("are never started twice", async () => {
    await using pve = await fakeProxmox(() => "hang up");
    await assert.rejects(startProgram(pve.client, vm, ["/bin/true"]));
    assert.equal(pve.seen.length, 1);
  });

  it("that run on are named when the time is over", async () => {
    await using pve = await fakeProxmox(({ method }) => (method === "POST" ? started : { data: { exited: 0 } }));
    const run = runProgram(pve.client, vm, { command: ["/bin/sleep"] }, new Deadline("the checks", 0.3));
    await assert.rejects(run, /waiting for the checks.*\/bin\/sleep still runs/s);
  });
});
