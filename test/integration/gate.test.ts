import assert from "node:assert/strict";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { labelsOf } from "../../src/clients/kubernetes/nodes.ts";
import { writeFacts } from "../../src/clients/kubernetes/record.ts";
import { paths } from "../../src/clients/kubernetes/types.ts";
import { defaultTimeouts } from "../../src/domain/model/step-environment.ts";
import type { SlotPhase } from "../../src/domain/model/types.ts";
import { awaitPlanned } from "../../src/steps/verbs/gate.ts";
import type { PoolInput } from "../../src/steps/input.ts";
import type { StepContext } from "../../src/steps/context.ts";
import { freshCluster, type FakeCluster } from "../clients/kubernetes/fake.ts";

const name = "demo-workers-0-0a1b2c3d";
const uuid = "6b0124f9-0000-4000-8000-000000000100";

describe("a planned node", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));
  const context = { stop: new AbortController().signal } as StepContext;

  const node = (systemUUID: string, ready: string) =>
    cluster.put(paths.nodes, {
      metadata: { name, labels: labelsOf({ cluster: "demo", pool: "workers", slot: 0, generation: "0a1b2c3d" }) },
      status: { nodeInfo: { systemUUID }, conditions: [{ type: "Ready", status: ready, reason: "Test" }] },
    });
  const remember = async (phase: SlotPhase) => {
    const own = { name, slot: 0, generation: "0a1b2c3d", vmid: 1100, uuid, phase, since: "2026-01-01T00:00:00Z" };
    await writeFacts(client, "workers", { nodes: [own] });
  };
  const proved = (unreachable?: string) =>
    awaitPlanned(context, client, {
      cluster: "demo",
      pool: "workers",
      site: { timeouts: { ...defaultTimeouts, gate: 0.5 } },
      plan: { slots: [{ name, slot: 0, ...(unreachable === undefined ? {} : { unreachable }) }] },
    } as unknown as PoolInput);

  for (const phase of ["joined", "handedOver"] as const)
    it(`is proved when it is ${phase}, is Ready and tells the uuid of its VM`, async () => {
      node(uuid, "True");
      await remember(phase);
      assert.equal((await proved()).length, 1);
    });

  it("is not asked for when its Proxmox host does not answer", async () => {
    assert.deepEqual(await proved("pve2"), []);
  });

  const cases: [when: string, arrange: () => Promise<unknown>, says: RegExp][] = [
    ["has no Node", () => remember("joined"), /has no Node/],
    [
      "was only made",
      () => {
        node(uuid, "True");
        return remember("made");
      },
      /was not proved by its join/,
    ],
    [
      "is remembered by nobody",
      () => {
        node(uuid, "True");
        return Promise.resolve();
      },
      /was not proved by its join/,
    ],
    [
      "has a Node of another machine",
      () => {
        node("6b0124f9-0000-4000-8000-000000000999", "True");
        return remember("joined");
      },
      /is another machine than the one that joined/,
    ],
    [
      "is not Ready",
      () => {
        node(uuid, "False");
        return remember("joined");
      },
      /Ready is False/,
    ],
  ];
  for (const [when, arrange, says] of cases)
    it(`is waited for, by name, when it ${when}`, async () => {
      await arrange();
      await assert.rejects(proved(), says);
    });
});
