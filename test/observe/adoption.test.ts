import assert from "node:assert/strict";
import { asTagged, releasedWords, adoptNodes, withAdopted } from "../../src/observe/adoption.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { labels } from "../../src/domain/model/formats.ts";
import { readPoolRecord } from "../../src/clients/kubernetes/record.ts";
import { paths, type Node } from "../../src/clients/kubernetes/types.ts";
import { nodeTags } from "../../src/clients/proxmox/tags.ts";
import type { ListedVm } from "../../src/clients/proxmox/vms.ts";
import { adoptedGeneration } from "../../src/domain/model/generation.ts";
import type { ObservedVm, PoolRecord } from "../../src/domain/model/types.ts";
import { freshCluster, type FakeCluster } from "../clients/kubernetes/fake.ts";
import { fakeProxmox, type Answer } from "../clients/proxmox/fake.ts";
import { OLD, smallConfig } from "../support/picture.ts";

const uuid = "6b0124f9-0000-4000-8000-000000000302";
const stranger = "6b0124f9-0000-4000-8000-000000000999";
const generation = adoptedGeneration("kube-a");
/** By the cluster's clock. */
const now = "2026-03-01T12:00:00.000Z";
const entry = { slot: 1, vmid: 302, uuid, node: "kube-a" };
const workers = { name: "workers", image: OLD, slots: 2, vmIds: { first: 1100, last: 1109 } };
const config = smallConfig({ pools: [{ ...workers, adopt: [entry] }] });
const ourTags = ["evergreen", "eg-cluster-demo", `eg-gen-${generation}`, "eg-pool-workers", "eg-slot-1"].sort();
const ourLabels = {
  [labels.cluster]: "demo",
  [labels.pool]: "workers",
  [labels.slot]: "1",
  [labels.generation]: generation,
};

const listed = (changes: Partial<ListedVm> = {}): ListedVm => ({
  vmid: 302,
  host: "pve1",
  name: "kube-a",
  status: "running",
  template: false,
  tags: ["billing"],
  pool: "nodes",
  ...changes,
});
const live = (of = uuid): ObservedVm => ({
  vmid: 302,
  name: "kube-a",
  host: "pve1",
  running: true,
  uuid: of,
  pool: "workers",
  slot: 1,
  generation,
});
const nodeObject = (changes: { name?: string; uuid?: string; labels?: Record<string, string> } = {}): Node => ({
  metadata: { name: changes.name ?? "kube-a", uid: "uid-1", labels: { zone: "a", ...changes.labels } },
  status: { nodeInfo: { systemUUID: changes.uuid ?? uuid } as NonNullable<Node["status"]>["nodeInfo"] & object },
});
const record = (phase: "handedOver" | "retired"): PoolRecord => ({
  pool: "workers",
  generations: [],
  nodes: [{ name: "kube-a", slot: 1, generation, vmid: 302, uuid, phase, since: "2026-01-01T00:00:00Z" }],
});
const seen = (changes: Partial<Parameters<typeof withAdopted>[1]> = {}) => ({
  list: [listed()],
  vms: [live()],
  nodes: [nodeObject()],
  records: new Map<string, PoolRecord>(),
  now: new Date(now),
  ...changes,
});

