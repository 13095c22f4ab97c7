/**
 * The time below which no tool can roll a pool, from the durations of the data centre alone. A measured trace must
 * never set it: that would hide the tool's own waiting.
 */
import type { Profile } from "./types.ts";

/** The parts of one node's replacement, in seconds. */
export interface Durations {
  /** Time that a clone holds its storage's lock. */
  lock: number;
  /** Clone until the new node is Ready, the lock included. */
  create: number;
  /** Cordon until the old VM is off. The destroy is off the critical path. */
  retire: number;
  /** A replaced pod until it is Ready. */
  podReady: number;
}

/** A workload whose pods have to move. */
export interface Moved {
  /** Pods that run on the nodes to be replaced. */
  pods: number;
  /** Pods that its PodDisruptionBudget lets miss at once. */
  allowed: number;
}

/** What is rolled, and what may be done at once. */
export interface RollShape {
  agents: number;
  surge: number;
  maxUnavailable: number;
  /** Storages that clone independently of one another. @default 1 */
  storages?: number;
  /** Workloads with a budget. @default none */
  workloads?: readonly Moved[];
  /** Soaks on the critical path, in seconds, as chosen by the strategy. @default 0 */
  soakSeconds?: number;
}

export interface LowerBound {
  /** The bound: the largest term and the soak. */
  seconds: number;
  /** The term that sets it. */
  by: "surge" | "disruption" | "storage" | "budget";
  /** Each term without the soak, in seconds. */
  terms: Record<"surge" | "disruption" | "storage" | "budget", number>;
  /** The share of the soak, in seconds: a policy, not an overhead. */
  soakSeconds: number;
}

/** The durations of a data centre. Drain: its pods end together; nothing holds volumes in the lab. */
export function durationsOf(profile: Profile): Durations {
  const seconds = (...parts: number[]) => parts.reduce((sum, part) => sum + part, 0) / 1000;
  return {
    lock: seconds(profile.cloneLock),
    create: seconds(profile.cloneLock, profile.start, profile.boot, profile.register, profile.ready),
    retire: seconds(profile.podStop, profile.shutdown),
    podReady: seconds(profile.podStart),
  };
}

export function lowerBound(durations: Durations, shape: RollShape): LowerBound {
  const { lock, create, retire, podReady } = durations;
  const { agents, surge, maxUnavailable, storages = 1, workloads = [], soakSeconds = 0 } = shape;
  if (agents === 0) {
    return { seconds: 0, by: "surge", terms: { surge: 0, disruption: 0, storage: 0, budget: 0 }, soakSeconds: 0 };
  }
  const turns = workloads.map(({ pods, allowed }) => Math.ceil(pods / allowed));
  const terms = {
    // A surge place is held from the start of the clone until the old VM is off.
    surge: Math.ceil(agents / surge) * (create + retire),
    // Creates are prefetched, retirements go back to back.
    disruption: create + Math.ceil(agents / maxUnavailable) * retire,
    storage: (agents * lock) / storages + (create - lock) + retire,
    budget: create + Math.max(0, ...turns) * podReady,
  };
  const names = ["surge", "disruption", "storage", "budget"] as const;
  const by = names.reduce((best, name) => (terms[name] > terms[best] ? name : best));
  return { seconds: terms[by] + soakSeconds, by, terms, soakSeconds };
}
