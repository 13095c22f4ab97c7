import type { NodeRecord } from "../model/types.ts";

/** What a Node says about its slot and its readiness. */
export interface SlotNode {
  name: string;
  /** From its label; undefined when it has no label of the pool. */
  slot: number | undefined;
  isReady: boolean;
}

/** A slot that was handed over to a node before, and in which no node is Ready. */
export interface EmptySlot {
  slot: number;
  /** The node to which it was handed over last. */
  owner: NodeRecord;
}

/**
 * The slots of a pool in which no node serves although one did before, each with the last node that it was handed over
 * to. A cordoned node still serves.
 */
export function emptySlots(records: readonly NodeRecord[], nodes: readonly SlotNode[]): EmptySlot[] {
  const slotOf = new Map(records.map(({ name, slot }) => [name, slot]));
  const served = new Set(nodes.filter((one) => one.isReady).map(({ name, slot }) => slot ?? slotOf.get(name)));
  const owners = new Map<number, NodeRecord>();
  for (const record of records.filter(({ phase }) => phase === "handedOver")) {
    const before = owners.get(record.slot);
    if (before === undefined || before.since < record.since) owners.set(record.slot, record);
  }
  const empty = [...owners].filter(([slot]) => !served.has(slot));
  return empty.map(([slot, owner]) => ({ slot, owner })).toSorted((a, b) => a.slot - b.slot);
}
