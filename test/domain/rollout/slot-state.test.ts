import assert from "node:assert/strict";
import { slotStates, standsIn } from "../../../src/domain/rollout/slot-state.ts";
import type { ObservedNode, ObservedVm, NodeRecord, Role, SlotPhase } from "../../../src/domain/model/types.ts";

const place = { pool: "workers", slot: 0 };
const nameOf = (generation: string) => `demo-workers-0-${generation}`;

const vm = (generation: string, uuid: string, running = true): ObservedVm => {
  const name = nameOf(generation);
  return { ...place, name, generation, vmid: 1100, host: "pve1", uuid, running };
};
const node = (generation: string, uuid: string, ready = true): ObservedNode => {
  const name = nameOf(generation);
  const kubelet = "v1.34.4+rke2r1";
  return { ...place, name, generation, uuid, ready, schedulable: true, kubelet, role: "agent" };
};
const record = (generation: string, uuid: string, phase: SlotPhase): NodeRecord => {
  const name = nameOf(generation);
  return { slot: 0, name, generation, vmid: 1100, uuid, phase, since: "2026-11-01T00:00:00Z" };
};
const stateOf = (vms: ObservedVm[], nodes: ObservedNode[], records: NodeRecord[]) => {
  const observed = { vms, nodes, takenVmids: [] };
  const state = slotStates(observed, { pool: "workers", generations: [], nodes: records }).get(0);
  assert.ok(state);
  return state;
};

describe("the record of a name that has another VM by now", () => {
  for (const [phase, uuid, counts] of [
    ["retired", "old", false],
    ["retired", "new", true],
    ["handedOver", "old", true],
  ] as const)
    it(`${counts ? "counts" : "does not count"} when it is ${phase} and has the uuid of the ${uuid} VM`, () => {
      const { members } = stateOf([vm("a", "new")], [], [record("a", uuid, phase)]);
      assert.deepEqual(
        members.map((member) => member.record?.phase),
        [counts ? phase : undefined],
      );
    });
});

describe("an incomplete node that may be the only one of its slot with pods", () => {
  const cases: [what: string, role: Role, owner: "none" | "well" | "ill", own: [boolean, boolean], stands: boolean][] =
    [
      ["an agent that is Ready, without an owner", "agent", "none", [true, true], true],
      ["an agent that is not Ready yet, without an owner", "agent", "none", [true, false], true],
      ["an agent that is off, without an owner", "agent", "none", [false, false], false],
      ["a server that is Ready, without an owner", "server", "none", [true, true], true],
      ["a server that is not Ready, without an owner", "server", "none", [true, false], false],
      ["an agent that runs beside an owner that is well", "agent", "well", [true, true], false],
      ["an agent that runs beside an owner that is down", "agent", "ill", [true, false], true],
      ["a server that runs beside an owner that is down", "server", "ill", [true, false], true],
      ["an agent that is off beside an owner that is down", "agent", "ill", [false, true], false],
    ];
  for (const [what, role, owner, [running, ready], stands] of cases)
    it(`is ${stands ? "" : "not "}${what}`, () => {
      const isOwned = owner !== "none";
      const state = stateOf(
        [vm("b", "u2", running), ...(isOwned ? [vm("a", "u1")] : [])],
        [node("b", "u2", ready), ...(isOwned ? [node("a", "u1", owner === "well")] : [])],
        [record("b", "u2", "made"), ...(isOwned ? [record("a", "u1", "handedOver")] : [])],
      );
      const own = state.members.find(({ name }) => name === nameOf("b"));
      assert.ok(own);
      assert.equal(state.owner?.name, isOwned ? nameOf("a") : undefined);
      assert.equal(standsIn(role, own, state), stands);
    });
});
