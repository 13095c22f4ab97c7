import type { Generation, GenerationRecord, PlanKind, PlanVerdict, PoolRecord, PoolSpec } from "../model/types.ts";
import type { SlotState } from "./slot-state.ts";

/** The input of a decision. */
export interface Situation {
  pool: PoolSpec;
  wanted: Generation;
  record: PoolRecord | undefined;
  /** The slots that the configuration asks for, in order, including empty ones. */
  slots: SlotState[];
  now: Date;
}

export interface Decision {
  kind: PlanKind;
  /** The generation that the pool moves to. Undefined: the pool is held. */
  target: Generation | undefined;
  /** Slots that get the target in this run; every other slot keeps its owner. */
  moves: ReadonlySet<number>;
  /** The generation for a slot that does not move and has no owner. */
  base: Generation;
  verdict: PlanVerdict | undefined;
  /** The first nodes have their slots, and no run has watched the whole of their soak: this one watches it anew. */
  watchesAnew?: true;
  /** When the soak that the pool waits for ends. */
  soaksUntil?: Date;
  /** The reasons, for a reader. */
  why: string[];
}

export function stateOf({ record }: Situation, id: string): GenerationRecord | undefined {
  return record?.generations.find((generation) => generation.id === id);
}

export function ownedBy({ slots }: Situation, id: string): SlotState[] {
  return slots.filter((slot) => slot.owner?.line === id);
}
