import assert from "node:assert/strict";
import { inconsistencies } from "../../../src/domain/rollout/consistency.ts";
import { generationOf } from "../../../src/domain/model/generation.ts";
import type { GenerationState, NodeSpec } from "../../../src/domain/model/types.ts";
import { A, B, C, content, nameOf, settled, world, type Held, type World } from "./world.ts";

const KNOWN: [NodeSpec, GenerationState][] = [
  [A, "proved"],
  [B, "rolling"],
];

describe("what is observed of a pool and its record", () => {
  it("has none to find where all is well", () => {
    assert.deepEqual(found(world(settled(A), KNOWN)), []);
    assert.deepEqual(found({ observed: { vms: [], nodes: [], takenVmids: [] }, record: undefined }), []);
  });

  it("has none to find in the middle of a wave, nor in what a killed run left", () => {
    const held: Held[] = [
      { slot: 0, spec: A, phase: "retired" },
      { slot: 0, spec: B, phase: "handedOver" },
      { slot: 1, spec: A, phase: "handedOver", well: false },
      { slot: 1, spec: B, phase: "joined" },
      { slot: 2, spec: A, phase: "handedOver" },
      { slot: 2, spec: C, phase: "unrecorded", node: false, well: false },
    ];
    assert.deepEqual(found(world(held, KNOWN)), []);
  });

  it("takes a retired node whose VM is gone for what it is: ours, and done", () => {
    assert.deepEqual(
      found(without(world([...settled(B), { slot: 0, spec: A, phase: "retired" }], KNOWN), nameOf(0, A))),
      [],
    );
  });

  it("does not miss what never was a member: its VM may be gone without a word", () => {
    for (const phase of ["made", "failed"] as const) {
      const at = world([...settled(A), { slot: 0, spec: B, phase, node: false }], KNOWN);
      assert.deepEqual(found(without(at, nameOf(0, B))), []);
    }
  });

  it("misses it when the token cannot see its VM, and another of the same name would be made beside it (seed 966591863)", () => {
    for (const phase of ["made", "failed", "retired"] as const) {
      const at = without(world([...settled(A), { slot: 0, spec: B, phase, node: false }], KNOWN), nameOf(0, B));
      const vmid = at.record?.nodes.find(({ name }) => name === nameOf(0, B))?.vmid ?? 0;
      const observed = { ...at.observed, hiddenVmids: [vmid] };
      const foundFor = (wanted: NodeSpec) =>
        inconsistencies("demo", observed, at.record, generationOf(wanted)).map(({ what }) => what);
      const hidden = `VM ${vmid} of ${nameOf(0, B)} exists, and the token cannot see it`;
      assert.deepEqual(foundFor(B), phase === "retired" ? [] : [hidden]);
      assert.deepEqual(foundFor(C), []);
    }
  });

  it("lets the name of a retired node come back with a new VM", () => {
    const at = world([{ slot: 0, spec: A, phase: "retired" }], KNOWN);
    at.observed.vms.forEach((vm) => (vm.uuid = "uuid-new"));
    assert.deepEqual(found(at), []);
  });

  it("sees a VM that was deleted by hand, by its Node", () => {
    const at = world(settled(A), KNOWN);
    const [problem, ...others] = inconsistencies("demo", { ...at.observed, vms: at.observed.vms.slice(1) }, at.record);
    assert.deepEqual(others, []);
    assert.match(problem?.what ?? "", new RegExp(`the VM of Node ${nameOf(0, A)} is gone`));
    assert.match(problem?.where ?? "", /VMID 1100, uuid uuid-/);
    assert.match(problem?.todo ?? "", /tags .* give them back.*VM\.Audit.*evergreen repair/);
  });

  it("sees a VM that was deleted by hand, by the record alone", () => {
    const [problem, ...others] = disagreementsOf(without(world(settled(A), KNOWN), nameOf(2, A)));
    assert.deepEqual(others, []);
    assert.match(problem?.what ?? "", new RegExp(`^the VM of ${nameOf(2, A)} is gone`));
    assert.match(problem?.where ?? "", /slot 2, VMID 1102, uuid uuid-/);
    assert.match(problem?.todo ?? "", /evergreen repair/);
  });

  it("says of a VM that left the token's sight that it exists, with a Node and without one", () => {
    for (const node of [true, false]) {
      const at = without(world(settled(A), KNOWN), nameOf(2, A));
      const nodes = node ? world(settled(A), KNOWN).observed.nodes : at.observed.nodes;
      const live = { ...at.observed, nodes, takenVmids: [...at.observed.takenVmids, 1102], hiddenVmids: [1102] };
      const [problem, ...others] = inconsistencies("demo", live, at.record);
      assert.deepEqual(others, []);
      assert.equal(problem?.what, `VM 1102 of ${nameOf(2, A)} exists, and the token cannot see it`);
      assert.match(problem.todo, /pvesh set \/pools\/POOL --vms 1102/);
    }
  });

  it("sees a VM that was renamed by hand, and only that", () => {
    const at = world(settled(A), KNOWN);
    at.observed.vms.forEach((vm) => (vm.name = vm.vmid === 1101 ? "my-vm" : vm.name));
    const [problem, ...others] = disagreementsOf(at);
    assert.deepEqual(others, []);
    assert.match(problem?.what ?? "", new RegExp(`made as ${nameOf(1, A)}`));
    assert.equal(problem?.where, "VM 1101 (my-vm) on pve1");
    assert.match(problem.todo, /rename it back/);
  });

  it("sees a renamed VM by its tags when nothing is remembered of it", () => {
    const at = world([{ slot: 3, spec: A, phase: "unrecorded", node: false }], KNOWN);
    for (const name of ["other", nameOf(3, A).replace("demo-", "demo-gpu-"), nameOf(3, A).replace("demo-", "prod-")]) {
      at.observed.vms.forEach((vm) => (vm.name = name));
      assert.match(found(at).join(), /made as demo-workers-3-/);
    }
  });

  it("sees a backup that was restored beside its VM, which has lost our tags (adversary, seed 275527219)", () => {
    const at = world(settled(A, 1), KNOWN);
    at.observed.vms.forEach((vm) => (vm.vmid = 1106));
    at.observed.takenVmids = [1100, 1106];
    const [problem, ...others] = disagreementsOf(at);
    assert.deepEqual(others, []);
    assert.match(problem?.what ?? "", /was made as VM 1100, and another VM has its name, its tags and its SMBIOS uuid/);
    assert.match(problem?.where ?? "", /^VM 1106 /);
  });

  it("sees a node that has another number by now, and does not have it destroyed as a copy", () => {
    const at = world(settled(A, 1), KNOWN);
    at.observed.vms.forEach((vm) => (vm.vmid = 1106));
    at.observed.takenVmids = [1106];
    const [problem, ...others] = disagreementsOf(at);
    assert.deepEqual(others, []);
    assert.match(problem?.what ?? "", /was made as VM 1100, which is gone, and VM 1106 has its name/);
    assert.match(problem?.todo ?? "", /give it its number back/);
  });

  it("sees another VM in the place of ours", () => {
    const recorded = world(settled(A, 1), KNOWN);
    recorded.observed.nodes = [];
    recorded.observed.vms.forEach((vm) => (vm.uuid = "uuid-stranger"));
    assert.match(
      found(recorded).join(),
      /is not the VM that we made: its SMBIOS uuid is uuid-stranger, and the record says uuid-/,
    );

    const joined = world([{ slot: 0, spec: A, phase: "unrecorded" }], KNOWN);
    joined.observed.vms.forEach((vm) => (vm.uuid = "uuid-stranger"));
    assert.match(found(joined).join(), /uuid-stranger, and its Node says uuid-/);
  });

  it("sees doubles", () => {
    const at = world(settled(A, 1), KNOWN);
    const [vm] = at.observed.vms;
    assert.ok(vm);
    const copy = { ...at, observed: { ...at.observed, vms: [vm, { ...vm, vmid: 1500 }] } };
    const [double, which, ...others] = found(copy);
    assert.deepEqual([double, others], [`2 VMs have the name ${vm.name}`, []]);
    assert.match(which ?? "", /was made as VM 1100, and another VM has its name/);
    const clone = {
      ...at,
      observed: { ...at.observed, vms: [vm, { ...vm, vmid: 1500, name: nameOf(1, A), slot: 1 }] },
    };
    assert.match(found(clone).join(), /2 VMs have the SMBIOS uuid/);
  });

  it("sees labels that contradict tags", () => {
    const at = world(settled(A), KNOWN);
    at.observed.nodes.forEach((node) => (node.slot = node.slot === 3 ? 2 : node.slot));
    const [problem, ...others] = disagreementsOf(at);
    assert.deepEqual(others, []);
    assert.match(problem?.where ?? "", /Node says slot 2 of pool workers .*VM says slot 3/);
  });

  it("sees a member whose content nobody remembers, unless it is what is wanted", () => {
    const lost = content("v9.9.9");
    const at = world(settled(lost, 1), KNOWN);
    assert.match(found(at).join(), /nobody remembers what generation/);
    assert.deepEqual(inconsistencies("demo", at.observed, at.record, generationOf(lost)), []);
    const half = world([{ slot: 0, spec: lost, phase: "unrecorded", node: false }], KNOWN);
    assert.deepEqual(found(half), [], "a VM that is no member may simply go");
  });

  it("says for every one what, where and what to do", () => {
    const at = world(settled(content("v9.9.9"), 2), KNOWN);
    at.observed.vms.splice(0, 1);
    const all = disagreementsOf(at);
    assert.equal(all.length, 3);
    for (const { what, where, todo } of all) assert.ok(what && where && todo && !what.endsWith("."));
  });
});

function disagreementsOf(at: World) {
  return inconsistencies("demo", at.observed, at.record);
}

function found(at: World): string[] {
  return disagreementsOf(at).map((problem) => problem.what);
}

/** The world after somebody took a VM and its Node away. */
function without(at: World, name: string): World {
  const vms = at.observed.vms.filter((vm) => vm.name !== name);
  return { ...at, observed: { ...at.observed, vms, nodes: at.observed.nodes.filter((node) => node.name !== name) } };
}
