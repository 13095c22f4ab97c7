/**
 * The time below which no tool can roll a pool, from the durations of the data centre alone. A measured trace must
 * never set it: that would hide the tool's own waiting.
 */
import { learnerEvery } from "./guest/times.ts";
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
  return {
    lock: seconds(profile.cloneLock),
    create: seconds(profile.cloneLock, profile.start, profile.boot, profile.register, profile.ready),
    retire: seconds(profile.podStop, profile.shutdown),
    podReady: seconds(profile.podStart),
  };
}

/** @param parts milliseconds, one after the other */
function seconds(...parts: number[]): number {
  return parts.reduce((sum, part) => sum + part, 0) / 1000;
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

/** The parts of one server's replacement, in seconds. */
export interface ServerDurations {
  /** Clone until the guest answers. Only the first server is waited for: the others boot ahead, with RKE2 held back. */
  boot: number;
  /** Join data until the new member is a voter and its Node is Ready. */
  join: number;
  /** Cordon until the old VM is off; its pods and its member have gone before. */
  retire: number;
  /** From one change of etcd's members to the next, however quick the rest is. */
  apart: number;
}

/** Milliseconds for which etcd wants every voter connected before it adds a member (`HealthInterval`, server.go). */
const healthInterval = 5000;

/**
 * The durations of a data centre for servers. Each is one that the lab itself imposes: its profile, what its guests do
 * (guest/times.ts), and etcd's own constant. Real programs (etcd, the API server, the end of both) take what they take:
 * that is not counted, and neither is any rule of ours.
 * @param pods that leave each server; the lab's workload keeps off servers. @default 0
 */
export function serverDurationsOf(profile: Profile, pods = 0): ServerDurations {
  return {
    boot: seconds(profile.cloneLock, profile.start, profile.boot),
    // etcd promotes the learner while RKE2 starts: it counts when it takes longer. Ready comes after both.
    join: seconds(Math.max(learnerEvery, profile.register), profile.ready),
    // Its pods end together, then its guest shuts down. The registration address lets go of it at once when its connections
    // happen to be quiet, and in a second or three when they are not.
    retire: seconds(pods > 0 ? profile.podStop : 0, profile.shutdown),
    apart: seconds(healthInterval),
  };
}

/**
 * The time in seconds that servers take one after the other, each part after the part before it: boot of the first, then for
 * each the join, etcd's interval before its members may change, and the retirement of its predecessor. It begins with the
 * clone of the first and ends when the last VM is off.
 */
export function serialBound({ boot, join, retire, apart }: ServerDurations, servers: number): number {
  return servers === 0 ? 0 : boot + servers * (join + apart + retire);
}

/**
 * The time in seconds below which no tool can come: the same where etcd's interval passes while a server joins and its
 * predecessor goes, as it does unless both are quicker.
 */
export function serialFloor({ boot, join, retire, apart }: ServerDurations, servers: number): number {
  if (servers === 0) return 0;
  return boot + (servers - 1) * Math.max(join + retire, apart) + join + retire;
}
