import assert from "node:assert/strict";
import fc from "fast-check";
import { addressAfter } from "../../../src/domain/model/address.ts";
import { allocate, freeIds, type AllocationRequest } from "../../../src/domain/rollout/allocation.ts";
import { PlanError } from "../../../src/domain/model/problem.ts";
import type { ObservedVm, NodeRecord, SlotPhase } from "../../../src/domain/model/types.ts";

const RANGE = { first: 1100, last: 1119, firstAddress: "127.40.0.101" };

describe("allocation", () => {
  it("begins at the beginning", () => {
    const places = allocate(request({ names: ["a", "b"] }));
    assert.deepEqual(
      [...places],
      [
        ["a", { vmid: 1100, address: "127.40.0.101", creates: true }],
        ["b", { vmid: 1101, address: "127.40.0.102", creates: true }],
      ],
    );
  });

  it("goes on after the highest that is remembered, not into gaps", () => {
    const places = allocate(request({ names: ["new"], vms: [vm("x", 1103)], nodes: [node("y", 1107, "retired")] }));
    assert.equal(places.get("new")?.vmid, 1108);
  });

  it("wraps around", () => {
    const places = allocate(request({ names: ["a", "b"], vms: [vm("x", 1119), vm("y", 1100)] }));
    assert.deepEqual([places.get("a")?.vmid, places.get("b")?.vmid], [1101, 1102]);
  });

  it("keeps the id of a VM that exists, wherever it is", () => {
    const places = allocate(request({ names: ["new", "old"], vms: [vm("old", 1105)] }));
    assert.deepEqual(places.get("old"), { vmid: 1105, address: "127.40.0.106", creates: false });
    assert.equal(places.get("new")?.vmid, 1106);
  });

  it("steps over a stranger", () => {
    const places = allocate(request({ names: ["a"], vms: [vm("x", 1100)], taken: [1100, 1101, 1102] }));
    assert.equal(places.get("a")?.vmid, 1103);
  });

  it("holds the id of a remembered node whose VM nobody saw go", () => {
    const tight = { first: 1100, last: 1101 };
    const free = (phase: SlotPhase) =>
      freeIds({ range: tight, observed: live([]), record: record([node("y", 1100, phase)]) });
    assert.deepEqual(free("handedOver"), [1101]);
    assert.deepEqual(free("failed"), [1101]);
    assert.deepEqual(free("retired"), [1101, 1100], "retired and gone: free, after all others");
  });

  it("holds the id of a retired node while its VM waits to be destroyed, also under another name", () => {
    const waiting = { ...vm("renamed", 1104), uuid: "uuid-y" };
    assert.equal(
      freeIds({ range: RANGE, observed: live([waiting]), record: record([node("y", 1100, "retired")]) }).includes(1100),
      false,
    );
  });

  it("leaves a VM its address when the range moved", () => {
    const moved = { first: 1200, last: 1219, firstAddress: "127.40.1.1" };
    const nodes = [{ ...node("old", 1105, "handedOver"), address: "127.40.0.106" }];
    const places = allocate(request({ range: moved, names: ["old", "new"], vms: [vm("old", 1105)], nodes }));
    assert.equal(places.get("old")?.address, "127.40.0.106");
    assert.equal(places.get("new")?.address, "127.40.1.1");
  });

  describe("of IPv6 addresses", () => {
    const both = { ...RANGE, firstAddress6: "FD00:0::65" };
    const listed = { first: 1100, last: 1102, addresses6: ["fd00::9", "fd00::20-fd00::21"] };

    it("gives them beside those of IPv4, or alone", () => {
      assert.deepEqual(allocate(request({ range: both, names: ["a"] })).get("a"), {
        ...{ vmid: 1100, address: "127.40.0.101", address6: "fd00::65", creates: true },
      });
      const places = allocate(request({ range: listed, names: ["a", "b"] }));
      assert.deepEqual(places.get("b"), { vmid: 1101, address6: "fd00::20", creates: true });
    });

    it("leaves a VM those that it was made with", () => {
      const nodes = [
        { ...node("old", 1105, "handedOver"), address: "127.40.0.106" },
        { ...node("new", 1106, "handedOver"), address: "127.40.0.107", address6: "fd00:1::b" },
      ];
      const places = allocate(
        request({ range: both, names: ["old", "new"], vms: [vm("old", 1105), vm("new", 1106)], nodes }),
      );
      assert.equal(places.get("old")?.address6, undefined, "made before the pool had any");
      assert.equal(places.get("new")?.address6, "fd00:1::b");
    });

    it("gives a VM that no record knows that of its VMID: it was cloned a moment ago", () => {
      const places = allocate(request({ range: both, names: ["old"], vms: [vm("old", 1105)] }));
      assert.equal(places.get("old")?.address6, "fd00::6a");
    });

    it("takes no VMID whose address of either family another node has", () => {
      for (const takenAddresses of [new Set(["fd00::65"]), new Set(["127.40.0.101"])]) {
        const observed = { ...live([]), takenAddresses };
        assert.equal(freeIds({ range: both, observed, record: undefined })[0], 1101);
      }
    });
  });

  it("gives a VM that came back under a retired name the address of its own id", () => {
    const nodes = [{ ...node("back", 1100, "retired"), address: "127.40.0.101" }];
    const places = allocate(request({ names: ["back"], vms: [vm("back", 1107)], nodes }));
    assert.equal(places.get("back")?.address, "127.40.0.108");
  });

  it("refuses a range that leaves a VM without an address", () => {
    const moved = { first: 1200, last: 1219, firstAddress: "127.40.1.1" };
    assert.throws(
      () => allocate(request({ range: moved, names: ["old"], vms: [vm("old", 1105)] })),
      /no address belongs to VMID 1105/,
    );
  });

  it("gives no address where DHCP does", () => {
    const places = allocate(request({ range: { first: 1100, last: 1101 }, names: ["a"] }));
    assert.deepEqual(places.get("a"), { vmid: 1100, creates: true });
  });

  it("says how many ids are missing", () => {
    const tight = { ...RANGE, last: 1103 };
    const vms = [vm("old-0", 1100), vm("old-1", 1101)];
    assert.throws(
      () => allocate(request({ range: tight, names: ["new-0", "new-1"], vms, taken: [1103] })),
      (error: unknown) => {
        assert.ok(error instanceof PlanError);
        const [problem] = error.problems;
        assert.match(problem?.what ?? "", /^2 new VMs of pool workers need a VMID and 1 are free/);
        assert.match(problem?.where ?? "", /1100-1103: 2 of ours, 1 held/);
        assert.match(problem?.todo ?? "", /at least 1,/);
        return true;
      },
    );
  });

  it("never gives an id that anything holds, each only once, always with the address of its number", () => {
    const names = fc.uniqueArray(fc.constantFrom("n0", "n1", "n2", "n3", "n4"), { minLength: 1 });
    fc.assert(
      fc.property(names, anyWorld(), (wanted, { vms, nodes, taken }) => {
        const asked = request({ names: wanted, vms, nodes, taken });
        const places = attempt(asked);
        if (places === undefined) {
          const missing = wanted.filter((name) => !vms.some((one) => one.name === name)).length;
          assert.ok(freeIds(asked).length < missing, "refused although there was room");
          return;
        }
        const holders = new Set([
          ...taken,
          ...vms.map((one) => one.vmid),
          ...nodes.filter((one) => one.phase !== "retired").map((one) => one.vmid),
        ]);
        for (const [name, place] of places) {
          const existing = vms.find((one) => one.name === name);
          assert.equal(place.creates, existing === undefined);
          if (existing) assert.equal(place.vmid, existing.vmid);
          else assert.ok(!holders.has(place.vmid) && place.vmid >= RANGE.first && place.vmid <= RANGE.last);
          assert.equal(place.address, addressAfter(RANGE.firstAddress, place.vmid - RANGE.first));
        }
        const ids = [...places.values()].map((place) => place.vmid);
        assert.equal(new Set(ids).size, ids.length);
        assert.deepEqual([...places.keys()], wanted);
      }),
    );
  });

  it("gives the same answer again, and again once its VMs exist", () => {
    fc.assert(
      fc.property(anyWorld(), ({ vms, nodes, taken }) => {
        const asked = request({ names: ["n0", "n1", "n2"], vms, nodes, taken });
        const first = attempt(asked);
        if (first === undefined) return;
        const made = [...first].filter(([, place]) => place.creates).map(([name, place]) => vm(name, place.vmid));
        const second = attempt({ ...asked, observed: { ...live([...vms, ...made]), takenVmids: taken } });
        assert.deepEqual(attempt(asked), first);
        for (const [name, place] of first) {
          assert.deepEqual(second?.get(name), { ...place, creates: false });
        }
      }),
    );
  });
});

