import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { writeWantedSlots } from "../../src/clients/kubernetes/cluster-record.ts";
import { readPoolRecord } from "../../src/clients/kubernetes/record.ts";
import { readFile } from "../../src/clients/proxmox/agent.ts";
import { IdentityError } from "../../src/clients/proxmox/identity.ts";
import { readVm } from "../../src/clients/proxmox/vms.ts";
import type { Claimed } from "../../src/steps/node/claimed.ts";
import { claim } from "../../src/steps/verbs/claim.ts";
import { handover } from "../../src/steps/verbs/handover.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import { join } from "../../src/steps/verbs/join.ts";
import { writeJoinData } from "../../src/steps/node/join-data.ts";
import { release } from "../../src/steps/verbs/release.ts";
import { retire } from "../../src/steps/verbs/retire.ts";
import { rollout } from "../../src/steps/verbs/rollout.ts";
import { blue, green, StepCluster } from "./cluster.ts";

describe("claims", function () {
  this.timeout(180_000);
  let cluster: StepCluster;
  let client: Kubernetes;

  before(async () => {
    cluster = await StepCluster.start("127.78");
  });
  after(async () => {
    await client.close();
    await cluster.stop();
  });

  const recorded = async ({ pool, node }: SlotInput) =>
    (await readPoolRecord(client, pool)).nodes.find(({ name }) => name === node);
  const uuidOf = async ({ vmid }: SlotInput) => (await readVm(cluster.pve, { host: "pve1", vmid })).uuid;
  const status = ({ vmid }: SlotInput) => cluster.status(vmid);
  const member = async (input: SlotInput) => {
    await cluster.clone(input);
    await claim(cluster.run(), input);
    await join(cluster.run(), input);
    await handover(cluster.run(), input);
  };
  /** Somebody deletes the VM by hand, and another one gets its number, its name and its tags. */
  const exchange = async (input: SlotInput) => {
    await cluster.operator.destroyVm(input.vmid);
    await cluster.clone(input);
  };

  it("before there is a cluster are the state's to remember, and start nobody", async () => {
    const inputs = [0, 1].map((slot) => cluster.slot("servers", slot));
    for (const input of inputs) await cluster.clone(input);
    for (const input of inputs) {
      const { node, vmid } = input;
      assert.deepEqual(await claim(cluster.run(), input), { name: node, vmid, uuid: await uuidOf(input) });
      assert.equal(await status(input), "stopped");
    }
    for (const input of inputs) {
      await join(cluster.run(), input);
      await handover(cluster.run(), input);
    }
    client = await cluster.kubernetes();
  });

  it("record an agent's clone and leave it off; once more, and in the join, it is the same", async () => {
    const input = cluster.slot("workers", 0);
    await cluster.clone(input);
    const before = await cluster.requests();
    const claimed = await claim(cluster.run(), input);
    assert.ok((await cluster.requests()) - before <= 4, "the list, the way in, the configuration, the host");
    const { phase, uuid, since } = (await recorded(input)) ?? {};
    assert.deepEqual([phase, uuid], ["made", claimed.uuid]);
    assert.equal(await status(input), "stopped");
    assert.deepEqual(await claim(cluster.run(claimed), input), claimed);
    assert.equal((await recorded(input))?.since, since);
    assert.deepEqual(await join(cluster.run(), input), claimed);
    await handover(cluster.run(), input);
  });

  it("of a member only look: the first update after there were none", async () => {
    const input = cluster.slot("workers", 0);
    const before = await cluster.requests();
    assert.equal((await claim(cluster.run(), input)).uuid, await uuidOf(input));
    const asked = (await cluster.requests()) - before;
    assert.ok(asked <= 8, `it took ${asked} requests`);
    assert.equal((await recorded(input))?.phase, "handedOver");
  });

  it("refuse a VM that runs and that nobody remembers, and one that is not the recorded one", async () => {
    const input = cluster.slot("workers", 1);
    await cluster.clone(input);
    await cluster.operator.power(input.vmid, "start");
    await assert.rejects(claim(cluster.run(), input), /was started by somebody else/);
    assert.equal(await recorded(input), undefined);
    await cluster.operator.power(input.vmid, "stop");
    const copy = claim(cluster.run(), { ...input, madeVmid: 1199 });
    await assert.rejects(copy, /VM 1101 has the name and the tags of .*is not the one that was made as it.* VM 1199/);
    assert.equal(await recorded(input), undefined);
    const claimed = await claim(cluster.run(), { ...input, madeVmid: input.vmid });
    await exchange(input);
    await assert.rejects(claim(cluster.run(), input), IdentityError);
    await assert.rejects(join(cluster.run(), input), IdentityError);
    await assert.rejects(release(cluster.run(claimed), input), /SMBIOS uuid .*, recorded/);
    assert.equal((await recorded(input))?.uuid, claimed.uuid);
    await cluster.operator.destroyVm(input.vmid);
    assert.deepEqual(await release(cluster.run(claimed), input), { released: input.node }, "it is gone");
  });

  it("keep a token from whoever has taken the number while ours was booting", async () => {
    const input = cluster.slot("workers", 0);
    const proved = await readVm(cluster.pve, { host: "pve1", vmid: input.vmid });
    const booted = { ...proved, uuid: "6b0124f9-0000-4000-8000-000000000101" };
    await assert.rejects(writeJoinData(cluster.run(), booted, { role: "agent" }, "token: secret"), IdentityError);
    assert.doesNotMatch((await readFile(cluster.pve, proved, guest.join)).toString(), /token: secret/);
  });

  it("let nobody be destroyed of whom nobody recorded anything", async () => {
    const input = cluster.slot("workers", 2);
    await cluster.clone(input);
    await assert.rejects(release(cluster.run(), input), /nobody recorded its SMBIOS uuid/);
    const stranger: Claimed = { name: input.node, vmid: input.vmid, uuid: "6b0124f9-0000-4000-8000-000000000101" };
    await assert.rejects(release(cluster.run(stranger), input), IdentityError);
    await cluster.operator.destroyVm(input.vmid);
  });

  it("that asked nothing, for the host was silent, let a clone be destroyed that is as the engine made it", async () => {
    const input = { ...cluster.slot("workers", 2), madeVmid: 1102 };
    await cluster.clone(input);
    const silent = await claim(cluster.run(), { ...input, unreachable: "pve1" });
    assert.deepEqual(silent, { name: input.node, vmid: 1102 });
    await assert.rejects(release(cluster.run(silent), { ...input, madeVmid: 1199 }), /not the one that was made as it/);
    await cluster.operator.power(input.vmid, "start");
    await assert.rejects(release(cluster.run(silent), input), /was started by somebody else/);
    await cluster.operator.power(input.vmid, "stop");
    assert.deepEqual(await release(cluster.run(silent), input), { released: input.node });
    await cluster.operator.destroyVm(input.vmid);
  });

  it("end with one last look at a VM that was retired", async () => {
    const input = cluster.slot("workers", 3);
    await member(input);
    const claimed = await claim(cluster.run(), input);
    // The update gives its slot up.
    await writeWantedSlots(client, "workers", [0, 1, 2]);
    await retire(cluster.run(claimed), input);
    const before = await cluster.requests();
    assert.deepEqual(await release(cluster.run(claimed), input), { released: input.node });
    const asked = (await cluster.requests()) - before;
    assert.ok(asked <= 4, `it took ${asked} requests, and not the list, the way in, the host and the configuration`);
    await exchange(input);
    await assert.rejects(release(cluster.run(claimed), input), IdentityError);
    await assert.rejects(claim(cluster.run(claimed), input), IdentityError, "the engine has not destroyed ours");
    await cluster.operator.destroyVm(input.vmid);
  });

  it("boot a server ahead, RKE2 held back; it joins when it is told to", async () => {
    const input = cluster.slot("servers", 0, green);
    await cluster.clone(input);
    const claimed = await claim(cluster.run(), input);
    assert.equal(await status(input), "running");
    assert.equal((await recorded(input))?.phase, "made");
    const members = (await cluster.lab.status).members.length;
    assert.equal(members, 2, "nobody has joined");
    assert.deepEqual(await join(cluster.run(), input), claimed);
    await handover(cluster.run(), input);
    assert.deepEqual((await cluster.lab.status).violations, []);
  });

  it("given up: what was booted ahead is off when the next rollout has begun, or when it is released", async () => {
    const input = cluster.slot("servers", 1, green);
    await cluster.clone(input);
    const claimed = await claim(cluster.run(), input);
    assert.equal(await status(input), "running");
    await cluster.operator.power(input.vmid, "stop");
    await claim(cluster.run(claimed), input);
    assert.equal(await status(input), "stopped", "it may have been told to join by now: it waits for its turn");
    await cluster.operator.power(input.vmid, "start");
    await rollout(cluster.run(), { ...cluster.pool("servers", 2, blue), plan: { digest: "d", slots: [] } });
    assert.equal(await status(input), "stopped");
    assert.equal((await recorded(input))?.phase, "retired");
    await cluster.operator.power(input.vmid, "start");
    await release(cluster.run(claimed), input);
    assert.equal(await status(input), "stopped");
  });
});