describe("adoption in the picture", () => {
  it("shows a VM with our tags when VMID and name are those of the entry, and no other", () => {
    assert.deepEqual(nodeTags(asTagged([listed()], config)[0]?.tags ?? []), {
      cluster: "demo",
      pool: "workers",
      slot: 1,
      generation,
    });
    for (const other of [
      listed({ vmid: 303 }),
      listed({ name: "kube-z" }),
      listed({ template: true }),
      listed({ tags: ourTags }),
    ])
      assert.deepEqual(asTagged([other], config), [other]);
  });

  it("shows the Node with our labels and the slot as handed over, before anything was written", () => {
    const { adoption, nodes, records, vms } = withAdopted(config, seen());
    assert.deepEqual([adoption.problems, adoption.released, vms.length], [[], [], 1]);
    assert.deepEqual(nodes[0]?.metadata?.labels, { zone: "a", ...ourLabels });
    assert.deepEqual(
      records.get("workers")?.nodes.map(({ name, uuid: of, phase, vmid }) => [name, of, phase, vmid]),
      [["kube-a", uuid, "handedOver", 302]],
    );
    assert.equal(adoption.pending.length, 1);
  });

  it("has nothing left to do once all of it was written", () => {
    const taken = seen({
      list: [listed({ tags: ourTags })],
      nodes: [nodeObject({ labels: ourLabels })],
      records: new Map([["workers", record("handedOver")]]),
    });
    assert.deepEqual(withAdopted(config, taken).adoption, { problems: [], pending: [], released: [] });
  });

  it("stays while the list has no name of its VM, as of one on a host that reports no statistics", () => {
    const nameless = seen({
      list: [listed({ tags: ourTags, name: undefined, status: "unknown" })],
      nodes: [nodeObject({ labels: ourLabels })],
      records: new Map([["workers", record("handedOver")]]),
    });
    assert.deepEqual(withAdopted(config, nameless).adoption, { problems: [], pending: [], released: [] });
  });

  it("takes over nothing while one entry is wrong", () => {
    const { adoption } = withAdopted(config, seen({ vms: [live(stranger)] }));
    assert.equal(adoption.pending.length, 0);
    assert.match(adoption.problems[0]?.what ?? "", /VM 302 cannot be adopted as kube-a: its SMBIOS uuid is/);
  });

  it("lets go of a VM whose node was retired, and says whose it is", () => {
    const left = seen({ nodes: [], records: new Map([["workers", record("retired")]]) });
    const { adoption, vms } = withAdopted(config, left);
    assert.deepEqual([adoption.problems, adoption.pending, vms], [[], [], []]);
    assert.match(
      releasedWords(adoption, "workers").join(),
      /kube-a has left the cluster: VM 302 is on again and yours to delete/,
    );
    assert.deepEqual(releasedWords(adoption, "servers"), []);
  });

  it("keeps a VM whose node was retired while the cluster still has it: that is not over", () => {
    const own = { "evergreen.dev/cluster": "demo" };
    const nodes = [nodeObject({ labels: own })];
    const { adoption, vms } = withAdopted(config, seen({ nodes, records: new Map([["workers", record("retired")]]) }));
    assert.deepEqual([adoption.released, vms.length], [[], 1]);
  });

  it("lets go of a stranger who got the VMID and the name of a VM that is long gone", () => {
    const successor = { ...record("handedOver").nodes[0], name: "demo-workers-1-0a1b2c3d", uuid: "uuid-new" };
    const memory = { pool: "workers", generations: [], nodes: [successor as PoolRecord["nodes"][number]] };
    const { adoption, vms } = withAdopted(
      config,
      seen({ vms: [live(stranger)], nodes: [], records: new Map([["workers", memory]]) }),
    );
    assert.deepEqual([adoption.problems, adoption.pending, vms], [[], [], []]);
  });

  it("refuses a control plane of which one server would be left beside", () => {
    const role = { "node-role.kubernetes.io/control-plane": "true" };
    const controlPlane = { image: OLD, servers: 1, vmIds: { first: 1000, last: 1009 }, adopt: [{ ...entry, slot: 0 }] };
    const nodes = [nodeObject({ labels: role }), nodeObject({ name: "kube-b", uuid: stranger, labels: role })];
    const { adoption } = withAdopted(
      smallConfig({ controlPlane }),
      seen({ nodes, vms: [{ ...live(), pool: "servers", slot: 0 }] }),
    );
    assert.deepEqual(
      adoption.problems.map(({ what }) => what),
      ["servers of the cluster are in no slot: kube-b"],
    );
  });
});

