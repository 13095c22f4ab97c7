import assert from "node:assert/strict";
import { clock, useClock } from "../../src/runtime/clock.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { cordonedBy, evictionRequestedBy, labels } from "../../src/domain/model/formats.ts";
import { readPoolRecord, writeFacts } from "../../src/clients/kubernetes/record.ts";
import { paths } from "../../src/clients/kubernetes/types.ts";
import { findStaleResources } from "../../src/recovery/stale-resources.ts";
import type { ObservedCluster } from "../../src/observe/observed-cluster.ts";
import { generationOf } from "../../src/domain/model/generation.ts";
import type { NodeRecord, SlotPhase } from "../../src/domain/model/types.ts";
import { Proxmox } from "../../src/clients/proxmox/client.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";
import { freshCluster, type FakeCluster } from "../clients/kubernetes/fake.ts";
import { OLD, picture, running, smallConfig } from "../support/picture.ts";

const config = smallConfig();
const spec = { image: OLD, rke2: "v1.34.4+rke2r1", cores: 4, memoryMiB: 8192, diskGiB: 40 };
const { vm, node } = running("workers", 0, spec, 1100);
const ago = (seconds: number) => new Date(Date.now() - seconds * 1000).toISOString();
const week = 7 * 24 * 3600;
/** Whoever asks it fails: what concerns no server is mended in the cluster alone. */
const noProxmox = new Proxmox({ endpoint: "https://127.0.0.1:1", token: "eg@pve!test=0-0", retryMs: 1 });

