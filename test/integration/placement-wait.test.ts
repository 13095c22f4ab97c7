import assert from "node:assert/strict";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { readSlotRecord, writeFacts } from "../../src/clients/kubernetes/record.ts";
import { namespacedPath, paths } from "../../src/clients/kubernetes/types.ts";
import type { Displaced } from "../../src/domain/model/types.ts";
import { defaultTimeouts } from "../../src/domain/model/step-environment.ts";
import { cordonedBy } from "../../src/domain/model/formats.ts";
import type { NodeRecord } from "../../src/domain/model/types.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import { awaitEarlier } from "../../src/steps/node/emptying.ts";
import { awaitPlaced, rememberDisplaced } from "../../src/steps/node/placement.ts";
import type { DepartingNode } from "../../src/steps/node/departing-nodes.ts";
import type { StepContext } from "../../src/steps/context.ts";
import { freshCluster, type FakeCluster } from "../clients/kubernetes/fake.ts";
import { useFastClock } from "../support/fast-clock.ts";

const old = "demo-workers-0-0a1b2c3d";
const next = "demo-workers-0-11111111";
const spec = { image: "ubuntu-24.04-rke2-v1.0.0", rke2: "v1.34.4+rke2r1", cores: 2, memoryMiB: 4096, diskGiB: 20 };
const site = {
  registrationAddress: "rke2.example",
  proxmoxPool: "evergreen-nodes",
  serverPool: "servers",
  timeouts: { ...defaultTimeouts, gate: 30 },
};
const input: SlotInput = {
  cluster: "demo",
  site,
  pool: "workers",
  role: "agent",
  strategy: { kind: "rolling", surge: 1, maxUnavailable: 1, soakSeconds: 0, onFailure: "hold" },
  slot: 0,
  node: next,
  vmid: 1101,
  madeVmid: undefined,
  allowDestroy: false,
  address: undefined,
  address6: undefined,
  unreachable: undefined,
  generation: "11111111",
  spec,
  rollout: "r",
};

const web: Displaced = { namespace: "shop", kind: "ReplicaSet", name: "web", pods: 2, unplaced: 0 };
const record = (name: string, more: Partial<NodeRecord> = {}): NodeRecord => ({
  name,
  slot: 0,
  generation: name.slice(-8),
  vmid: 1101,
  uuid: "6b0124f9-0000-4000-8000-000000000101",
  phase: "joined",
  since: "2026-11-21T08:00:00Z",
  ...more,
});

