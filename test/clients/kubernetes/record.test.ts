import assert from "node:assert/strict";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { migrateRecord, readPoolRecord, readSlotRecord, writeFacts } from "../../../src/clients/kubernetes/record.ts";
import { parsePoolRecord, parseSlotRecord } from "../../../src/clients/kubernetes/record-format.ts";
import { paths } from "../../../src/clients/kubernetes/types.ts";
import type { GenerationRecord, NodeRecord } from "../../../src/domain/model/types.ts";
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

  it("keeps facts that are written side by side, also when all make their first ConfigMap", async () => {
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

  it("keeps two nodes of one slot side by side, and reads one slot alone", async () => {
    const successor = { ...node(2), generation: "0b0b0b0b", name: "demo-workers-2-0b0b0b0b" };
    await Promise.all([node(2), successor, node(3)].map((one) => writeFacts(client, "workers", { nodes: [one] })));
    const { nodes } = await readSlotRecord(client, "workers", 2);
    assert.deepEqual(
      nodes.toSorted((a, b) => a.name.localeCompare(b.name)),
      [node(2), successor],
    );
  });

  it("writes a fact about a node into the object of its slot alone", async () => {
    await writeFacts(client, "workers", { generations: [generation], nodes: [node(0), node(1)] });
    cluster.calls.length = 0;
    await writeFacts(client, "workers", { nodes: [{ ...node(1), phase: "handedOver" }] });
    assert.deepEqual(
      cluster.calls.map(({ method, path }) => `${method} ${path.replace(paths.configMaps, "")}`),
      ["PATCH /slot-workers-1"],
    );
  });

  it("leaves nothing of a slot whose last node is forgotten", async () => {
    await writeFacts(client, "workers", { generations: [generation], nodes: [node(0)] });
    await writeFacts(client, "workers", { forget: [node(0)] });
    assert.deepEqual([...cluster.objects.keys()], [`${paths.configMaps}/pool-workers`]);
  });

  it("keeps the other nodes of a slot of which one is forgotten", async () => {
    const successor = { ...node(0), generation: "0b0b0b0b", name: "demo-workers-0-0b0b0b0b" };
    await writeFacts(client, "workers", { generations: [generation], nodes: [node(0), successor] });
    await writeFacts(client, "workers", { forget: [node(0)] });
    assert.deepEqual((await readPoolRecord(client, "workers")).nodes, [successor]);
  });

  it("keeps a node that came into a slot right before the last other one is forgotten", async () => {
    const successor = { ...node(0), generation: "0b0b0b0b", name: "demo-workers-0-0b0b0b0b" };
    await writeFacts(client, "workers", { generations: [generation], nodes: [node(0)] });
    cluster.hook = ({ method, path }) => {
      const slot = cluster.objects.get(path);
      if (method === "DELETE" && slot)
        cluster.put(paths.configMaps, { ...slot, data: { "node.0.0b0b0b0b": JSON.stringify(successor) } });
      return undefined;
    };
    await writeFacts(client, "workers", { forget: [node(0)] });
    assert.deepEqual((await readPoolRecord(client, "workers")).nodes, [successor]);
  });

  it("holds 1,000 slots of four generations, none of its objects larger than two kilobytes, read in pages", async () => {
    await writeFacts(client, "workers", { generations: [generation] });
    const generations = ["0a1b2c3d", "0b0b0b0b", "0c0c0c0c", "0d0d0d0d"];
    for (let slot = 0; slot < 1000; slot += 1) {
      const facts = generations.map((id) => ({ ...node(slot), generation: id, name: `demo-workers-${slot}-${id}` }));
      const data = Object.fromEntries(facts.map((one) => [`node.${slot}.${one.generation}`, JSON.stringify(one)]));
      const metadata = { name: `slot-workers-${slot}`, labels: { "evergreen.dev/pool": "workers" } };
      cluster.put(paths.configMaps, { metadata, data });
    }
    assert.equal((await readPoolRecord(client, "workers")).nodes.length, 4000);
    const pages = cluster.calls.filter(({ path, query }) => path === paths.configMaps && query.limit === "500");
    assert.deepEqual(
      pages.map(({ query }) => query.continue),
      [undefined, "500"],
    );
    const largest = Math.max(...[...cluster.objects.values()].map((object) => JSON.stringify(object).length));
    assert.ok(largest < 2000, `${largest} bytes`);
  });

  describe("of the first schema, all of it in one ConfigMap", () => {
    const data = {
      "generation.0a1b2c3d": JSON.stringify(generation),
      ...Object.fromEntries([0, 1].map((slot) => [`node.${slot}.0a1b2c3d`, JSON.stringify(node(slot))])),
    };
    beforeEach(() => {
      const metadata = { name: "pool-workers", labels: { "app.kubernetes.io/managed-by": "evergreen" } };
      cluster.put(paths.configMaps, { metadata, data });
    });

    it("is read, what was written since then before it", async () => {
      assert.deepEqual((await readPoolRecord(client, "workers")).nodes, [node(0), node(1)]);
      const now = { ...node(1), phase: "handedOver" as const };
      await writeFacts(client, "workers", { nodes: [now] });
      assert.deepEqual((await readPoolRecord(client, "workers")).nodes, [node(0), now]);
      assert.deepEqual((await readSlotRecord(client, "workers", 1)).nodes, [now]);
      assert.deepEqual((await readSlotRecord(client, "workers", 0)).nodes, [node(0)]);
    });

    it("forgets a node for good", async () => {
      await writeFacts(client, "workers", { nodes: [{ ...node(1), phase: "retired" }] });
      await writeFacts(client, "workers", { forget: [node(0), node(1)] });
      assert.deepEqual((await readPoolRecord(client, "workers")).nodes, []);
    });

    it("loses nothing when it cannot be moved to its slots", async () => {
      cluster.hook = ({ method, body }) =>
        method === "POST" && JSON.stringify(body).includes("slot-workers-1")
          ? { status: 403, reason: "Forbidden" }
          : undefined;
      await assert.rejects(migrateRecord(client, "workers"), /Forbidden/);
      const { nodes } = await readPoolRecord(client, "workers");
      assert.deepEqual(new Set(nodes), new Set([node(0), node(1)]));
    });

    it("is moved to its slots once, whatever was half done before, and is then refused by who knows that schema alone", async () => {
      const now = { ...node(1), phase: "handedOver" as const };
      await writeFacts(client, "workers", { nodes: [now] });
      await migrateRecord(client, "workers");
      const { nodes, generations } = await readPoolRecord(client, "workers");
      assert.deepEqual([nodes, generations], [[now, node(0)].toSorted((a, b) => b.slot - a.slot), [generation]]);
      const left = cluster.objects.get(`${paths.configMaps}/pool-workers`)?.data;
      // The program of that time refuses a key that it does not know, by name.
      assert.deepEqual(Object.keys(left as object).sort(), ["generation.0a1b2c3d", "schema"]);
      cluster.calls.length = 0;
      await migrateRecord(client, "workers");
      assert.deepEqual(
        cluster.calls.map(({ method }) => method),
        ["GET"],
      );
    });
  });

  it("stops an older program before its first slot is written", async () => {
    const order: string[] = [];
    cluster.hook = ({ method, body }) => {
      if (method === "POST") order.push((body as { metadata: { name: string } }).metadata.name);
      return undefined;
    };
    await writeFacts(client, "workers", { nodes: [node(0)] });
    assert.deepEqual(order, ["pool-workers", "slot-workers-0"]);
  });

  for (const schema of ["3", "0", "two", ""]) {
    it(`is refused by its schema "${schema}"`, () => {
      assert.throws(
        () => parsePoolRecord("workers", { schema }),
        /has the schema .*, and this Evergreen knows 2 and older/,
      );
    });
  }

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
    ["a node in a phase that nobody knows", "node.0.0a1b2c3d", JSON.stringify({ ...node(0), phase: "moved" })],
    [
      "a generation in a state that nobody knows",
      "generation.0a1b2c3d",
      JSON.stringify({ ...generation, state: "new" }),
    ],
  ] as const) {
    it(`is refused with its key: ${name}`, () => {
      assert.throws(
        () => parsePoolRecord("workers", { [key]: text }),
        new RegExp(`not understood.*pool-workers, ${key}`, "s"),
      );
    });
  }

  for (const [name, key, text, why] of [
    ["a node of another slot", "node.0.0a1b2c3d", JSON.stringify(node(0)), "it is about slot 0"],
    ["a generation", "generation.0a1b2c3d", JSON.stringify(generation), "the key is unknown"],
  ] as const) {
    it(`is refused with its key in the ConfigMap of a slot: ${name}`, () => {
      assert.throws(
        () => parseSlotRecord("workers", "slot-workers-1", { [key]: text }),
        new RegExp(`not understood: ${why}.*evergreen-system/slot-workers-1, ${key}`, "s"),
      );
    });
  }
});
