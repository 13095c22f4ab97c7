import assert from "node:assert/strict";
import { request } from "undici";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { addressOf } from "../../src/clients/kubernetes/nodes.ts";
import { paths, type Node } from "../../src/clients/kubernetes/types.ts";
import { readPoolRecord, writeFacts } from "../../src/clients/kubernetes/record.ts";
import type { NodeRecord, SlotPhase } from "../../src/domain/model/types.ts";
import { blue, green, StepCluster } from "./cluster.ts";

const slots = 500;
/** What a rollout may add to etcd. With one ConfigMap for a pool it was 500 MB. */
const most = 20_000_000;

/** The facts of a rollout as steps write them, in a real API server with a real etcd that has not compacted anything yet. */
describe("the record of a large pool", function () {
  this.timeout(300_000);
  let cluster: StepCluster;
  let client: Kubernetes;

  before(async () => {
    cluster = await StepCluster.start("127.53");
    client = await cluster.found();
  });
  after(async () => {
    await client.close();
    await cluster.stop();
  });

  const metric = async (name: string): Promise<number> => {
    const [server] = (await client.list<Node>(paths.nodes)).items;
    assert.ok(server);
    const answer = await request(`http://${addressOf(server) ?? ""}:2381/metrics`);
    const value = new RegExp(`^${name} (\\S+)$`, "m").exec(await answer.body.text())?.[1];
    assert.ok(value !== undefined, name);
    return Number(value);
  };

  const fact = (slot: number, { id }: { id: string }, phase: SlotPhase): NodeRecord => ({
    name: `demo-workers-${slot}-${id}`,
    slot,
    generation: id,
    vmid: 2000 + slot,
    uuid: `6b0124f9-0000-4000-8000-${String(slot).padStart(12, "0")}`,
    address: `10.20.${Math.floor(slot / 250)}.${(slot % 250) + 1}`,
    phase,
    since: "2026-11-28T20:00:00.000Z",
  });

  const all = async (write: (slot: number) => Promise<void>): Promise<void> => {
    const waiting = Array.from({ length: slots }, (_, slot) => slot);
    const one = async (): Promise<void> => {
      for (let slot = waiting.shift(); slot !== undefined; slot = waiting.shift()) await write(slot);
    };
    await Promise.all(Array.from({ length: 8 }, one));
  };

  it(`of ${slots} agents grows etcd by less than ${most / 1e6} MB in a rollout`, async () => {
    const since = "2026-11-28T19:00:00.000Z";
    await writeFacts(client, "workers", {
      generations: [blue, green].map((one) => ({ ...one, state: "rolling", since })),
    });
    await all((slot) => writeFacts(client, "workers", { nodes: [fact(slot, blue, "handedOver")] }));
    const before = await metric("etcd_mvcc_db_total_size_in_bytes");
    const revisions = await metric("etcd_debugging_mvcc_current_revision");
    for (const phase of ["made", "joined", "handedOver"] as const)
      await all((slot) => writeFacts(client, "workers", { nodes: [fact(slot, green, phase)] }));
    await all((slot) => writeFacts(client, "workers", { nodes: [fact(slot, blue, "retired")] }));
    const grown = (await metric("etcd_mvcc_db_total_size_in_bytes")) - before;
    const writes = (await metric("etcd_debugging_mvcc_current_revision")) - revisions;
    console.log(`      ${writes} revisions, ${(grown / 1e6).toFixed(1)} MB`);
    assert.ok(writes >= 4 * slots, "nothing was compacted or left out");
    assert.ok(grown < most, `${grown} bytes`);
    assert.equal((await readPoolRecord(client, "workers")).nodes.length, 2 * slots);
  });
});
