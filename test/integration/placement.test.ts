import assert from "node:assert/strict";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { writeFacts } from "../../src/clients/kubernetes/record.ts";
import { defaultTimeouts } from "../../src/domain/model/step-environment.ts";
import { cordonedBy, emptiedBy } from "../../src/domain/model/formats.ts";
import type { Displaced } from "../../src/domain/model/types.ts";
import type { NodeRecord, SlotPhase } from "../../src/domain/model/types.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import { awaitEarlier } from "../../src/steps/node/emptying.ts";
import { awaitPlaced, rememberDisplaced } from "../../src/steps/node/placement.ts";
import type { DepartingNode } from "../../src/steps/node/departing-nodes.ts";
import type { StepContext } from "../../src/steps/context.ts";
import { freshCluster, type FakeCluster } from "../clients/kubernetes/fake.ts";

const web: Displaced = { namespace: "shop", kind: "ReplicaSet", name: "web", pods: 1, unplaced: 0 };

describe("what was evicted for a node that was given up since", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const context = { stop: new AbortController().signal } as StepContext;
  const input = {
    pool: "workers",
    role: "agent",
    slot: 0,
    node: "demo-workers-0-cccccccc",
    generation: "cccccccc",
    spec: { image: "ubuntu-24.04-rke2-v1.1.0", rke2: "v1.34.4+rke2r1", cores: 4, memoryMiB: 8192, diskGiB: 40 },
    site: { timeouts: { ...defaultTimeouts, gate: 0.5 } },
  } as SlotInput;
  const record = (letter: string, phase: SlotPhase, displaced?: Displaced[]): NodeRecord => ({
    name: `demo-workers-0-${letter.repeat(8)}`,
    slot: 0,
    generation: letter.repeat(8),
    vmid: 1100,
    uuid: letter,
    phase,
    since: "2026-01-01T00:00:00Z",
    ...(displaced ? { displaced } : {}),
  });
  const pod = (nodeName?: string) =>
    cluster.put("/api/v1/namespaces/shop/pods", {
      metadata: {
        name: "web-1",
        namespace: "shop",
        ownerReferences: [{ kind: "ReplicaSet", name: "web", uid: "1", controller: true }],
      } as never,
      spec: { nodeName },
      status: { phase: nodeName ? "Running" : "Pending" },
    });

  beforeEach(async () => {
    cluster.put("/apis/apps/v1/namespaces/shop/replicasets", {
      metadata: { name: "web", namespace: "shop" },
      spec: { replicas: 1 },
    });
    await writeFacts(client, "workers", { nodes: [record("b", "retired", [web]), record("c", "joined")] });
  });

  it("has to find a place before its successor has the slot", async () => {
    pod();
    await assert.rejects(awaitPlaced(context, client, input), /have found no place.*shop\/web-1/);
  });

  it("waits for its data, when it was evicted with another slot, whose VM is kept", async () => {
    pod();
    const path = "/api/v1/namespaces/shop/pods/web-1";
    const found = cluster.objects.get(path) as { spec?: object };
    found.spec = { volumes: [{ name: "data", persistentVolumeClaim: { claimName: "data-web-1" } }] };
    const matchExpressions = [{ key: "kubernetes.io/hostname", operator: "In", values: ["demo-databases-1-bbbbbbbb"] }];
    cluster.put("/api/v1/persistentvolumes", {
      metadata: { name: "pv-1" },
      spec: {
        claimRef: { namespace: "shop", name: "data-web-1" },
        nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions }] } },
      },
      status: { phase: "Bound" },
    });
    const other = { ...record("b", "retired"), slot: 1, keeps: [{ claim: "shop/data-web-1", size: "1Gi" }] };
    await writeFacts(client, "databases", { nodes: [{ ...other, name: "demo-databases-1-bbbbbbbb" }] });
    await awaitPlaced(context, client, input);
  });

  it("is waited for once, and with what it was before", async () => {
    pod("demo-workers-0-bbbbbbbb");
    await rememberDisplaced(client, input, new Set(["demo-workers-0-bbbbbbbb"]));
    await assert.rejects(awaitPlaced(context, client, input), /shop\/web has 0 of 1 pods/);
    pod("demo-workers-0-cccccccc");
    await awaitPlaced(context, client, input);
    const { data = {} } = cluster.objects.get("/api/v1/namespaces/evergreen-system/configmaps/slot-workers-0") as {
      data?: Record<string, string>;
    };
    assert.ok(!data["node.0.cccccccc"]?.includes("displaced"));
  });
});

describe("what earlier handovers of a pool have evicted", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const context = { stop: new AbortController().signal } as StepContext;
  const input = {
    pool: "workers",
    slot: 0,
    site: { timeouts: { ...defaultTimeouts, gate: 0.5 } },
  } as SlotInput;
  const fact = (slot: number, phase: SlotPhase, displaced?: Displaced[]): NodeRecord => {
    const generation = phase === "retired" ? "bbbbbbbb" : "cccccccc";
    const name = `demo-workers-${slot}-${generation}`;
    const since = "2026-01-01T00:00:00Z";
    return { name, slot, generation, vmid: 1100, uuid: name, phase, since, ...(displaced ? { displaced } : {}) };
  };
  const pod = (spec: object) =>
    cluster.put("/api/v1/namespaces/shop/pods", {
      metadata: {
        name: "web-1",
        namespace: "shop",
        ownerReferences: [{ kind: "ReplicaSet", name: "web", uid: "1", controller: true }],
      } as never,
      spec,
      status: { phase: "Pending" },
    });
  const departing = (ready: "True" | "Unknown", cordon?: string) =>
    ({
      name: "demo-workers-0-aaaaaaaa",
      node: {
        metadata: { annotations: cordon === undefined ? {} : { [cordon]: "somebody" } },
        spec: { unschedulable: cordon !== undefined },
        status: { conditions: [{ type: "Ready", status: ready }] },
      },
    }) as unknown as DepartingNode;
  const held = /left earlier nodes of pool workers do not run elsewhere.*shop\/web-1/;

  const cases: [string, NodeRecord[], object, DepartingNode, RegExp | undefined][] = [
    ["from another slot and waits for the scheduler", [fact(1, "joined", [web])], {}, departing("True"), held],
    ["for a node given up since", [fact(0, "retired", [web]), fact(0, "joined")], {}, departing("True"), held],
    [
      "and has a place",
      [fact(1, "joined", [web])],
      { nodeName: "demo-workers-1-cccccccc" },
      departing("True"),
      undefined,
    ],
    ["from a slot that is no more", [fact(1, "retired", [web])], {}, departing("True"), held],
    ["while we empty it already", [fact(1, "joined", [web])], {}, departing("True", cordonedBy), undefined],
    [
      "while we empty one that others cordoned",
      [fact(1, "joined", [web])],
      {},
      departing("True", emptiedBy),
      undefined,
    ],
    ["while others have cordoned it", [fact(1, "joined", [web])], {}, departing("True", "kubectl"), held],
    ["while the departing is down", [fact(1, "joined", [web])], {}, departing("Unknown"), undefined],
  ];
  for (const [what, nodes, spec, one, says] of cases)
    it(`${says ? "keeps" : "does not keep"} a node from its drain when it was evicted ${what}`, async () => {
      await writeFacts(client, "workers", { nodes });
      pod(spec);
      const waits = awaitEarlier(context, client, input, one, "handover");
      await (says ? assert.rejects(waits, says) : waits);
    });
});
