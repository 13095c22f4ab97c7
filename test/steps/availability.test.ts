import assert from "node:assert/strict";
import type { Kubernetes } from "../../kubernetes/client.ts";
import { writeFacts, writeWantedSlots } from "../../kubernetes/record.ts";
import { paths } from "../../kubernetes/types.ts";
import { defaultTimeouts } from "../../rollout/step-environment.ts";
import type { NodeRecord } from "../../rollout/types.ts";
import { awaitAvailable } from "../../steps/availability.ts";
import type { SlotInput } from "../../steps/input.ts";
import type { Leaver } from "../../steps/retirement.ts";
import type { Run } from "../../steps/run.ts";
import { freshCluster, type FakeCluster } from "../kubernetes/fake.ts";
import { fakeProxmox } from "../proxmox/fake.ts";

const nameOf = (slot: number) => `demo-workers-${slot}-0a1b2c3d`;
const record = (slot: number, phase: NodeRecord["phase"] = "handedOver"): NodeRecord => ({
  name: nameOf(slot),
  slot,
  generation: "0a1b2c3d",
  vmid: 1100 + slot,
  uuid: `6b0124f9-0000-4000-8000-00000000010${slot}`,
  phase,
  since: "2026-11-21T08:00:00Z",
});

describe("a node of agents that serves", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const conditions = (ready: boolean) => [{ type: "Ready", status: ready ? "True" : "Unknown" }];
  const node = (slot: number, ready: boolean) =>
    cluster.put(paths.nodes, {
      metadata: {
        name: nameOf(slot),
        labels: { "evergreen.dev/pool": "workers", "evergreen.dev/slot": String(slot) },
      },
      status: { conditions: conditions(ready) },
    });
  const leaver = (ready = true) => ({ name: nameOf(0), node: { status: { conditions: conditions(ready) } } }) as Leaver;

  /** Drains the node of slot 0. @param words what the list of VMs says of those of the slots that it names */
  async function asked(
    {
      maxUnavailable = 1,
      words = {},
      one = leaver(),
      gate = 0.3,
    }: { maxUnavailable?: number; words?: Record<number, string>; one?: Leaver; gate?: number },
    meanwhile: () => void = () => undefined,
  ): Promise<void> {
    const vms: object[] = [0, 1, 2, 3].map((slot) => ({
      type: "qemu",
      vmid: 1100 + slot,
      node: "pve1",
      name: nameOf(slot),
      status: words[slot] ?? "running",
    }));
    // What a killed clone has left.
    vms.push({ type: "qemu", vmid: 1199, node: "pve1", name: nameOf(2), status: "stopped" });
    await using pve = await fakeProxmox(() => ({ data: vms }));
    const run = { pve: pve.client, stop: new AbortController().signal } as unknown as Run;
    const strategy = { kind: "rolling", surge: 1, maxUnavailable, soakSeconds: 0, onFailure: "hold" };
    const site = { timeouts: { ...defaultTimeouts, gate } };
    const waits = awaitAvailable(run, client, { pool: "workers", slot: 0, strategy, site } as SlotInput, one);
    setTimeout(meanwhile, 50);
    await waits;
  }

  beforeEach(async () => {
    await writeWantedSlots(client, "workers", [0, 1, 2]);
    await writeFacts(client, "workers", { nodes: [0, 1, 2].map((slot) => record(slot)) });
    for (const slot of [0, 1, 2]) node(slot, true);
  });

  const holds =
    /demo-workers-0-0a1b2c3d is not drained: nobody serves in slot 1 \(demo-workers-1-0a1b2c3d is not Ready\), and at most 1 may be out/;
  const cases: [what: string, arrange: () => unknown, how: Parameters<typeof asked>[0], held: RegExp | undefined][] = [
    ["all others serve", () => undefined, {}, undefined],
    ["another slot is empty, which is all that may be out", () => node(1, false), {}, holds],
    ["another slot is empty, and two may be out", () => node(1, false), { maxUnavailable: 2 }, undefined],
    [
      "two other slots are empty, and two may be out",
      () => [node(1, false), node(2, false)],
      { maxUnavailable: 2 },
      /in slot 1 .*, nobody serves in slot 2 .*at most 2 may be out/,
    ],
    ["it is not Ready itself", () => node(1, false), { one: leaver(false) }, undefined],
    [
      "the empty slot is not wanted any more",
      () => writeFacts(client, "workers", { nodes: [record(3)] }),
      {},
      undefined,
    ],
    [
      "nobody was ever given the empty slot",
      async () => {
        await writeWantedSlots(client, "workers", [0, 1, 2, 3]);
        await writeFacts(client, "workers", { nodes: [record(3, "joined")] });
      },
      {},
      undefined,
    ],
    ["the host of the empty slot's VM is silent", () => node(1, false), { words: { 1: "unknown" } }, undefined],
    [
      "the VM of another slot is off, and its Node looks Ready still",
      () => undefined,
      { words: { 1: "stopped" } },
      /nobody serves in slot 1 \(the VM of demo-workers-1-0a1b2c3d is off\)/,
    ],
    ["the VM of the empty slot is paused", () => node(1, false), { words: { 1: "paused" } }, holds],
    [
      "one slot is on a silent host and another is empty: of two that may be out none is left",
      () => [node(1, false), node(2, false)],
      { maxUnavailable: 2, words: { 2: "unknown" } },
      /nobody serves in slot 1 /,
    ],
  ];
  for (const [what, arrange, how, held] of cases)
    it(`${held ? "stays" : "may be drained"} when ${what}`, async () => {
      await arrange();
      if (held) await assert.rejects(asked(how), held);
      else await asked(how);
    });

  it("is drained once the empty slot is served again, by whomever", async () => {
    node(1, false);
    await asked({ gate: 5 }, () =>
      cluster.put(paths.nodes, {
        metadata: {
          name: "demo-workers-1-11111111",
          labels: { "evergreen.dev/pool": "workers", "evergreen.dev/slot": "1" },
        },
        status: { conditions: conditions(true) },
      }),
    );
  });

  it("is not helped by a node of another pool", async () => {
    node(1, false);
    cluster.put(paths.nodes, {
      metadata: { name: "demo-other-1-0a1b2c3d", labels: { "evergreen.dev/pool": "other", "evergreen.dev/slot": "1" } },
      status: { conditions: conditions(true) },
    });
    await assert.rejects(asked({}), holds);
  });
});
