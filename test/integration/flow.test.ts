import assert from "node:assert/strict";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { isCordoned, isLeaving, listNodes, nameOf } from "../../src/clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../src/clients/kubernetes/record.ts";
import { readVm } from "../../src/clients/proxmox/vms.ts";
import { handover } from "../../src/steps/verbs/handover.ts";
import { gate } from "../../src/steps/verbs/gate.ts";
import { join } from "../../src/steps/verbs/join.ts";
import { retire } from "../../src/steps/verbs/retire.ts";
import { rollout } from "../../src/steps/verbs/rollout.ts";
import { verify } from "../../src/steps/verbs/verify.ts";
import { startLoad } from "../lab/support/start.ts";
import { blue, green, StepCluster } from "./cluster.ts";

describe("steps in a data centre", function () {
  this.timeout(180_000);
  let cluster: StepCluster;
  let client: Kubernetes;

  before(async () => {
    cluster = await StepCluster.start("127.71");
  });
  after(async () => {
    await client.close();
    await cluster.stop();
  });

  const record = () => readPoolRecord(client, "workers");
  const phases = async () => Object.fromEntries((await record()).nodes.map(({ name, phase }) => [name, phase]));
  const states = async () => Object.fromEntries((await record()).generations.map(({ id, state }) => [id, state]));
  const status = (vmid: number) => cluster.status(vmid);

  it("the first server makes the cluster, and joining it again is nothing", async () => {
    const input = cluster.slot("servers", 0);
    await cluster.clone(input);
    const joined = await join(cluster.run(), input);
    assert.equal(joined.name, input.node);
    client = await cluster.kubernetes();
    const before = await cluster.requests();
    assert.deepEqual(await join(cluster.run(), input), joined);
    assert.ok(
      (await cluster.requests()) - before <= 3,
      "a join with nothing to do lists, finds its way and asks the host",
    );
    assert.deepEqual((await readPoolRecord(client, "servers")).nodes[0]?.uuid, joined.uuid);
    assert.equal((await readVm(cluster.pve, { host: "pve1", vmid: input.vmid })).onBoot, true);
  });

  it("agents join side by side, and the pool is proved", async () => {
    assert.match((await rollout(cluster.run(), cluster.pool("workers", 3, blue))).rollout, /^[0-9a-f]{12}$/);
    const inputs = [0, 1, 2].map((slot) => cluster.slot("workers", slot));
    for (const input of inputs) await cluster.clone(input);
    const before = await cluster.requests();
    await Promise.all(inputs.map((input) => join(cluster.run(), input)));
    const requests = ((await cluster.requests()) - before) / 3;
    assert.ok(requests <= 15, `a join took ${requests} requests`);
    for (const input of inputs) assert.deepEqual(await handover(cluster.run(), input), { active: input.node });
    const verdict = { generation: blue.id, state: "proved" as const };
    assert.deepEqual(await verify(cluster.run(), cluster.pool("workers", 3, blue, verdict)), {
      pool: "workers",
      state: "proved",
    });
    assert.deepEqual(await states(), { [blue.id]: "proved" });
    assert.deepEqual(new Set(Object.values(await phases())), new Set(["handedOver"]));
    const tokens = await client.list("/api/v1/namespaces/kube-system/secrets", {
      fieldSelector: "type=bootstrap.kubernetes.io/token",
    });
    assert.deepEqual(tokens.items, [], "a join token was left");
  });

  it("a roll under load: joined, gated, handed over, and nobody noticed", async () => {
    await startLoad(cluster.lab, { replicas: 6 });
    await rollout(cluster.run(), cluster.pool("workers", 3, green));
    const inputs = [0, 1, 2].map((slot) => cluster.slot("workers", slot, green));
    for (const input of inputs) await cluster.clone(input);
    await Promise.all(inputs.map((input) => join(cluster.run(), input)));
    await gate(cluster.run(), cluster.pool("workers", 3, green));
    const blues = (await listNodes(client, { pool: "workers", generation: blue.id })).filter(isLeaving);
    assert.equal(blues.length, 3);
    const before = await cluster.requests();
    await Promise.all(inputs.map((input) => handover(cluster.run(), input)));
    const requests = ((await cluster.requests()) - before) / 3;
    assert.ok(requests <= 16, `a handover took ${requests} requests`);
    const verdict = { generation: green.id, state: "proved" as const, watchSeconds: 1 };
    await verify(cluster.run(), cluster.pool("workers", 3, green, verdict));
    assert.deepEqual(await states(), { [blue.id]: "proved", [green.id]: "proved" });
    for (const slot of [0, 1, 2]) {
      assert.equal((await phases())[`demo-workers-${slot}-${blue.id}`], "retired");
      assert.equal(await status(1100 + slot), "stopped");
    }
    assert.deepEqual(
      (await listNodes(client, { pool: "workers" })).map(nameOf).sort(),
      inputs.map(({ node }) => node).sort(),
    );
    const after = await cluster.lab.status;
    assert.deepEqual(after.violations, []);
    assert.equal(after.probe.workload.failed, 0);
    assert.ok(after.evicted >= 6);
  });

  it("the join's delete of a retired node only looks", async () => {
    const before = await cluster.requests();
    assert.deepEqual(await retire(cluster.run(), cluster.slot("workers", 0)), { retired: `demo-workers-0-${blue.id}` });
    assert.ok((await cluster.requests()) - before <= 4);
  });

  it("a retired node comes back: started and joined again", async () => {
    const back = cluster.slot("workers", 0);
    const joined = await join(cluster.run(), back);
    await handover(cluster.run(), back);
    assert.equal(joined.vmid, 1100);
    assert.equal(await status(1120), "stopped");
    assert.deepEqual(
      (await listNodes(client, { pool: "workers", slot: 0 })).map((node) => [nameOf(node), isCordoned(node)]),
      [[back.node, false]],
    );
  });

  it("a member whose Join is deleted leaves properly: scale-in", async () => {
    const input = cluster.slot("workers", 2, green);
    await rollout(cluster.run(), cluster.pool("workers", 2, green));
    await retire(cluster.run(), input);
    assert.equal(await status(input.vmid), "stopped");
    assert.deepEqual(await listNodes(client, { pool: "workers", slot: 2 }), []);
    assert.deepEqual((await cluster.lab.status).violations, []);
  });
});
