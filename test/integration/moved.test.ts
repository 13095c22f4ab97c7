import assert from "node:assert/strict";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { findNode } from "../../src/clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../src/clients/kubernetes/record.ts";
import { readVm } from "../../src/clients/proxmox/vms.ts";
import type { Generation } from "../../src/domain/model/types.ts";
import { handover } from "../../src/steps/verbs/handover.ts";
import { join } from "../../src/steps/verbs/join.ts";
import { rollout } from "../../src/steps/verbs/rollout.ts";
import { blue, green, StepCluster, third } from "./cluster.ts";

/** What other administrators, backups and HA do to the VM of a node that is about to leave. */
describe("a node leaves whose VM others are at", function () {
  this.timeout(300_000);
  let cluster: StepCluster;
  let client: Kubernetes;

  before(async () => {
    cluster = await StepCluster.start("127.98", { hosts: ["pve1", "pve2"] });
    client = await cluster.found();
    await join1(blue);
  });
  after(async () => {
    await client.close();
    await cluster.stop();
  });
  afterEach(async () => {
    await cluster.lab.call("DELETE /faults", undefined);
  });

  const slot = (generation: Generation) => cluster.slot("workers", 0, generation);
  const fault = (order: Parameters<typeof cluster.lab.call<"POST /faults">>[1]) =>
    cluster.lab.call("POST /faults", order);
  const cordoned = async (name: string) => (await findNode(client, name))?.spec?.unschedulable ?? false;
  const isJudged = async () =>
    (await readPoolRecord(client, "workers")).generations.some(({ state }) => state === "failed");

  /** A node of the generation in slot 0, which has it alone when it was handed over. */
  async function join1(generation: Generation): Promise<void> {
    await rollout(cluster.run(), cluster.pool("workers", 1, generation));
    await cluster.clone(slot(generation));
    await join(cluster.run(), slot(generation));
    if (generation === blue) await handover(cluster.run(), slot(generation));
  }

  const holding = [
    ["a backup has locked", { kind: "lock-vm", vm: 1100, lock: "backup" }, /Proxmox has locked its VM \(backup\)/],
    ["no quorum of Proxmox can change", { kind: "no-quorum" }, /no quorum/],
  ] as const;
  for (const [index, [what, order, says]] of holding.entries())
    it(`holds the run and disturbs nothing while it is one that ${what}`, async () => {
      if (index === 0) await join1(green);
      await fault(order);
      const input = { ...slot(green), site: { ...cluster.site, timeouts: { ...cluster.site.timeouts, gate: 2 } } };
      await assert.rejects(handover(cluster.run(), input), says);
      assert.equal(await cordoned(slot(blue).node), false);
      assert.equal(await cluster.status(1100), "running");
      assert.equal(await isJudged(), false);
    });

  it("stays as it is, and is named, while its VM is protected against being destroyed", async () => {
    await cluster.pve.put("/nodes/pve1/qemu/1100/config", { protection: true });
    await assert.rejects(handover(cluster.run(), slot(green)), /protected in Proxmox.*nobody can destroy it/);
    assert.equal(await cordoned(slot(blue).node), false);
    assert.equal(await cluster.status(1100), "running");
    assert.equal(await isJudged(), false);
    await cluster.pve.put("/nodes/pve1/qemu/1100/config", { protection: false });
  });

  it("is turned off where it is, under HA, when it was migrated since it was made", async () => {
    await fault({ kind: "ha-vm", vm: 1100, managed: true });
    await fault({ kind: "migrate-vm", vm: 1100, host: "pve2" });
    await handover(cluster.run(), slot(green));
    assert.equal(await findNode(client, slot(blue).node), undefined);
    const { host, onBoot } = await readVm(cluster.pve, { host: "pve2", vmid: 1100 });
    assert.deepEqual([host, onBoot], ["pve2", false]);
    const { vms } = await cluster.lab.status;
    assert.equal(vms.find(({ vmid }) => vmid === 1100)?.running, false);
  });

  it("is drained and turned off while another VM of the site is in a backup", async () => {
    await join1(third);
    await fault({ kind: "stranger", vmid: 300, pool: "evergreen-nodes" });
    await fault({ kind: "vm-state", vm: 300, state: "prelaunch" });
    await handover(cluster.run(), slot(third));
    assert.equal(await findNode(client, slot(green).node), undefined);
  });
});
