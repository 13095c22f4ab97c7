import type { Blow } from "./scenario.ts";

/** How much befalls a story. */
export interface Severity {
  /** Fewest and most acts of an update of agents alone, and of any other update. */
  acts: { agents: [number, number]; others: [number, number] };
  /** How many of 1 acts have blows, and the most that one has. */
  blows: { share: number; most: number };
  /** How many of 1 acts are killed. */
  kill: number;
  /** Numbers of environment faults to draw from: of a whole story, and of an act. */
  storms: { standing: readonly number[]; passing: readonly number[] };
  /** How many of 1 acts of edits have a blow, and what else than a power cut befalls them. */
  edits: { blows: number; more?: { whats: readonly Blow["what"][]; aims: readonly number[] } };
}

export const usualSeverity: Severity = {
  acts: { agents: [1, 3], others: [1, 2] },
  blows: { share: 0.6, most: 3 },
  kill: 0.5,
  storms: { standing: [0, 0, 0, 1, 1, 2], passing: [0, 0, 1, 1, 2] },
  edits: { blows: 0.3 },
};

/** Several faults at once: such stories find what single ones do not, and are longer. */
export const heavySeverity: Severity = {
  acts: { agents: [3, 5], others: [3, 5] },
  blows: { share: 0.85, most: 4 },
  kill: 0.8,
  storms: { standing: [0, 1, 1, 2], passing: [1, 2, 2, 3] },
  edits: { blows: 0.7, more: { whats: ["power cut", "hang", "flap", "move"], aims: [0, 0, 0.03] } },
};