describe("taking over", () => {
  let cluster: FakeCluster;
  let kubernetes: Kubernetes;
  freshCluster((fresh, client) => ([cluster, kubernetes] = [fresh, client]));

  /** Takes over with a VM that is so. @returns what was written to it */
  async function run(picture: ReturnType<typeof seen>, is: { uuid?: string; name?: string; tags?: string } = {}) {
    const answer = (): Answer => ({
      data: { name: is.name ?? "kube-a", smbios1: `uuid=${is.uuid ?? uuid}`, tags: is.tags ?? "billing", digest: "d1" },
    });
    await using pve = await fakeProxmox(answer);
    const { adoption } = withAdopted(config, picture);
    const outcome = await adoptNodes(pve.client, kubernetes, "demo", adoption).catch(
      (error: unknown) => error as Error,
    );
    return { outcome, writes: pve.seen.filter(({ method }) => method !== "GET").map(({ parameters }) => parameters) };
  }
  const put = (node: Node) =>
    cluster.put(paths.nodes, JSON.parse(JSON.stringify(node)) as Parameters<FakeCluster["put"]>[1]);
  const stored = () => cluster.objects.get(`${paths.nodes}/kube-a`)?.metadata.labels;

  it("writes memory, labels and tags, each once, and keeps what others wrote", async () => {
    put(nodeObject());
    const { outcome, writes } = await run(seen());
    assert.deepEqual(outcome, ["kube-a (VM 302) is taken over as workers slot 1"]);
    assert.deepEqual(stored(), { zone: "a", ...ourLabels });
    assert.deepEqual(writes, [{ tags: ["billing", ...ourTags].join(";"), digest: "d1" }]);
    const memory = await readPoolRecord(kubernetes, "workers");
    assert.deepEqual(
      memory.nodes.map(({ name, uuid: of, phase, since }) => [name, of, phase, since]),
      [["kube-a", uuid, "handedOver", now]],
    );
  });

  it("goes on where a run was killed, and does not remember anew", async () => {
    put(nodeObject({ labels: ourLabels }));
    const half = seen({
      nodes: [nodeObject({ labels: ourLabels })],
      records: new Map([["workers", record("handedOver")]]),
    });
    const { writes } = await run(half);
    assert.equal(writes.length, 1);
    assert.equal(cluster.count("PATCH", /./), 0);
  });

  const strangers: [string, Parameters<typeof run>[1], Partial<Parameters<typeof nodeObject>[0] & object>][] = [
    ["the VM has become another one", { uuid: stranger }, {}],
    ["the VM was renamed", { name: "kube-z" }, {}],
    ["the Node runs in another machine by now", {}, { uuid: stranger }],
    ["the VM got tags of another cluster", { tags: "evergreen;eg-cluster-other" }, {}],
  ];
  for (const [title, is, node] of strangers) {
    it(`writes nothing to a VM when ${title}`, async () => {
      put(nodeObject(node));
      const { outcome, writes } = await run(seen(), is);
      assert.ok(outcome instanceof Error);
      assert.deepEqual([writes, cluster.count("PATCH", /./), cluster.count("POST", /./)], [[], 0, 0]);
    });
  }

  it("takes our tags off a VM that has left, and no others", async () => {
    const left = seen({
      list: [listed({ tags: [...ourTags, "billing"] })],
      nodes: [],
      records: new Map([["workers", record("retired")]]),
    });
    const { outcome, writes } = await run(left, { tags: [...ourTags, "billing"].join(";") });
    assert.deepEqual(outcome, ["kube-a has left: our tags are off VM 302"]);
    assert.deepEqual(writes, [{ tags: "billing", digest: "d1" }]);
    const bare = await run(left, { tags: ourTags.join(";") });
    assert.deepEqual(bare.writes, [{ delete: "tags", digest: "d1" }]);
    assert.deepEqual((await run(left, { uuid: stranger })).writes, []);
  });
});
