import assert from "node:assert/strict";
import { clock, useClock } from "../../src/runtime/clock.ts";
import type { Access } from "../../src/clients/kubernetes/access.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { writeFacts } from "../../src/clients/kubernetes/record.ts";
import { writeWantedSlots } from "../../src/clients/kubernetes/cluster-record.ts";
import { paths } from "../../src/clients/kubernetes/types.ts";
import { tagsOf } from "../../src/clients/proxmox/tags.ts";
import { defaultTimeouts } from "../../src/domain/model/step-environment.ts";
import type { ListedVm } from "../../src/clients/proxmox/vms.ts";
import type { NodeRecord } from "../../src/domain/model/types.ts";
import { retryUntilRoom, NoRoom, withDisruptionLease } from "../../src/steps/cluster/availability.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import type { StepContext } from "../../src/steps/context.ts";
import { freshCluster, type FakeCluster } from "../clients/kubernetes/fake.ts";
import { fakeProxmox, type Seen } from "../clients/proxmox/fake.ts";

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

  /** What Proxmox says of the VM of a slot: the list's word, or what its host answers where the list has none, and more. */
  interface Word {
    list?: string;
    host?: "running" | "stopped" | "silent" | "refuses";
    row?: object;
  }

  interface How {
    maxUnavailable?: number;
    words?: Record<number, Word>;
    gate?: number;
    /** What happens once a ticket is held, before the node is disturbed. */
    then?: () => unknown;
  }

  /** Drains the node of slot 0. @returns the ticket that it is drained with */
  async function drained({ maxUnavailable = 1, words = {}, gate = 0.3, then }: How): Promise<string> {
    const vms: object[] = [0, 1, 2, 3].map((slot) => ({
      type: "qemu",
      vmid: 1100 + slot,
      node: "pve1",
      name: nameOf(slot),
      status: words[slot]?.list ?? (words[slot]?.host === undefined ? "running" : "unknown"),
      ...words[slot]?.row,
    }));
    // What a killed clone has left.
    vms.push({ type: "qemu", vmid: 1199, node: "pve1", name: nameOf(2), status: "stopped" });
    const answer = ({ path }: Seen) => {
      const vmid = /qemu\/(\d+)\/status\/current$/.exec(path)?.[1];
      if (vmid === undefined) return { data: vms };
      const host = words[Number(vmid) - 1100]?.host ?? "running";
      if (host === "silent") return { status: 595, reason: "No route to host" };
      return host === "refuses" ? { status: 403, reason: "Permission check failed" } : { data: { status: host } };
    };
    await using pve = await fakeProxmox(answer);
    const context = { pve: pve.client, id: "me", stop: new AbortController().signal } as unknown as StepContext;
    const strategy = { kind: "rolling", surge: maxUnavailable, maxUnavailable, soakSeconds: 0, onFailure: "hold" };
    const site = { timeouts: { ...defaultTimeouts, gate, lease: 0.3 } };
    const place = { cluster: "demo", pool: "workers", role: "agent", slot: 0, strategy, site } as SlotInput;
    const leaving = { name: nameOf(0), vm: { vmid: 1100, host: "pve1" } as ListedVm };
    let held = "";
    await withDisruptionLease(context, { client } as Access, place, [leaving], async (_, mayBegin) => {
      await then?.();
      await mayBegin(leaving);
      held = [...cluster.objects.keys()].find((path) => path.includes("/ticket-")) ?? "";
    });
    return held.replace(/.*\//, "");
  }

  afterEach(() => useClock());
  beforeEach(async () => {
    await writeWantedSlots(client, "workers", [0, 1, 2]);
    await writeFacts(client, "workers", { nodes: [0, 1, 2].map((slot) => record(slot)) });
    for (const slot of [0, 1, 2]) node(slot, true);
  });

  const holds =
    /demo-workers-0-0a1b2c3d is not drained: nobody serves in slot 1 \(demo-workers-1-0a1b2c3d is not Ready\), and at most 1 may be out/;
  const isOff =
    /demo-workers-0-0a1b2c3d is not drained: nobody serves in slot 1 \(the VM of demo-workers-1-0a1b2c3d is off\)/;
  const away = {
    name: undefined,
    tags: tagsOf({ cluster: "demo", pool: "workers", slot: 1, generation: "0a1b2c3d" }).join(";"),
  };
  const cases: [what: string, arrange: () => unknown, how: How, held: RegExp | undefined][] = [
    ["all others serve", () => undefined, {}, undefined],
    ["another slot is empty, which is all that may be out", () => node(1, false), {}, holds],
    ["another slot is empty, and two may be out", () => node(1, false), { maxUnavailable: 2 }, undefined],
    [
      "two other slots are empty, and two may be out",
      () => [node(1, false), node(2, false)],
      { maxUnavailable: 2 },
      /in slot 1 .*, nobody serves in slot 2 .*at most 2 may be out/,
    ],
    ["it is not Ready itself", () => [node(0, false), node(1, false)], {}, undefined],
    ["it is off itself", () => node(1, false), { words: { 0: { host: "stopped" } } }, undefined],
    [
      "the empty slot is not wanted any more",
      () => writeFacts(client, "workers", { nodes: [record(3)] }),
      {},
      undefined,
    ],
    [
      "another slot is empty, and the record of an older program names no slots",
      async () => {
        await client.patch(`${paths.configMaps}/cluster`, "merge", { data: { "slots.workers": null } });
        node(1, false);
      },
      {},
      holds,
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
    [
      "the host of the empty slot's VM is silent",
      () => node(1, false),
      { words: { 1: { host: "silent" } } },
      undefined,
    ],
    [
      "it is silent, and the list has forgotten the VM's name",
      () => node(1, false),
      { words: { 1: { host: "silent", row: away } } },
      undefined,
    ],
    [
      "the list alone has no status of the empty slot's VM",
      () => node(1, false),
      { words: { 1: { host: "running" } } },
      holds,
    ],
    [
      "nor has it of one that is off, and whose Node looks Ready",
      () => undefined,
      { words: { 1: { host: "stopped" } } },
      isOff,
    ],
    [
      "its host does not let itself be asked about that VM",
      () => node(1, false),
      { words: { 1: { host: "refuses" } } },
      holds,
    ],
    [
      "the number of the empty slot's VM is another's by now, on a silent host",
      () => node(1, false),
      { words: { 1: { host: "silent", row: { name: "somebody-else" } } } },
      isOff,
    ],
    [
      "the VM of another slot is off, and its Node looks Ready still",
      () => undefined,
      { words: { 1: { list: "stopped" } } },
      isOff,
    ],
    ["the VM of the empty slot is paused", () => node(1, false), { words: { 1: { list: "paused" } } }, holds],
    [
      "one slot is on a silent host and another is empty: of two that may be out none is left",
      () => [node(1, false), node(2, false)],
      { maxUnavailable: 2, words: { 2: { host: "silent" } } },
      /nobody serves in slot 1 /,
    ],
  ];
  for (const [what, arrange, how, held] of cases)
    it(`${held ? "stays" : "may be drained"} when ${what}`, async () => {
      await arrange();
      if (held) await assert.rejects(drained(how), held);
      else await drained(how);
    });

  it("is drained once the empty slot is served again, by whomever", async () => {
    node(1, false);
    const waits = drained({ gate: 5 });
    setTimeout(
      () =>
        cluster.put(paths.nodes, {
          metadata: {
            name: "demo-workers-1-11111111",
            labels: { "evergreen.dev/pool": "workers", "evergreen.dev/slot": "1" },
          },
          status: { conditions: conditions(true) },
        }),
      50,
    );
    await waits;
  });

  it("holds no ticket while it waits: who fills the empty slot may need it", async () => {
    node(1, false);
    const waits = assert.rejects(drained({}), holds);
    await waits;
    assert.equal(cluster.count("POST", /\/leases$/), 0);
  });

  it("has the first ticket alone beside an empty slot of two that may be out: the other one is that slot's", async () => {
    node(1, false);
    assert.equal(await drained({ maxUnavailable: 2 }), "ticket-workers-0");
    const spec = { holderIdentity: "another", leaseDurationSeconds: 15 };
    cluster.put(paths.leases, { metadata: { name: "ticket-workers-0" }, spec });
    await assert.rejects(drained({ maxUnavailable: 2 }), /waiting for the lease ticket-workers-0/);
  });

  it("stays, and gives its ticket back, when another slot falls before it is disturbed", async () => {
    const falls = () => {
      node(1, false);
      const real = clock;
      useClock({ ...real, elapsed: () => real.elapsed() + 5_000 });
    };
    await assert.rejects(
      drained({ then: falls }),
      (error) =>
        error instanceof NoRoom &&
        error.message.includes(
          "demo-workers-0-0a1b2c3d is not drained: nobody serves in slot 1 (demo-workers-1-0a1b2c3d is not Ready), and at most 1 may be out",
        ),
    );
    assert.deepEqual(
      [...cluster.objects.keys()].filter((path) => path.includes("/ticket-")),
      [],
    );
    node(1, true);
    const spec = { holderIdentity: "another", leaseDurationSeconds: 15 };
    cluster.put(paths.leases, { metadata: { name: "ticket-workers-0" }, spec });
    // With the second ticket, which is the fallen slot's from then on.
    await assert.rejects(drained({ maxUnavailable: 2, then: falls }), NoRoom);
  });

  it("stays when another slot fell while the machine slept, in which its own clock stood still", async () => {
    const sleeps = () => {
      node(1, false);
      const real = clock;
      useClock({ ...real, date: () => real.date() + 3_600_000 });
    };
    await assert.rejects(drained({ then: sleeps }), NoRoom);
  });

  it("is not asked about twice within seconds", async () => {
    let asked = 0;
    await drained({ then: () => (asked = cluster.count("GET", /\/nodes$/)) });
    assert.deepEqual([asked, cluster.count("GET", /\/nodes$/)], [1, 1]);
  });

  it("is not helped by a node of another pool", async () => {
    node(1, false);
    cluster.put(paths.nodes, {
      metadata: { name: "demo-other-1-0a1b2c3d", labels: { "evergreen.dev/pool": "other", "evergreen.dev/slot": "1" } },
      status: { conditions: conditions(true) },
    });
    await assert.rejects(drained({}), holds);
  });
});

describe("a node that leaves while slots fall again and again", () => {
  it("stays when they still do after the time that a gate may take", async () => {
    const context = { stop: new AbortController().signal } as StepContext;
    const site = { timeouts: { ...defaultTimeouts, gate: 0.1 } } as SlotInput["site"];
    const tries: boolean[] = [];
    const leaves = retryUntilRoom(context, { site }, async (again) => {
      tries.push(again);
      await clock.sleep(60);
      throw new NoRoom({ what: "nobody serves in slot 1", where: "slot 0", todo: "run again" });
    });
    await assert.rejects(Promise.race([leaves, clock.sleep(5_000)]), NoRoom);
    assert.deepEqual(tries.slice(0, 2), [false, true]);
  });
});
