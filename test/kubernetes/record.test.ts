import assert from "node:assert/strict";
import type { Kubernetes } from "../../kubernetes/client.ts";
import { parsePoolRecord, readGoingAway, readPoolRecord, writeFacts, writeGoingAway } from "../../kubernetes/record.ts";
import { paths } from "../../kubernetes/types.ts";
import type { GenerationRecord, NodeRecord } from "../../rollout/types.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";

const spec = { image: "ubuntu-24.04-rke2-v1.0.0", rke2: "v1.34.4+rke2r1", cores: 2, memoryMiB: 4096, diskGiB: 20 };
const generation: GenerationRecord = { id: "0a1b2c3d", spec, state: "rolling", since: "2026-11-21T08:00:00Z" };
const node = (slot: number): NodeRecord => ({
  name: `demo-workers-${slot}-0a1b2c3d`,
  slot,
  generation: "0a1b2c3d",
  vmid: 1100 + slot,
  uuid: "6b0124f9-0000-4000-8000-000000000101",
  phase: "joined",
  since: "2026-11-21T08:00:00Z",
});

describe("the record", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  it("remembers nothing before there is something", async () => {
    assert.deepEqual(await readPoolRecord(client, "workers"), { pool: "workers", generations: [], nodes: [] });
  });

  it("keeps facts that are written side by side, also when both make the ConfigMap", async () => {
    await Promise.all([0, 1, 2, 3].map((slot) => writeFacts(client, "workers", { nodes: [node(slot)] })));
    await writeFacts(client, "workers", { generations: [generation], forget: [node(1)], healing: generation.since });
    const record = await readPoolRecord(client, "workers");
    assert.deepEqual(record.generations, [generation]);
    assert.equal(record.healing, generation.since);
    assert.deepEqual(record.nodes.map(({ slot }) => slot).sort(), [0, 2, 3]);
    assert.deepEqual(
      record.nodes.find(({ slot }) => slot === 2),
      node(2),
    );
  });

  it("is never taken for empty when it cannot be read", async () => {
    cluster.hook = () => ({ status: 403, reason: "Forbidden" });
    await assert.rejects(readPoolRecord(client, "workers"), /Forbidden/);
  });

  for (const [name, key, text] of [
    ["no JSON", "node.0.0a1b2c3d", "{"],
    ["no object", "node.0.0a1b2c3d", "7"],
    ["a node without uuid", "node.0.0a1b2c3d", JSON.stringify({ ...node(0), uuid: undefined })],
    ["a node under the key of another", "node.1.0a1b2c3d", JSON.stringify(node(0))],
    ["a generation without state", "generation.0a1b2c3d", JSON.stringify({ ...generation, state: undefined })],
    ["a healing at no time", "healing", "{}"],
    ["an unknown key", "nodes", "{}"],
  ] as const) {
    it(`is refused with its key: ${name}`, () => {
      assert.throws(
        () => parsePoolRecord("workers", { [key]: text }),
        new RegExp(`not understood.*pool-workers, ${key}`, "s"),
      );
    });
  }

  it("marks a cluster as going away and takes the mark back", async () => {
    assert.equal(await readGoingAway(client), false);
    await writeGoingAway(client, "2026-11-21T08:00:00Z");
    assert.equal(await readGoingAway(client), true);
    await writeGoingAway(client, undefined);
    assert.equal(await readGoingAway(client), false);
    assert.ok(cluster.objects.has(`${paths.configMaps}/cluster`));
  });
});