describe("what a killed run left", () => {
  let cluster: FakeCluster;
  let kubernetes: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, kubernetes] = [fresh, itsClient]));

  /** Of a step that died, or whose life is still to be seen. */
  const lease = (name: string, leaseDurationSeconds = 0.2) =>
    cluster.put(paths.leases, {
      metadata: { name },
      spec: { holderIdentity: "run-1", leaseDurationSeconds, renewTime: ago(0) },
    });
  const renewals: NodeJS.Timeout[] = [];
  /** Of a step that lives. */
  const renewedLease = (name: string) => {
    lease(name, 1);
    renewals.push(setInterval(() => lease(name, 1), 100));
  };
  afterEach(() => {
    for (const renewal of renewals.splice(0)) clearInterval(renewal);
  });

  const nodeObject = (by?: string) =>
    cluster.put(paths.nodes, {
      metadata: {
        name: node.name,
        labels: { [labels.cluster]: "demo" },
        ...(by === undefined ? {} : { annotations: { [cordonedBy]: by } }),
      },
      spec: { unschedulable: true },
    });

  const token = (name: string, expiredAgo: number, managed = true) =>
    cluster.put(paths.systemSecrets, {
      metadata: { name, ...(managed ? { labels: { "app.kubernetes.io/managed-by": "evergreen" } } : {}) },
      type: "bootstrap.kubernetes.io/token",
      data: { expiration: Buffer.from(ago(expiredAgo)).toString("base64") },
    });

  const remember = async (phase: SlotPhase, sinceAgo = 60): Promise<NodeRecord> => {
    const { name, slot, generation, vmid, uuid } = vm;
    const record: NodeRecord = { name, slot, generation, vmid, uuid, phase, since: ago(sinceAgo) };
    const generations = [{ ...generationOf(spec), state: "proved" as const, since: ago(sinceAgo) }];
    await writeFacts(kubernetes, "workers", { nodes: [record], generations });
    return record;
  };

  const find = async (changes: Partial<ObservedCluster> = {}, pve = noProxmox) => {
    const records = new Map([["workers", await readPoolRecord(kubernetes, "workers")]]);
    return await findStaleResources(
      pve,
      config,
      picture({ kubernetes, records, vms: [vm], nodes: [node], ...changes }),
    );
  };

  /** A Proxmox of which only the question is asked whether anybody has a number. */
  const numbers = (isTaken: () => boolean) =>
    fakeProxmox(({ path }) => {
      if (path === "/cluster/resources") return { data: [] };
      if (path !== "/cluster/nextid") return { status: 501, reason: `unexpected: ${path}` };
      if (!isTaken()) return { data: "1100" };
      return { status: 400, reason: "Parameter verification failed.", errors: { vmid: "VM 1100 already exists" } };
    });

  const howOf = (mended: string | { left: string }): string => (typeof mended === "string" ? mended : mended.left);
  /** Mends everything and says what was found and done. */
  const mended = async (changes: Partial<ObservedCluster> = {}, pve = noProxmox): Promise<string[]> => {
    const found = await find(changes, pve);
    return await Promise.all(found.map(async ({ what, mend }) => `${what} -> ${howOf(await mend())}`));
  };

  it("is nothing where there is no cluster", async () => {
    assert.deepEqual(await findStaleResources(noProxmox, config, picture()), []);
  });

  it("is a lease that is past its time, and not one that somebody renews", async () => {
    lease("slot-workers-0");
    renewedLease("ticket-workers-0");
    assert.deepEqual(await mended(), [
      "the lease slot-workers-0 of a step that ended without giving it back (run-1) -> released the lease slot-workers-0",
    ]);
    assert.deepEqual([...cluster.objects.keys()], [`${paths.leases}/ticket-workers-0`]);
  });

  it("asks for no lease twice where none is held, and not for the run's own", async () => {
    lease("update", 15);
    assert.deepEqual(await mended(), []);
    assert.equal(cluster.count("GET", /leases$/), 1);
  });

  it("is not a lease that was taken again after the look at it", async () => {
    lease("slot-workers-0");
    const [found] = await find();
    lease("slot-workers-0");
    await assert.rejects(async () => found?.mend());
    assert.ok(cluster.objects.has(`${paths.leases}/slot-workers-0`));
  });

  const cordons: [string, { by?: string; live?: boolean; phase?: SlotPhase }, boolean][] = [
    ["ours, of a node that stays", { by: "run-1" }, true],
    ["ours, while a step of the slot lives", { by: "run-1", live: true }, false],
    ["ours, of a node that was retired", { by: "run-1", phase: "retired" }, false],
    ["somebody else's", {}, false],
  ];
  for (const [title, { by, live, phase = "handedOver" }, undone] of cordons) {
    it(`${undone ? "is" : "is not"} a cordon: ${title}`, async () => {
      await remember(phase);
      nodeObject(by);
      if (live) renewedLease("slot-workers-0");
      assert.deepEqual(
        await mended(),
        undone ? [`${node.name} is cordoned by a run that ended (run-1) -> uncordoned ${node.name}`] : [],
      );
      const after = cluster.objects.get(`${paths.nodes}/${node.name}`)?.spec as { unschedulable?: boolean };
      assert.equal(after.unschedulable === true, !undone);
    });
  }

  it("is no cordon and no eviction of a node that the run before has retired since the picture, or not to its end", async () => {
    await remember("handedOver");
    nodeObject("run-1");
    const metadata = { name: node.name, namespace: "longhorn-system", annotations: { [evictionRequestedBy]: "run-1" } };
    const spec = { allowScheduling: false, evictionRequested: true };
    cluster.put(`${paths.longhorn}/namespaces/longhorn-system/nodes`, { metadata, spec });
    const before = new Map([["workers", await readPoolRecord(kubernetes, "workers")]]);
    await remember("retired");
    assert.deepEqual(await mended({ records: before }), []);
  });

  it("is a cordon of a server, which gets its requests back with it", async () => {
    await remember("handedOver");
    nodeObject("run-1");
    await using pve = await fakeProxmox(() => ({ data: null }));
    const records = new Map([["workers", await readPoolRecord(kubernetes, "workers")]]);
    const observed = picture({ kubernetes, records, vms: [vm], nodes: [{ ...node, role: "server" }] });
    for (const { mend } of await findStaleResources(pve.client, config, observed)) await mend();
    assert.deepEqual(
      pve.seen.map(({ path, parameters: { file, content } }) => [path, file, content]),
      [["/nodes/pve1/qemu/1100/agent/file-write", "/etc/evergreen/yield", ""]],
    );
  });

  afterEach(() => useClock());

  it("stays a cordon of a server whose guest cannot be told so now: the next run has to know of it", async () => {
    await remember("handedOver");
    const isCordoned = () =>
      (cluster.objects.get(`${paths.nodes}/${node.name}`)?.spec as { unschedulable?: boolean }).unschedulable;
    for (const running of [true, false]) {
      nodeObject("run-1");
      await using pve = await fakeProxmox(() => ({ status: 500, reason: "QEMU guest agent is not running" }));
      const records = new Map([["workers", await readPoolRecord(kubernetes, "workers")]]);
      const nodes = [{ ...node, role: "server" as const }];
      const observed = picture({ kubernetes, records, vms: [{ ...vm, running }], nodes });
      const found = await findStaleResources(pve.client, config, observed);
      // Of one that is off its join takes that back: nobody asks its guest.
      assert.equal(found.length, running ? 1 : 0);
      // Nobody waits here for the ten seconds that it gets.
      const real = clock;
      useClock({ ...real, elapsed: () => real.elapsed() * 40 });
      for (const { mend } of found)
        assert.match(howOf(await mend()), /^left as it is, .* QEMU guest agent is not running/);
      useClock();
      assert.equal(isCordoned(), true);
    }
  });

  const evictions: [string, { ours?: boolean; live?: boolean; phase?: SlotPhase; there?: boolean }, string[]][] = [
    [
      "ours, on a node that stays",
      { ours: true },
      [
        `${node.name} gives up its Longhorn replicas for a run that ended (run-1) -> Longhorn keeps its replicas on ${node.name}`,
      ],
    ],
    ["ours, while a step of the slot lives", { ours: true, live: true }, []],
    ["ours, on a node that was retired and whose Node goes", { ours: true, phase: "retired" }, []],
    [
      "ours, on a node whose Node is gone",
      { ours: true, phase: "retired", there: false },
      [`Longhorn lists ${node.name}, which was retired -> Longhorn has forgotten ${node.name}`],
    ],
    ["somebody else's", {}, []],
  ];
  for (const [title, { ours, live, phase = "handedOver", there = true }, said] of evictions) {
    it(`${said.length > 0 ? "is" : "is not"} an eviction from Longhorn: ${title}`, async () => {
      await remember(phase);
      const collection = `${paths.longhorn}/namespaces/longhorn-system/nodes`;
      const ourMarks = { [evictionRequestedBy]: "run-1", "evergreen.dev/scheduling-stopped-by": "run-1" };
      cluster.put(collection, {
        metadata: { name: node.name, namespace: "longhorn-system", annotations: ours ? ourMarks : {} },
        spec: { allowScheduling: false, evictionRequested: true },
        status: { conditions: [{ type: "Ready", status: "False", reason: there ? "" : "KubernetesNodeGone" }] },
      });
      if (live) renewedLease("slot-workers-0");
      assert.deepEqual(await mended(there ? {} : { nodes: [] }), said);
      const stored = cluster.objects.get(`${collection}/${node.name}`);
      const stays = { allowScheduling: false, evictionRequested: true };
      const expected = !there
        ? undefined
        : said.length > 0
          ? { allowScheduling: true, evictionRequested: false }
          : stays;
      assert.deepEqual(stored?.spec, expected);
    });
  }

  it("is a join token of ours past its time, and no other", async () => {
    token("bootstrap-token-expired", 1);
    token("bootstrap-token-valid", -60);
    token("bootstrap-token-foreign", 1, false);
    assert.deepEqual(await mended(), [
      "the join token bootstrap-token-expired is past its time -> deleted the join token bootstrap-token-expired",
    ]);
    assert.equal(cluster.objects.size, 2);
  });

  const lost: [SlotPhase, { joined: boolean }, { byHand: boolean }][] = [
    ["made", { joined: false }, { byHand: false }],
    ["failed", { joined: false }, { byHand: false }],
    ["made", { joined: true }, { byHand: true }],
    ["failed", { joined: true }, { byHand: true }],
    ["joined", { joined: true }, { byHand: true }],
    ["handedOver", { joined: true }, { byHand: true }],
    ["handedOver", { joined: false }, { byHand: true }],
  ];
  for (const [phase, { joined }, { byHand }] of lost) {
    it(`is a node that is ${phase}, ${joined ? "with" : "without"} a Node, when nobody has the number of its VM: ${byHand ? "left to an operator" : "mended by an update"}`, async () => {
      await using pve = await numbers(() => false);
      await remember(phase);
      if (joined) nodeObject();
      const [found] = await find({ vms: [], nodes: joined ? [node] : [] }, pve.client);
      assert.equal(found?.what, `the VM 1100 of ${vm.name} is gone, and it was not retired`);
      assert.equal(found.needsOperator, byHand);
      assert.match(howOf(await found.mend()), joined ? /^deleted the Node / : /^it counts as retired now$/);
      assert.equal(cluster.objects.has(`${paths.nodes}/${node.name}`), false);
      assert.equal((await readPoolRecord(kubernetes, "workers")).nodes[0]?.phase, "retired");
    });
  }

  it("is not a node whose VM the token cannot see while somebody has its number, also when that was found out late", async () => {
    let isTaken = true;
    await using pve = await numbers(() => isTaken);
    await remember("handedOver");
    nodeObject();
    assert.deepEqual(await find({ vms: [] }, pve.client), []);
    isTaken = false;
    const [found] = await find({ vms: [] }, pve.client);
    isTaken = true;
    await assert.rejects(async () => found?.mend(), /VM 1100 of .* exists, and the token cannot see it/);
    assert.ok(cluster.objects.has(`${paths.nodes}/${node.name}`));
    assert.equal((await readPoolRecord(kubernetes, "workers")).nodes[0]?.phase, "handedOver");
  });

  it("is not a Node that another machine has registered while the old one was taken out", async () => {
    await using pve = await numbers(() => false);
    await remember("handedOver");
    nodeObject();
    const [found] = await find({ vms: [], nodes: [node] }, pve.client);
    cluster.hook = ({ method, path }) => {
      if (method !== "DELETE" || !path.endsWith(".node-password.rke2")) return undefined;
      cluster.remove(`${paths.nodes}/${node.name}`);
      nodeObject();
      return undefined;
    };
    await assert.rejects(async () => found?.mend(), /Conflict/);
    assert.ok(cluster.objects.has(`${paths.nodes}/${node.name}`));
    assert.equal((await readPoolRecord(kubernetes, "workers")).nodes[0]?.phase, "handedOver");
  });

  it("is not a node whose VM the list shows under another name, or whose number is taken, or whose step lives", async () => {
    await remember("handedOver");
    assert.deepEqual(await find({ vms: [{ ...vm, name: "renamed" }] }), []);
    assert.deepEqual(await find({ vms: [], takenVmids: [1100] }), []);
    renewedLease("slot-workers-0");
    assert.deepEqual(await find({ vms: [] }), []);
  });

  it("is the memory of a retired node, a week after its VM went", async () => {
    let isTaken = false;
    await using pve = await numbers(() => isTaken);
    await remember("retired", week - 60);
    assert.deepEqual(await find({ vms: [], nodes: [] }, pve.client), []);
    isTaken = true;
    const { since } = await remember("retired", week + 60);
    assert.deepEqual(await find({ vms: [], nodes: [] }, pve.client), [], "it is only out of sight");
    isTaken = false;
    assert.deepEqual(await mended({ vms: [], nodes: [] }, pve.client), [
      `${vm.name} was retired on ${since} and its VM is gone -> forgot ${vm.name}`,
    ]);
    assert.deepEqual((await readPoolRecord(kubernetes, "workers")).nodes, []);
  });
});
