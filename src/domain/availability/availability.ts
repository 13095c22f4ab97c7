import type { NodeRecord } from "../model/types.ts";

/** What a Node tells of where it serves. */
export interface SlotNode {
  name: string;
  /** By its label; undefined when it is not labelled as one of the pool. */
  slot: number | undefined;
  isReady: boolean;
}

/** A slot that was given to a node once, and in which no node is Ready. */
export interface EmptySlot {
  slot: number;
  /** Whom it was given to last. */
  owner: NodeRecord;
}

/**
 * The slots of a pool in which nobody serves, though somebody has: by the last node that each was given to. One that is
 * cordoned serves on.
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
