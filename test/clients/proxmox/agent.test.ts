import assert from "node:assert/strict";
import { Deadline } from "../../../src/runtime/deadline.ts";
import { awaitAgent, isNoSuchFile, isRefusedByAgent, readFile, writeFile } from "../../../src/clients/proxmox/agent.ts";
import { silentHostOf } from "../../../src/clients/proxmox/errors.ts";
import { isRunning } from "../../../src/clients/proxmox/vms.ts";
import { fakeProxmox } from "./fake.ts";

const vm = { vmid: 130, host: "pve1" };
const silent = { status: 500, reason: "QEMU guest agent is not running" };

describe("guest agent", () => {
  it("writes UTF-8 as base64 that Proxmox passes on", async () => {
    await using pve = await fakeProxmox(() => ({ data: null }));
    await writeFile(pve.client, vm, "/etc/evergreen/join.yaml", "token: grün €\n");
    const { file, content, encode } = pve.seen[0]?.parameters ?? {};
    assert.equal(file, "/etc/evergreen/join.yaml");
    assert.equal(encode, "0");
    assert.equal(Buffer.from(content ?? "", "base64").toString(), "token: grün €\n");
  });

  it("reads bytes that arrive as Latin-1 characters", async () => {
    await using pve = await fakeProxmox(() => ({ data: { content: "bin \u0001ÿ Ã¤\n", "bytes-read": 10 } }));
    assert.equal((await readFile(pve.client, vm, "/tmp/b")).toString("hex"), "62696e2001ff20c3a40a");
  });

  it("refuses what the agent cannot take, and a file that was cut", async () => {
    await using pve = await fakeProxmox(() => ({ data: { content: "x", truncated: 1 } }));
    await assert.rejects(writeFile(pve.client, vm, "/x", Buffer.alloc(45 * 1024 + 1)), /has 46081 bytes/);
    assert.equal(pve.seen.length, 0);
    await assert.rejects(readFile(pve.client, vm, "/x"), /was cut/);
  });

  it("is waited for while it is silent, through the first real question", async () => {
    await using pve = await fakeProxmox((_, count) => (count < 3 ? silent : { data: { content: "{}" } }));
    const answer = await awaitAgent(new Deadline("the agent", 5), () => readFile(pve.client, vm, "/x"));
    assert.equal(answer.toString(), "{}");
    assert.equal(pve.seen.length, 3);
  });

  it("is not blamed for Proxmox's own trouble", async () => {
    const reasons = {
      "Agent error: Failed to open file '/x': No such file or directory": true,
      "got no worker upid": false,
    };
    for (const [reason, its] of Object.entries(reasons)) {
      await using pve = await fakeProxmox(() => ({ status: 500, reason }));
      await assert.rejects(readFile(pve.client, vm, "/x"), (error) => isRefusedByAgent(error) === its);
    }
  });

  it("that is slow says nothing of its host, whose own silence looks alike", async () => {
    await using pve = await fakeProxmox(() => ({ status: 596, reason: "Broken pipe" }));
    const says = (asked: Promise<unknown>) => asked.catch((error: unknown) => silentHostOf(error));
    assert.equal(await says(readFile(pve.client, vm, "/x")), undefined);
    assert.equal(await says(isRunning(pve.client, vm)), "pve1");
  });

  it("that is not configured, or has no such file, is not waited for", async () => {
    for (const reason of [
      "No QEMU guest agent configured",
      "Agent error: failed to open file '/x' (mode: 'r'): No such file or directory",
    ]) {
      await using pve = await fakeProxmox(() => ({ status: 500, reason }));
      await assert.rejects(
        awaitAgent(new Deadline("the agent", 5), () => readFile(pve.client, vm, "/x")),
        (error: unknown) =>
          error instanceof Error && error.message.startsWith(reason) && isNoSuchFile(error) === reason.includes("file"),
      );
      assert.equal(pve.seen.length, 1);
    }
  });

  it("that never answers is named", async () => {
    await using pve = await fakeProxmox(() => silent);
    await assert.rejects(
      awaitAgent(new Deadline("the agent of n1", 0.3), () => readFile(pve.client, vm, "/x")),
      /waiting for the agent of n1.*qemu-guest-agent/s,
    );
  });
});
