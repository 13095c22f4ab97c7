import assert from "node:assert/strict";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { writeWantedSlots } from "../../src/clients/kubernetes/cluster-record.ts";
import { findNode, isCordoned } from "../../src/clients/kubernetes/nodes.ts";
import { readPoolRecord, writeFacts } from "../../src/clients/kubernetes/record.ts";
import { listVms } from "../../src/clients/proxmox/vms.ts";
import type { KeptVolume } from "../../src/domain/model/types.ts";
import { handover } from "../../src/steps/verbs/handover.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import { join } from "../../src/steps/verbs/join.ts";
import { retain } from "../../src/steps/verbs/retain.ts";
import { requireNothingKept } from "../../src/steps/node/data.ts";
import { release } from "../../src/steps/verbs/release.ts";
import { retire } from "../../src/steps/verbs/retire.ts";
import { podAt, startOnLocalVolume } from "../e2e/local-volume.ts";
import { green, StepCluster } from "./cluster.ts";

/** Two agents with a local volume each, bound after the program had looked. */
describe("steps that meet a volume on a node alone", function () {
  this.timeout(300_000);
  let cluster: StepCluster;
  let client: Kubernetes;
  let old: SlotInput;

  before(async () => {
    cluster = await StepCluster.start("127.58");
    client = await cluster.found();
    old = cluster.slot("workers", 0);
    for (const input of [old, other()]) await enter(input);
    await startOnLocalVolume(cluster, "db", old.node);
    await startOnLocalVolume(cluster, "cache", other().node);
    await enter(successor(), false);
  });
  after(async () => {
    await client.close();
    await cluster.stop();
  });

  const other = () => cluster.slot("workers", 1);
  const successor = () => cluster.slot("workers", 0, green);

  async function enter(input: SlotInput, owns = true): Promise<void> {
    await cluster.clone(input);
    await join(cluster.run(), input);
    if (owns) await handover(cluster.run(), input);
  }

  const recordOf = async (name: string) =>
    (await readPoolRecord(client, "workers")).nodes.find((one) => one.name === name);

  /** What the program writes before a run that keeps, and takes back in a later one. */
  async function remember(name: string, keeps: KeptVolume[] | undefined): Promise<void> {
    const record = await recordOf(name);
    assert.ok(record);
    delete record.keeps;
    await writeFacts(client, "workers", { nodes: [keeps ? { ...record, keeps } : record] });
  }

  it("a handover refuses before it disturbs the node, and judges nothing", async () => {
    await assert.rejects(
      handover(cluster.run(), successor()),
      /demo-workers-0-aaaaaaaa leaves, and a volume with data is on it alone: shop\/db-data \(10Gi\), used by shop\/db-/,
    );
    const node = await findNode(client, old.node);
    assert.ok(node && !isCordoned(node));
    assert.equal((await podAt(cluster, "db", "Running")).node, old.node);
    const { generations } = await readPoolRecord(client, "workers");
    assert.ok(!generations.some(({ state }) => state === "failed"));
  });

  it("the delete of a join refuses likewise: scale-in", async () => {
    await writeWantedSlots(client, "workers", [0]);
    await assert.rejects(retire(cluster.run(), other()), /a volume with data is on it alone: shop\/cache-data/);
    assert.equal((await podAt(cluster, "cache", "Running")).node, other().node);
  });

  it("a handover retires it when the program remembers that its VM is kept, and does not wait for its pod", async () => {
    await remember(old.node, [{ claim: "shop/db-data", size: "10Gi" }]);
    await handover(cluster.run(), successor());
    assert.equal(await cluster.status(old.vmid), "stopped");
    assert.deepEqual([(await recordOf(old.node))?.phase, (await recordOf(old.node))?.keeps?.length], ["retired", 1]);
    assert.match((await podAt(cluster, "db", "Pending")).why, /affinity/);
  });

  it("the last look before the engine destroys it refuses until a program has taken that back", async () => {
    const claimed = await retain(cluster.run(), old);
    assert.equal(claimed.uuid, (await recordOf(old.node))?.uuid);
    await assert.rejects(
      release(cluster.run(claimed), old),
      /VM 1100 of demo-workers-0-aaaaaaaa is not destroyed: it holds shop\/db-data \(10Gi\)/,
    );
    assert.ok((await listVms(cluster.pve)).some(({ vmid }) => vmid === old.vmid));
    await remember(old.node, undefined);
    const patience = { ...old.site, timeouts: { ...old.site.timeouts, agent: 1 } };
    const unheard = requireNothingKept(cluster.run(claimed), { ...old, site: patience }, [], {});
    await assert.rejects(
      unheard,
      /nobody can say whether VM 1100 of demo-workers-0-aaaaaaaa holds data: no server runs/,
    );
    assert.deepEqual(await release(cluster.run(claimed), old), { released: old.node });
  });
});
