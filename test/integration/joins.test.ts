import assert from "node:assert/strict";
import { Deadline } from "../../src/runtime/deadline.ts";
import { identify } from "../../src/runtime/process-identity.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { findNode, isCordoned } from "../../src/clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../src/clients/kubernetes/record.ts";
import { holdRun } from "../../src/clients/kubernetes/run-lease.ts";
import { paths } from "../../src/clients/kubernetes/types.ts";
import { handover } from "../../src/steps/verbs/handover.ts";
import { join } from "../../src/steps/verbs/join.ts";
import { startLoad } from "../lab/support/start.ts";
import { blue, green, StepCluster, third } from "./cluster.ts";
import { allowEvictions, denyEvictions } from "./evictions.ts";

/** What docs/recovery.md says of joins and handovers that meet a site which is ill: seen, mended, and gone on with. */
describe("a site that is ill while nodes come and go", function () {
  this.timeout(240_000);
  let cluster: StepCluster;
  let client: Kubernetes;

  before(async () => {
    cluster = await StepCluster.start("127.85");
    client = await cluster.found();
  });
  after(async () => {
    await client.close();
    await cluster.stop();
  });
  afterEach(async () => {
    await cluster.lab.call("DELETE /faults", undefined);
    assert.deepEqual((await cluster.lab.status).violations, []);
  });

  const hasFailed = async (pool: "servers" | "workers") =>
    (await readPoolRecord(client, pool)).generations.find(({ id }) => id === green.id)?.state === "failed";
  /** What is told to a step that shall not wait for long. */
  const hasty = (pool: "servers" | "workers", slot: number) => {
    const input = cluster.slot(pool, slot, green);
    return { ...input, site: { ...input.site, timeouts: { ...input.site.timeouts, join: 4, gate: 4 } } };
  };
  const newImage = (fault: "clock-behind" | "learner-stalls" | "never-ready") =>
    cluster.lab.call("POST /faults", { kind: "image", template: green.spec.image, fault });

  /** etcd lists them by their ids, and the lab looks at them twice a second. */
  const membersAre = async (...wanted: string[]) => {
    let seen = "";
    const look = async () => {
      const { members } = await cluster.lab.status;
      seen = members
        .map(({ name, learner }) => `${name.slice(0, -9)}${learner ? " learns" : ""}`)
        .toSorted()
        .join();
      return seen === wanted.join() ? true : undefined;
    };
    await new Deadline(`the members ${wanted.join()}`, 60).poll(100, look, () => seen);
  };

  it("names the clock of a node that is behind, judges nobody for it, and joins it once it is right", async () => {
    const input = hasty("workers", 0);
    await cluster.clone(input);
    await newImage("clock-behind");
    await assert.rejects(
      join(cluster.run(), input),
      /^UserError: the clock of demo-workers-0-bbbbbbbb is 24 h behind.*where: VM 1120 on pve1.*time servers/s,
    );
    assert.equal(await hasFailed("workers"), false);
    await cluster.lab.call("DELETE /faults", undefined);
    await join(cluster.run(), input);
  });

  it("joins a node under a name whose password an older node has left", async () => {
    const old = cluster.slot("workers", 1);
    const input = cluster.slot("workers", 1, green);
    for (const one of [old, input]) await cluster.clone(one);
    await join(cluster.run(), old);
    await handover(cluster.run(), old);
    const metadata = { name: `${input.node}.node-password.rke2` };
    const data = { hash: Buffer.from("$1:0123456789abcdef:15:8:1:c29tZWJvZHkgZWxzZQ").toString("base64") };
    await client.create(paths.systemSecrets, { metadata, type: "Opaque", immutable: true, data });
    await join(cluster.run(), input);
  });

  it("leaves a node alone when the registration address goes in the middle of its drain, and goes on later", async () => {
    await startLoad(cluster.lab, { replicas: 4, maxUnavailable: 1 });
    await denyEvictions(client);
    // The lease of the step that could not give it back lives for a while.
    const input = cluster.slot("workers", 1, green);
    input.site = { ...input.site, timeouts: { ...input.site.timeouts, lease: 25, drain: 30 } };
    const [old, vmid] = [`demo-workers-1-${blue.id}`, 1101];
    const process = new AbortController();
    const run = { ...cluster.run({}, process.signal), abandon: (why: Error) => process.abort(why) };
    const broken = assert.rejects(
      handover(run, input),
      /could not be emptied in 30 s|lease \S+ was lost|API does not answer/,
    );
    await new Deadline("a cordon", 60).poll(50, async () => {
      const node = await findNode(client, old);
      return node && isCordoned(node) ? true : undefined;
    });
    await cluster.lab.call("POST /faults", { kind: "registration-down" });
    await broken;
    assert.equal(await cluster.status(vmid), "running");
    await cluster.lab.call("DELETE /faults", undefined);
    assert.equal(await hasFailed("workers"), false);
    await allowEvictions(client);
    await handover(cluster.run(), input);
    assert.equal(await cluster.status(vmid), "stopped");
    // The lab's kubelets have no way but that address: their nodes were not Ready meanwhile, and pods went for it.
    await cluster.lab.call("POST /watcher/reset", undefined);
  });

  it("takes out what an image without a healthy node has left, although it is one of two voters", async () => {
    await handover(cluster.run(), cluster.slot("servers", 0));
    const ill = hasty("servers", 0);
    ill.strategy = { ...ill.strategy, replaceOnlyServer: true };
    await cluster.clone(ill);
    await newImage("never-ready");
    await assert.rejects(join(cluster.run(), ill), /waiting for demo-servers-0-bbbbbbbb to be Ready/);
    await membersAre("demo-servers-0-aaaaaaaa", "demo-servers-0-bbbbbbbb");
    await new Deadline("its Node", 60).poll(100, async () => ((await findNode(client, ill.node)) ? true : undefined));

    const healthy = { ...cluster.slot("servers", 0, third), strategy: ill.strategy, spec: blue.spec };
    await cluster.clone(healthy);
    await join(cluster.run(), healthy);
    await membersAre("demo-servers-0-aaaaaaaa", "demo-servers-0-cccccccc");
    assert.equal(await cluster.status(ill.vmid), "stopped");
    await handover(cluster.run(), healthy);
    await membersAre("demo-servers-0-cccccccc");
    // Of two voters none may be silent, and one that comes or goes is for a moment: the watcher sees that now and then.
    const { violations } = await cluster.lab.status;
    assert.deepEqual(
      violations.filter(({ invariant }) => invariant !== "quorum"),
      [],
    );
    await cluster.lab.call("POST /watcher/reset", undefined);
  });

  it("lets no other server come while one does not get through its join, dead or alive, and goes on with that one", async () => {
    const [input, next] = [hasty("servers", 1), hasty("servers", 2)];
    for (const one of [input, next]) await cluster.clone(one);
    await newImage("learner-stalls");
    await assert.rejects(
      join(cluster.run(), input),
      /waiting for demo-servers-1-bbbbbbbb to be Ready.*never registered/s,
    );
    const notOver =
      /the control plane is not healthy.*demo-servers-1-bbbbbbbb is a learner without a Node: its join is not over.*docs\/recovery\.md.*"A server did not get through its join"/s;
    await assert.rejects(join(cluster.run(), next), notOver);
    await cluster.operator.power(input.vmid, "stop");
    await assert.rejects(join(cluster.run(), next), notOver);
    await membersAre("demo-servers-0-cccccccc", "demo-servers-1-bbbbbbbb learns");

    await cluster.lab.call("DELETE /faults", undefined);
    await join(cluster.run(), cluster.slot("servers", 1, green));
    await membersAre("demo-servers-0-cccccccc", "demo-servers-1-bbbbbbbb");
  });

  it("lets one update at a time work on a cluster, from whatever machine", async () => {
    const [one, other] = [identify(process.pid), identify(process.ppid)];
    assert.ok(one && other);
    const first = await holdRun(client, "demo", one);
    await assert.rejects(
      holdRun(client, "demo", other, {}, 1),
      /another update of the cluster demo is running.*update is held by \S+@/s,
    );
    await first.release();
    await (await holdRun(client, "demo", other, {}, 1)).release();
  });
});