describe("what a handover evicts", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  useFastClock();
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  // Nothing else of a run is asked for.
  const context = { stop: new AbortController().signal } as StepContext;
  const remembered = async () =>
    (await readSlotRecord(client, "workers", 0)).nodes.find(({ name }) => name === next)?.displaced;

  /** The volume of a claim, on the disk of a node, or in reach of all. */
  function volume(claim: string, node?: string): void {
    const matchExpressions = [{ key: "kubernetes.io/hostname", operator: "In", values: [node] }];
    const nodeAffinity = { required: { nodeSelectorTerms: [{ matchExpressions }] } };
    cluster.put(paths.persistentVolumes, {
      metadata: { name: `pv-${claim}` },
      spec: { claimRef: { namespace: "shop", name: claim }, ...(node === undefined ? {} : { nodeAffinity }) },
      status: { phase: "Bound" },
    });
  }

  function pod(name: string, of: string, { node, claim }: { node?: string; claim?: string } = {}): void {
    const volumes = claim === undefined ? [] : [{ name: "data", persistentVolumeClaim: { claimName: claim } }];
    const owner = { kind: "ReplicaSet", name: of, uid: `uid-${of}`, controller: true };
    cluster.put(paths.pods, {
      metadata: { name, namespace: "shop", ownerReferences: [owner] },
      spec: { nodeName: node, volumes },
      status: { phase: node === undefined ? "Pending" : "Running" },
    } as Parameters<FakeCluster["put"]>[1]);
  }

  function wants(name: string, replicas: number): void {
    cluster.put(namespacedPath("apps/v1", "shop", "replicasets"), {
      metadata: { name, namespace: "shop" },
      spec: { replicas },
    });
  }

  it("is remembered beside what a killed run has evicted before, as it was then", async () => {
    await writeFacts(client, "workers", { nodes: [record(next, { displaced: [web] })] });
    pod("web-1", "web", { node: old });
    pod("api-1", "api", { node: old });
    await rememberDisplaced(client, input, new Set([old]));
    assert.deepEqual(await remembered(), [web, { ...web, name: "api", pods: 1 }]);
  });

  it("is remembered beside a namesake of another kind, and one in another namespace", async () => {
    const namesakes = [
      { ...web, kind: "StatefulSet" },
      { ...web, namespace: "blog" },
    ];
    await writeFacts(client, "workers", { nodes: [record(next, { displaced: namesakes })] });
    pod("web-1", "web", { node: old });
    await rememberDisplaced(client, input, new Set([old]));
    assert.deepEqual(await remembered(), [...namesakes, { ...web, pods: 1 }]);
  });

  it("is remembered without a pod of it that waits for data on a node that left by consent", async () => {
    const keeps = [{ claim: "shop/data-0", size: "10Gi" }];
    volume("data-0", old);
    await writeFacts(client, "workers", { nodes: [record(next), record(old, { keeps })] });
    pod("web-1", "web", { node: old });
    pod("web-2", "web", { claim: "data-0" });
    await rememberDisplaced(client, input, new Set([old]));
    assert.deepEqual(await remembered(), [web]);
  });

  it("holds the slot back also when it was evicted for a node that was given up since", async () => {
    await writeFacts(client, "workers", { nodes: [record(next), record(old, { phase: "retired", displaced: [web] })] });
    wants("web", 2);
    pod("web-1", "web", { node: next });
    await assert.rejects(awaitPlaced(context, client, input), /ReplicaSet shop\/web has 1 of 2 pods/);
  });

  it("is not waited for when it has a place", async () => {
    await writeFacts(client, "workers", { nodes: [record(next, { displaced: [web] })] });
    wants("web", 2);
    for (const name of ["web-1", "web-2"]) pod(name, "web", { node: next });
    await awaitPlaced(context, client, input);
  });

  const held: [when: string, arrange: () => void, says: RegExp][] = [
    ["a pod of it has no place", () => pod("web-2", "web"), /shop\/web-2: the scheduler has not said why/],
    ["its controller has not made its pod again yet", () => undefined, /ReplicaSet shop\/web has 1 of 2 pods/],
  ];
  for (const [when, arrange, says] of held)
    it(`holds the slot back, by name, when ${when}`, async () => {
      await writeFacts(client, "workers", { nodes: [record(next, { displaced: [web] })] });
      wants("web", 2);
      pod("web-1", "web", { node: next });
      arrange();
      await assert.rejects(awaitPlaced(context, client, input), says);
    });

  const free: [when: string, arrange: () => Promise<void> | void][] = [
    ["was scaled down meanwhile", () => wants("web", 1)],
    ["was deleted meanwhile", () => cluster.remove(`${paths.pods}/web-1`)],
    [
      "waits for data on a node that left by consent",
      async () => {
        wants("web", 2);
        const keeps = [{ claim: "shop/data-0", size: "10Gi" }];
        volume("data-0", old);
        await writeFacts(client, "workers", { nodes: [record(old, { phase: "retired", keeps })] });
        pod("web-2", "web", { claim: "data-0" });
      },
    ],
  ];
  for (const [when, arrange] of free)
    it(`holds nothing back when it ${when}`, async () => {
      await writeFacts(client, "workers", { nodes: [record(next, { displaced: [web] })] });
      pod("web-1", "web", { node: next });
      await arrange();
      await awaitPlaced(context, client, input);
    });

  const later: [when: string, happens: () => void][] = [
    ["is scaled down", () => wants("web", 1)],
    ["is replaced by its Deployment's next revision", () => wants("web", 0)],
    ["is deleted", () => cluster.remove(`${namespacedPath("apps/v1", "shop", "replicasets")}/web`)],
  ];
  for (const [when, happens] of later)
    it(`holds nothing back once it ${when} while it is waited for (pulumi-kubernetes#2662)`, async () => {
      await writeFacts(client, "workers", { nodes: [record(next, { displaced: [web] })] });
      wants("web", 2);
      pod("web-1", "web", { node: next });
      setTimeout(happens, 50);
      await awaitPlaced(context, client, input);
    });

  /** Who would be drained next, in another slot of the pool. */
  const departing = (ready: string, unschedulable = false, annotations: Record<string, string> = {}) =>
    ({
      name: "demo-workers-1-0a1b2c3d",
      node: {
        metadata: { annotations },
        spec: { unschedulable },
        status: { conditions: [{ type: "Ready", status: ready }] },
      },
    }) as DepartingNode;
  const waits = { displaced: [web] };

  const rooms: [
    when: string,
    departing: DepartingNode,
    records: NodeRecord[],
    claim: string | undefined,
    held: boolean,
  ][] = [
    ["serves", departing("True"), [record(next, waits)], undefined, true],
    ["is not Ready", departing("Unknown"), [record(next, waits)], undefined, false],
    ["is cordoned by others", departing("True", true), [record(next, waits)], undefined, true],
    ["is being emptied", departing("True", true, { [cordonedBy]: "a run" }), [record(next, waits)], undefined, false],
    ["has no Node", { ...departing("True"), node: undefined }, [record(next, waits)], undefined, false],
    [
      "serves, and the slot that owed it was given up",
      departing("True"),
      [record(next, { ...waits, phase: "retired" })],
      undefined,
      true,
    ],
    [
      "serves, and what waits does so for data on a node that left by consent",
      departing("True"),
      [record(next, waits), record(old, { phase: "retired", keeps: [{ claim: "shop/data-0", size: "10Gi" }] })],
      "data-0",
      false,
    ],
    [
      "serves, and the claim for whose data one waited has another volume by now, which all nodes reach",
      departing("True"),
      [record(next, waits), record(old, { phase: "retired", keeps: [{ claim: "shop/data-1", size: "10Gi" }] })],
      "data-1",
      true,
    ],
    [
      "serves, and the claim for whose data one waited has no volume by now",
      departing("True"),
      [record(next, waits), record(old, { phase: "retired", keeps: [{ claim: "shop/data-2", size: "10Gi" }] })],
      "data-2",
      true,
    ],
  ];
  for (const [when, one, records, claim, isHeld] of rooms)
    it(`${isHeld ? "keeps" : "does not keep"} a node of another slot from being drained when that ${when}`, async () => {
      await writeFacts(client, "workers", { nodes: records });
      pod("web-2", "web", claim === undefined ? {} : { claim });
      if (claim === "data-0") volume(claim, old);
      if (claim === "data-1") volume(claim);
      const waited = awaitEarlier(context, client, { ...input, slot: 1 }, one, "handover");
      if (isHeld) await assert.rejects(waited, /do not run elsewhere after .*shop\/web-2/);
      else await waited;
    });
});
