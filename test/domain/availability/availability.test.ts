import assert from "node:assert/strict";
import { emptySlots, type SlotNode } from "../../../src/domain/availability/availability.ts";
import type { NodeRecord, SlotPhase } from "../../../src/domain/model/types.ts";

describe("slots in which nobody serves", () => {
  const record = (name: string, phase: SlotPhase, since = "2026-01-05T03:00:00Z"): NodeRecord => ({
    name,
    slot: Number(name[1]),
    generation: "g",
    vmid: 1100,
    uuid: name,
    phase,
    since,
  });
  const node = (name: string, isReady = true, slot: number | undefined = Number(name[1])): SlotNode => ({
    name,
    slot,
    isReady,
  });
  const tables: { title: string; records: NodeRecord[]; nodes: SlotNode[]; empty: string[] }[] = [
    {
      title: "none, when each has a node that is Ready",
      records: [record("w0a", "handedOver")],
      nodes: [node("w0a")],
      empty: [],
    },
    {
      title: "one whose node is not Ready",
      records: [record("w0a", "handedOver")],
      nodes: [node("w0a", false)],
      empty: ["0: w0a"],
    },
    { title: "one whose Node is gone", records: [record("w0a", "handedOver")], nodes: [], empty: ["0: w0a"] },
    {
      title: "not one in which another node serves, recorded or not",
      records: [record("w0a", "handedOver"), record("w1a", "handedOver"), record("w1b", "joined")],
      nodes: [node("w0a", false), node("w0b"), node("w1b")],
      empty: [],
    },
    {
      title: "not one that nobody was given yet",
      records: [record("w0a", "made"), record("w1a", "joined")],
      nodes: [],
      empty: [],
    },
    { title: "not one whose nodes are retired", records: [record("w0a", "retired")], nodes: [], empty: [] },
    {
      title: "not one whose node has no label of its slot, as one that was adopted: its record says which it is",
      records: [record("w0a", "handedOver")],
      nodes: [node("w0a", true, undefined)],
      empty: [],
    },
    {
      title: "by the node that had the slot last, in the order of slots",
      records: [
        record("w2a", "handedOver"),
        record("w1a", "handedOver", "2026-01-05T03:00:00Z"),
        record("w1b", "handedOver", "2026-01-05T04:00:00Z"),
      ],
      nodes: [],
      empty: ["1: w1b", "2: w2a"],
    },
  ];
  for (const { title, records, nodes, empty } of tables)
    it(title, () => {
      for (const some of [records, records.toReversed()])
        assert.deepEqual(
          emptySlots(some, nodes).map(({ slot, owner }) => `${slot}: ${owner.name}`),
          empty,
        );
    });
});