function request(of: {
  names: string[];
  range?: AllocationRequest["range"];
  vms?: ObservedVm[];
  nodes?: NodeRecord[];
  taken?: number[];
}): AllocationRequest {
  return {
    pool: "workers",
    range: of.range ?? RANGE,
    names: of.names,
    observed: { ...live(of.vms ?? []), takenVmids: of.taken ?? [] },
    record: record(of.nodes ?? []),
  };
}

function live(vms: ObservedVm[]): AllocationRequest["observed"] {
  return { vms, nodes: [], takenVmids: [] };
}

function record(nodes: NodeRecord[]): AllocationRequest["record"] {
  return { pool: "workers", generations: [], nodes };
}

function vm(name: string, vmid: number): ObservedVm {
  return { vmid, name, host: "pve1", running: true, uuid: `uuid-${name}`, pool: "workers", slot: 0, generation: "0" };
}

function node(name: string, vmid: number, phase: SlotPhase): NodeRecord {
  return { name, slot: 0, generation: "0", vmid, uuid: `uuid-${name}`, phase, since: "2026-01-01T00:00:00Z" };
}

function attempt(
  asked: AllocationRequest,
): Map<string, { vmid: number; address?: string; creates: boolean }> | undefined {
  try {
    return allocate(asked);
  } catch (error) {
    assert.ok(error instanceof PlanError);
    return undefined;
  }
}

function anyWorld(): fc.Arbitrary<{ vms: ObservedVm[]; nodes: NodeRecord[]; taken: number[] }> {
  const id = fc.integer({ min: RANGE.first, max: RANGE.last });
  const name = fc.constantFrom("n0", "n1", "n2", "x0", "x1", "x2", "x3", "x4", "x5", "x6");
  const phase = fc.constantFrom<SlotPhase>("made", "joined", "handedOver", "failed", "retired");
  return fc.record({
    vms: fc
      .uniqueArray(fc.tuple(name, id), { selector: ([, vmid]) => vmid, maxLength: 12 })
      .map((all) => unique(all.map(([vmName, vmid]) => vm(vmName, vmid)))),
    nodes: fc.array(fc.tuple(name, id, phase), { maxLength: 12 }).map((all) => all.map((one) => node(...one))),
    taken: fc.array(id, { maxLength: 6 }),
  });
}

function unique(vms: ObservedVm[]): ObservedVm[] {
  return vms.filter((one, i) => vms.findIndex((other) => other.name === one.name) === i);
}
