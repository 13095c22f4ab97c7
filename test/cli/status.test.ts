import assert from "node:assert/strict";
import { readHeldLeases, describeNextUpdate, poolStatus } from "../../cli/status.ts";
import { UserError } from "../../src/runtime/errors.ts";
import { paths } from "../../src/clients/kubernetes/types.ts";
import type { ObservedCluster } from "../../src/observe/observed-cluster.ts";
import { generationOf } from "../../src/domain/model/generation.ts";
import type { ObservedNode, ObservedVm, NodeRecord } from "../../src/domain/model/types.ts";
import { FakeCluster } from "../clients/kubernetes/fake.ts";
import { OLD, picture, running } from "../support/picture.ts";

const spec = { image: OLD, rke2: "v1.34.4+rke2r1", cores: 4, memoryMiB: 8192, diskGiB: 40 };
const since = "2026-03-01T11:00:00.000Z";
const { vm, node } = running("workers", 0, spec, 1100);
const { name, slot, generation, vmid, uuid } = vm;
const record: NodeRecord = { name, slot, generation, vmid, uuid, phase: "handedOver", since };

function live(vms: ObservedVm[], nodes: ObservedNode[], remembered: NodeRecord[] = [record]): ObservedCluster {
  const generations = [{ ...generationOf(spec), state: "proved" as const, since }];
  return picture({ vms, nodes, records: new Map([["workers", { pool: "workers", generations, nodes: remembered }]]) });
}

describe("the status of a pool", () => {
  const cases: [string, ObservedCluster, string, string?][] = [
    ["a node that serves", live([vm], [node]), `${vmid} ${vm.host} running Ready handedOver -`],
    ["a cordoned node", live([vm], [{ ...node, schedulable: false }]), "somebody to uncordon it"],
    [
      "a node that is not Ready",
      live([vm], [{ ...node, ready: false }]),
      "NotReady  handedOver  its kubelet to be Ready",
    ],
    ["a VM that runs and has not joined", live([vm], [], []), "running  no Node   not joined  its join"],
    [
      "a VM that is off",
      live([{ ...vm, running: false }], [], []),
      "off      no Node   not joined  a start and its join",
    ],
    [
      "a VM that is paused",
      live([{ ...vm, state: "paused" }], [{ ...node, ready: false }]),
      "paused NotReady handedOver its VM, which is paused, to run",
    ],
    ["a Node without a VM", live([], [node]), "gone     Ready"],
    ["a retired VM", live([vm], [], [{ ...record, phase: "retired" }]), "the engine to delete its VM"],
    [
      "a retired VM whose pods do not run yet",
      live(
        [vm],
        [],
        [
          {
            ...record,
            phase: "retired",
            displaced: [{ namespace: "shop", kind: "ReplicaSet", name: "web", pods: 1, unplaced: 0 }],
          },
        ],
      ),
      "what has left it to run elsewhere",
    ],
    ["a slot that a step works on", live([vm], [node]), "the step of run-1", "run-1"],
  ];
  for (const [title, what, expected, holder] of cases) {
    it(`says of ${title} what it is and waits for`, () => {
      const leases = new Map(holder === undefined ? [] : [["slot-workers-0", holder]]);
      const squeezed = (text: string) => text.replace(/ +/g, " ");
      const row = poolStatus(what, "workers", leases).split("\n").at(-1) ?? "";
      assert.ok(squeezed(row).startsWith(`0 ${name} ${generation} `), row);
      assert.ok(squeezed(row).includes(squeezed(expected)), row);
    });
  }

  it("names the generations, their state and content, and why one was judged", () => {
    const failed = { ...generationOf(spec), state: "failed" as const, since, why: "never Ready" };
    const text = poolStatus(
      picture({ vms: [vm], records: new Map([["workers", { pool: "workers", generations: [failed], nodes: [] }]]) }),
      "workers",
      new Map(),
    );
    assert.match(text, new RegExp(`^ {2}${failed.id} {2}failed since ${since} {2}${OLD}, .*: never Ready$`, "m"));
    assert.match(poolStatus(picture({ vms: [vm] }), "workers", new Map()), /^pool workers, nothing remembered yet$/m);
  });
});

describe("leases in a status", () => {
  it("count while somebody renews them", async () => {
    const cluster = new FakeCluster();
    const kubernetes = await cluster.start();
    try {
      for (const [lease, seconds] of [
        ["slot-workers-0", 5],
        ["slot-workers-1", 60],
      ] as const)
        cluster.put(paths.leases, {
          metadata: { name: lease },
          spec: {
            holderIdentity: "run-1",
            leaseDurationSeconds: 15,
            renewTime: new Date(Date.now() - seconds * 1000).toISOString(),
          },
        });
      assert.deepEqual([...(await readHeldLeases(picture({ kubernetes })))], [["slot-workers-0", "run-1"]]);
    } finally {
      await kubernetes.close();
      await cluster.stop();
    }
    assert.equal((await readHeldLeases(picture())).size, 0);
  });
});

describe("the next update in a status", () => {
  it("is its plan, or why it would be refused; a defect is not hidden", async () => {
    assert.equal(
      await describeNextUpdate(() => Promise.resolve(["roll workers", "  slot 0"])),
      "roll workers\n  slot 0",
    );
    const refused = await describeNextUpdate(() => {
      throw new UserError({ what: "no room", where: "here", todo: "make some" });
    });
    assert.match(refused, /^would be refused:\nno room\n {2}where: here\n {2}do: {4}make some$/);
    const defect = describeNextUpdate(() => {
      throw new TypeError("a defect");
    });
    await assert.rejects(defect, TypeError);
  });
});
