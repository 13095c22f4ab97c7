import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join as pathJoin } from "node:path";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { findNode, isCordoned, isLeaving, listNodes } from "../../src/clients/kubernetes/nodes.ts";
import { writeWantedSlots } from "../../src/clients/kubernetes/cluster-record.ts";
import { readPoolRecord } from "../../src/clients/kubernetes/record.ts";
import { paths, type Lease } from "../../src/clients/kubernetes/types.ts";
import { IdentityError } from "../../src/clients/proxmox/identity.ts";
import type { Generation } from "../../src/domain/model/types.ts";
import { guard, unguard } from "../../src/steps/verbs/guard.ts";
import { handover } from "../../src/steps/verbs/handover.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import { join } from "../../src/steps/verbs/join.ts";
import { retire } from "../../src/steps/verbs/retire.ts";
import { rollout } from "../../src/steps/verbs/rollout.ts";
import { startLoad } from "../lab/support/start.ts";
import { blue, green, StepCluster } from "./cluster.ts";
import { allowEvictions, denyEvictions } from "./evictions.ts";

const root = pathJoin(import.meta.dirname, "../..");

describe("steps when something goes wrong", function () {
  this.timeout(180_000);
  let cluster: StepCluster;
  let client: Kubernetes;

  before(async () => {
    cluster = await StepCluster.start("127.72");
    client = await cluster.found();
    await writeWantedSlots(client, "workers", [0, 1]);
    for (const slot of [0, 1]) {
      const input = cluster.slot("workers", slot);
      await cluster.clone(input);
      await join(cluster.run(), input);
      await handover(cluster.run(), input);
    }
  });
  after(async () => {
    await client.close();
    await cluster.stop();
  });
  afterEach(async () => {
    await cluster.lab.call("DELETE /faults", undefined);
    if ((await status(1000)) === "stopped") return;
    const { items } = await client.list<Lease>(paths.leases);
    assert.deepEqual(
      // The one of an update is given back when the engine has ended, which is this process.
      items.map(({ metadata }) => metadata?.name).filter((name) => name !== "update"),
      [],
      "a lease was left",
    );
  });

  const status = (vmid: number) => cluster.status(vmid);
  const stateOf = async ({ id }: Generation) =>
    (await readPoolRecord(client, "workers")).generations.find((one) => one.id === id);
  /** A generation of the second image that nobody has judged yet. */
  const another = (id: string): Generation => ({ id, spec: { ...green.spec } });
  const slotOf = (slot: number, generation: Generation, vmid: number): SlotInput => ({
    ...cluster.slot("workers", slot, generation),
    vmid,
  });
  const remove = async (input: SlotInput) => {
    await retire(cluster.run(), input);
    await cluster.operator.destroyVm(input.vmid);
  };

  const imageFaults = [
    ["never-ready", "cccccc01", /to be Ready/],
    ["wrong-kubelet", "cccccc02", /the kubelet is .*, and the image claims v1\.34\.4/],
    ["no-agent", "cccccc03", /guest agent/],
  ] as const;
  for (const [index, [fault, id, says]] of imageFaults.entries()) {
    it(`an image that is ${fault} is judged, and what it left is off when its Join is deleted`, async () => {
      const generation = another(id);
      const input = slotOf(0, generation, 1130 + index);
      input.site = { ...input.site, timeouts: { ...input.site.timeouts, agent: 2, join: 3 } };
      await cluster.clone(input);
      await cluster.lab.call("POST /faults", { kind: "image", template: "ubuntu-24.04-rke2-v1.1.0", fault });
      await assert.rejects(join(cluster.run(), input), says);
      const judged = await stateOf(generation);
      assert.equal(judged?.state, "failed");
      assert.match(judged.why ?? "", says);
      assert.deepEqual(judged.spec, generation.spec);
      const own = (await readPoolRecord(client, "workers")).nodes.find(({ name }) => name === input.node);
      assert.equal(own?.phase, "failed");
      await cluster.lab.call("DELETE /faults", undefined);
      await remove(input);
      assert.equal(await findNode(client, input.node), undefined);
      assert.equal((await stateOf(blue))?.state, "rolling");
    });
  }

  it("a budget that never lets go is refused before the old node is touched", async () => {
    await startLoad(cluster.lab, { replicas: 4, maxUnavailable: 0 });
    const generation = another("dddddd01");
    const input = slotOf(0, generation, 1140);
    input.site = { ...input.site, timeouts: { ...input.site.timeouts, drain: 2 } };
    await cluster.clone(input);
    await join(cluster.run(), input);
    await assert.rejects(handover(cluster.run(), input), /PodDisruptionBudget load\/web never lets a pod go/);
    const old = await findNode(client, `demo-workers-0-${blue.id}`);
    assert.ok(old && !isCordoned(old) && !isLeaving(old));
    assert.equal(await status(1100), "running");
    assert.equal((await stateOf(generation))?.state, "rolling", "a budget says nothing about an image");
    await cluster.lab.call("POST /load", { replicas: 4, maxUnavailable: 1 });
    await remove(input);
    assert.deepEqual((await cluster.lab.status).violations, []);
  });

  it("nobody leaves while the new node does not serve", async () => {
    const generation = another("dddddd02");
    const input = slotOf(0, generation, 1141);
    await cluster.clone(input);
    await join(cluster.run(), input);
    await cluster.operator.power(input.vmid, "stop");
    await assert.rejects(handover(cluster.run(), input), /does not serve, so nobody leaves its slot/);
    const old = await findNode(client, `demo-workers-0-${blue.id}`);
    assert.ok(old && !isCordoned(old));
    await remove(input);
  });

  it("a stranger with our name, tags and VMID is neither started nor stopped", async () => {
    const input = cluster.slot("workers", 1);
    await assert.rejects(
      retire(cluster.run(), {
        ...input,
        slot: 0,
        node: "demo-workers-0-eeeeeeee",
        generation: "eeeeeeee",
        vmid: input.vmid,
      }),
      IdentityError,
    );
    const generation = another("eeeeee01");
    const fresh = slotOf(1, generation, 1142);
    await cluster.clone(fresh);
    await cluster.operator.power(fresh.vmid, "start");
    await assert.rejects(join(cluster.run(), fresh), /was started by somebody else/);
    await assert.rejects(
      join(cluster.run({ name: fresh.node, uuid: "6b0124f9-0000-4000-8000-000000000101" }), fresh),
      /SMBIOS uuid .*, recorded 6b0124f9/,
    );
    assert.equal(await status(fresh.vmid), "running");
    await cluster.operator.power(fresh.vmid, "stop");
    await cluster.operator.destroyVm(fresh.vmid);
  });

  it("a token that may not see is not told that a VM is gone", async () => {
    await cluster.lab.call("POST /faults", { kind: "revoke-privilege", privilege: "VM.Audit" });
    await assert.rejects(retire(cluster.run(), cluster.slot("workers", 0)), /may not see the VMs of the pool/);
    await assert.rejects(
      join(cluster.run(), cluster.slot("workers", 0)),
      /may not see the VMs of the pool|cannot be reached|no server/,
    );
  });

  it("a node given up incomplete is retired by the next rollout, the one that serves is not", async () => {
    const generation = another("ffffff01");
    const input = slotOf(0, generation, 1143);
    await cluster.clone(input);
    await join(cluster.run(), input);
    await rollout(cluster.run(), cluster.pool("workers", 2, blue));
    assert.equal(await status(input.vmid), "stopped");
    assert.equal(await status(1100), "running");
    assert.equal((await listNodes(client, { pool: "workers" })).length, 2);
    await remove(input);
  });

  it("two steps of one slot take turns", async () => {
    const generation = another("ffffff02");
    const input = slotOf(0, generation, 1144);
    await cluster.clone(input);
    const [one, two] = await Promise.all([join(cluster.run(), input), join(cluster.run(), input)]);
    assert.deepEqual(one, two);
    await remove(input);
  });

  it("SIGTERM in a drain gives the old node back, and the next run goes on", async () => {
    await denyEvictions(client);
    const generation = another("abababab");
    const input = slotOf(0, generation, 1145);
    await cluster.clone(input);
    await join(cluster.run(), input);
    const environment = { ...cluster.environment("workers", 0, generation), EVERGREEN_VMID: "1145" };
    const step = spawn(process.execPath, [pathJoin(root, "src/steps/main.ts"), "handover"], {
      env: { PATH: process.env.PATH, ...cluster.lab.env, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let said = "";
    let told = false;
    step.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      // Once: a second signal ends it at once.
      if (told || !said.includes("is asked again until it goes")) return;
      told = true;
      setTimeout(() => step.kill("SIGTERM"), 300);
    });
    const [code] = (await once(step, "exit")) as [number];
    assert.equal(code, 1, said);
    assert.match(said, /stopped at a safe point: SIGTERM/);
    const old = await findNode(client, `demo-workers-0-${blue.id}`);
    assert.ok(old && !isCordoned(old), said);
    assert.notEqual((await stateOf(generation))?.state, "failed", "a cancelled run judges nobody");
    await allowEvictions(client);
    await handover(cluster.run(), input);
    assert.equal(await status(1100), "stopped");
  });

  it("a cluster may be destroyed only when it was allowed; then nodes go without a drain, the last server too", async () => {
    const base = { cluster: "demo", site: cluster.site };
    const destroy = () => ({ ...cluster.run(), mayTearDown: true });
    await assert.rejects(unguard(destroy(), { ...base, allowDestroy: false }), /may not be destroyed/);
    await unguard(destroy(), { ...base, allowDestroy: true });
    await guard(cluster.run(), { ...base, allowDestroy: true });
    await unguard(destroy(), { ...base, allowDestroy: true });
    await retire(destroy(), cluster.slot("workers", 1));
    assert.equal(await status(1101), "stopped");
    await retire(destroy(), cluster.slot("servers", 0));
    assert.equal(await status(1000), "stopped");
  });
});
