import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { readPoolRecord } from "../../src/clients/kubernetes/record.ts";
import { unguard } from "../../src/steps/verbs/guard.ts";
import { handover } from "../../src/steps/verbs/handover.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import { join } from "../../src/steps/verbs/join.ts";
import { retire } from "../../src/steps/verbs/retire.ts";
import { verify } from "../../src/steps/verbs/verify.ts";
import { startLoad } from "../lab/support/start.ts";
import { blue, green, StepCluster, third } from "./cluster.ts";

describe("steps of a control plane", function () {
  this.timeout(300_000);
  let cluster: StepCluster;

  before(async () => {
    cluster = await StepCluster.start("127.73");
  });
  after(async () => {
    await cluster.stop();
  });

  const voters = async () =>
    (await cluster.lab.status).members.filter(({ learner, healthy }) => !learner && healthy).map(({ name }) => name);

  it("an agent does not join what is not there, and does not touch its VM", async () => {
    const agent = cluster.slot("workers", 0);
    await cluster.clone(agent);
    await assert.rejects(join(cluster.run(), agent), /has no server that has started RKE2/);
    assert.equal(await cluster.status(agent.vmid), "stopped");
  });

  it("three servers come one after the other, each a voter", async () => {
    const inputs = [0, 1, 2].map((slot) => cluster.slot("servers", slot));
    for (const input of inputs) await cluster.clone(input);
    for (const input of inputs) {
      await join(cluster.run(), input);
      await handover(cluster.run(), input);
    }
    const verdict = { generation: blue.id, state: "proved" as const };
    await verify(cluster.run(), cluster.pool("servers", 3, blue, verdict));
    const record = await readPoolRecord(await cluster.kubernetes(), "servers");
    assert.deepEqual(
      record.nodes.map(({ phase }) => phase),
      ["handedOver", "handedOver", "handedOver"],
    );
    const { members, violations } = await cluster.lab.status;
    assert.equal(members.filter(({ learner }) => !learner).length, 3);
    assert.deepEqual(violations, []);
  });

  it("an agent joins through any of them", async () => {
    const agent = cluster.slot("workers", 0);
    await join(cluster.run(), agent);
    await handover(cluster.run(), agent);
  });

  it("a server that was powered off comes back by its Join, as the member that it was", async () => {
    const input = cluster.slot("servers", 2);
    await cluster.operator.power(input.vmid, "stop");
    await delay(1000);
    const joined = await join(cluster.run(), input);
    assert.equal(joined.vmid, input.vmid);
    assert.equal(await cluster.status(input.vmid), "running");
  });

  /** A handover that ends after the server has left etcd and before it is off, as one that is killed. */
  const interrupted = async (input: SlotInput) => {
    const leaving = 1000 + input.slot;
    const match = `PUT nodes/pve1/qemu/${leaving}/config`;
    await cluster.lab.call("POST /faults", { kind: "answer", match, nth: 1, status: 403, reason: "interrupted" });
    await assert.rejects(handover(cluster.run(), input), /interrupted/);
    await cluster.lab.call("DELETE /faults", undefined);
    assert.equal(await cluster.status(leaving), "running");
  };

  it("is replaced by another, slot by slot, under load: three members, four, three, and nobody notices", async () => {
    await startLoad(cluster.lab, { replicas: 2 });
    for (const slot of [0, 1, 2]) {
      const input = cluster.slot("servers", slot, green);
      await cluster.clone(input);
      await join(cluster.run(), input);
      assert.equal((await voters()).length, 4);
      // The first server in the list is the way into the cluster.
      if (slot === 0) await interrupted(input);
      await handover(cluster.run(), input);
      assert.ok(!(await voters()).some((name) => name.startsWith(`demo-servers-${slot}-aaaaaaaa`)));
      assert.equal((await voters()).length, 3);
      assert.equal(await cluster.status(1000 + slot), "stopped");
    }
    const { violations, probe } = await cluster.lab.status;
    assert.deepEqual(violations, []);
    assert.equal(probe.failed, 0, JSON.stringify(probe));
  });

  it("one that is dead when its turn comes goes first, for etcd admits nobody while it is there", async () => {
    await cluster.operator.power(cluster.slot("servers", 1, green).vmid, "stop");
    const input = cluster.slot("servers", 1, third);
    await cluster.clone(input);
    // A request that it had in hand when its power went is lost, and nobody's fault.
    await cluster.lab.call("POST /probe/reset", undefined);
    await join(cluster.run(), input);
    await handover(cluster.run(), input);
    const names = (await voters()).map((name) => name.slice(0, -9)).sort();
    assert.deepEqual(names, ["demo-servers-0-bbbbbbbb", "demo-servers-1-cccccccc", "demo-servers-2-bbbbbbbb"]);
    assert.equal((await cluster.lab.status).probe.failed, 0);
  });

  it("no second cluster is made beside one whose servers are off", async () => {
    const servers = [0, 1, 2].map((slot) => cluster.slot("servers", slot, slot === 1 ? third : green));
    for (const { vmid } of servers) await cluster.operator.power(vmid, "stop");
    const stranger = cluster.slot("servers", 3);
    await cluster.clone(stranger);
    await assert.rejects(join(cluster.run(), stranger), /would make a second cluster demo.*demo-servers-0-bbbbbbbb/s);
    assert.equal(await cluster.status(stranger.vmid), "stopped");
    for (const { vmid } of servers) await cluster.operator.power(vmid, "start");
    const { client } = { client: await cluster.kubernetes() };
    for (let tries = 0; tries < 100; tries += 1) {
      if (
        await client.get("/version").then(
          () => true,
          () => false,
        )
      )
        break;
      await delay(200);
    }
    await client.close();
  });

  it("a destroy powers everything off, the last server without a quorum too, without waiting for it", async function () {
    // The API of the last two takes minutes to say nothing.
    this.timeout(180_000);
    const destroy = () => ({ ...cluster.run(), mayTearDown: true });
    await unguard(destroy(), { cluster: "demo", site: cluster.site, allowDestroy: true });
    await retire(destroy(), cluster.slot("workers", 0));
    for (const slot of [2, 1, 0]) await retire(destroy(), cluster.slot("servers", slot, slot === 1 ? third : green));
    for (const vmid of [1020, 1041, 1022, 1100]) assert.equal(await cluster.status(vmid), "stopped");
  });
});
