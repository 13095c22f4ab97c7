import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { Deadline } from "../../src/runtime/deadline.ts";
import { UserError } from "../../src/runtime/errors.ts";
import type { FaultOrder } from "../../lab/control.ts";
import { type Lab, startLab, stopLab } from "../../lab/lab.ts";
import type { LabOptions } from "../../lab/site.ts";
import { Operator } from "./support/operator.ts";
import { labOptions } from "./support/start.ts";

describe("faults on order", function () {
  this.timeout(180_000);
  let options: LabOptions;
  let lab: Lab;
  let operator: Operator;

  before(async () => {
    options = await labOptions("127.63");
    lab = await startLab(options);
    operator = new Operator(lab);
  });

  afterEach(async () => {
    await lab.call("DELETE /faults", undefined);
  });

  after(async () => {
    await operator.close();
    await stopLab(options.directory);
    await rm(dirname(options.directory), { recursive: true });
  });

  const order = (fault: FaultOrder) => lab.call("POST /faults", fault);
  const clone = (newid: number) =>
    operator.pve("POST", "nodes/pve1/qemu/9001/clone", {
      newid: String(newid),
      name: `clone-${newid}`,
      pool: "evergreen-nodes",
      full: "0",
    });
  const vm = async (vmid: number) => (await lab.status).vms.find((vm) => vm.vmid === vmid);
  const agentAnswers = (vmid: number) => operator.pve("POST", `nodes/pve1/qemu/${vmid}/agent/ping`);

  it("fills a storage, and empties it again", async () => {
    await order({ kind: "full-storage" });
    await assert.rejects(clone(1110), /No space left on device/);
    await lab.call("DELETE /faults", undefined);
    await clone(1110);
  });

  it("takes a privilege away, and gives it back", async () => {
    await order({ kind: "revoke-privilege", privilege: "VM.Clone" });
    await assert.rejects(clone(1111), /403/);
    await lab.call("DELETE /faults", undefined);
    await clone(1111);
  });

  it("puts somebody else's VM on an id, which the token cannot touch", async () => {
    await order({ kind: "stranger", vmid: 1112, name: "database", tags: ["evergreen"] });
    assert.equal((await vm(1112))?.name, "database");
    await assert.rejects(clone(1112), /already exists|403/);
    await assert.rejects(operator.destroyVm(1112), /403/);
    assert.equal((await vm(1112))?.name, "database");
  });

  it("stops, starts, renames and deletes VMs by hand", async () => {
    await operator.createVm({ vmid: 1113, pool: "workers", slot: 0 });
    await order({ kind: "stop-vm", vm: "demo-workers-0-aaaaaaaa" });
    assert.equal((await vm(1113))?.running, false);
    await order({ kind: "start-vm", vm: 1113 });
    assert.equal((await vm(1113))?.running, true);
    await order({ kind: "rename-vm", vm: 1113, name: "renamed" });
    assert.equal((await vm(1113))?.name, "renamed");
    await order({ kind: "delete-vm", vm: "renamed" });
    assert.equal(await vm(1113), undefined);
    const violations = (await lab.status).violations;
    assert.deepEqual(violations, [], "what the lab does by hand is not the tool's doing");
  });

  it("answers the n-th matching request with an error, and only that one", async () => {
    await order({ kind: "answer", match: "GET version", nth: 2, status: 595, reason: "Connection timed out" });
    await operator.pve("GET", "version");
    await operator.pve("GET", "cluster/resources");
    await assert.rejects(operator.pve("GET", "version"), /595 Connection timed out/);
    await operator.pve("GET", "version");
  });

  it("cuts the connection after the effect", async () => {
    await operator.createVm({ vmid: 1114, pool: "workers", slot: 1 });
    await order({ kind: "drop", match: "POST nodes/.*/status/stop", nth: 1, when: "after" });
    await assert.rejects(operator.power(1114, "stop"), /other side closed|ECONNRESET|terminated/);
    await new Deadline("the VM to be off", 60).poll(50, async () => ((await vm(1114))?.running ? undefined : true));
  });

  it("cuts the connection before the effect", async () => {
    await operator.power(1114, "start");
    await order({ kind: "drop", match: "POST nodes/.*/status/stop", nth: 1, when: "before" });
    await assert.rejects(operator.power(1114, "stop"));
    assert.equal((await vm(1114))?.running, true);
  });

  it("holds a request at a boundary until its client has gone", async () => {
    const last = (await lab.events()).at(-1)?.number ?? 0;
    const held = (text: string) =>
      new Deadline(text, 60).poll(20, async () => (await lab.events(last)).find((event) => event.text === text));
    for (const [when, running] of [
      ["before", true],
      ["after", false],
    ] as const) {
      await order({ kind: "hold", effect: "change", nth: 1, when });
      const stop = assert.rejects(operator.power(1114, "stop"));
      await held(`held ${when} its effect: POST nodes/pve1/qemu/1114/status/stop`);
      await new Deadline("the VM", 60).poll(50, async () => ((await vm(1114))?.running === running ? true : undefined));
      await lab.call("DELETE /faults", undefined);
      await stop;
      assert.equal((await vm(1114))?.running, running);
    }
    await operator.power(1114, "start");
  });

  it("makes requests slow", async () => {
    await order({ kind: "latency", milliseconds: 300, match: "GET version" });
    const begin = performance.now();
    await operator.pve("GET", "version");
    assert.ok(performance.now() - begin >= 300);
  });

  it("ends a task with an error", async () => {
    await order({ kind: "fail-task", type: "qmstart", nth: 1, text: "start failed: QEMU exited with code 1" });
    await order({ kind: "stop-vm", vm: 1114 });
    await assert.rejects(operator.power(1114, "start"), /QEMU exited with code 1/);
    await operator.power(1114, "start");
  });

  it("gives a template an image without an agent, for the clones that boot from then on", async () => {
    await order({ kind: "image", template: "ubuntu-24.04-rke2-v1.1.0", fault: "no-agent" });
    await operator.pve("POST", "nodes/pve1/qemu/9002/clone", {
      newid: "1115",
      name: "deaf",
      pool: "evergreen-nodes",
      full: "0",
    });
    await operator.pve("POST", "nodes/pve1/qemu/1115/status/start");
    await assert.rejects(agentAnswers(1115), /agent/);
    await agentAnswers(1114);
  });

  it("tells what is there to name when an order names nothing", async () => {
    await assert.rejects(order({ kind: "stop-vm", vm: "nobody" }), (error) => {
      assert.ok(error instanceof UserError);
      assert.match(error.problem.what, /nobody/);
      assert.match(error.problem.todo, /ubuntu-24\.04-rke2-v1\.0\.0/);
      return true;
    });
  });

  it("keeps what happened, in order", async () => {
    const events = await lab.events();
    const numbers = events.map(({ number }) => number);
    assert.deepEqual(
      numbers,
      numbers.toSorted((a, b) => a - b),
    );
    assert.ok(events.some(({ kind, text }) => kind === "fault" && text.includes("is full")));
    assert.ok(events.some(({ kind, text }) => kind === "vm" && text === "1113 renamed destroyed by hand"));
    const last = numbers.at(-1) ?? 0;
    assert.deepEqual(await lab.events(last), []);
  });
});
