/**
 * The time below which no tool can roll a pool, from the durations of the data centre alone. It must never be derived
 * from a measured trace: that would hide the tool's own waiting.
 */
import { learnerEvery } from "./guest/times.ts";
import type { Profile } from "./types.ts";

/** The parts of a node's replacement, in seconds. */
export interface Durations {
  /** Time that a clone holds its storage's lock. */
  lock: number;
  /** Clone until the new node is Ready, the lock included. */
  create: number;
  /** Cordon until the old VM is off. The destroy is not on the critical path. */
  retire: number;
  /** Replacement of a pod until it is Ready. */
  podReady: number;
}

/** A workload whose pods have to move. */
export interface Moved {
  /** Pods that run on the nodes to be replaced. */
  pods: number;
  /** Pods that its PodDisruptionBudget allows to be unavailable at once. */
  allowed: number;
}

/** What is rolled, and the limits of what may be done at once. */
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
  /** The bound: the largest term plus the soak. */
  seconds: number;
  /** The term that sets it. */
  by: "surge" | "disruption" | "storage" | "budget";
  /** Each term without the soak, in seconds. */
  terms: Record<"surge" | "disruption" | "storage" | "budget", number>;
  /** The share of the soak, in seconds: a policy, not an overhead. */
  soakSeconds: number;
}

/** The durations of a data centre. In a drain all pods end together: no volume delays it in the lab. */
export function durationsOf(profile: Profile): Durations {
  return {
    lock: seconds(profile.cloneLock),
    create: seconds(profile.cloneLock, profile.start, profile.boot, profile.register, profile.ready),
    retire: seconds(profile.podStop, profile.shutdown),
    podReady: seconds(profile.podStart),
  };
}

/** @param parts milliseconds of consecutive parts */
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
    // Nodes are created in advance; old nodes are decommissioned back to back.
    disruption: create + Math.ceil(agents / maxUnavailable) * retire,
    storage: (agents * lock) / storages + (create - lock) + retire,
    budget: create + Math.max(0, ...turns) * podReady,
  };
  const names = ["surge", "disruption", "storage", "budget"] as const;
  const by = names.reduce((best, name) => (terms[name] > terms[best] ? name : best));
  return { seconds: terms[by] + soakSeconds, by, terms, soakSeconds };
}

/** The parts of a server's replacement, in seconds. */
export interface ServerDurations {
  /** Clone until the guest answers. Only the first server's boot counts: the others boot ahead, with RKE2 held back. */
  boot: number;
  /** Join data until the new member is a voter and its Node is Ready. */
  join: number;
  /** Cordon until the old VM is off; its pods and its member are removed before that. */
  retire: number;
  /** From one change of etcd's members to the next, however fast the rest is. */
  apart: number;
}

/** Milliseconds for which etcd requires all voters connected before it adds a member (`HealthInterval`, server.go). */
const healthInterval = 5000;

/**
 * The durations of a data centre for servers. Each is imposed by the lab itself: its profile, the times of its guests
 * (guest/times.ts), and etcd's own constant. The time of the real programs (etcd, the API server, their end) is not
 * counted, and neither is any rule of ours.
 * @param pods number of pods that leave each server; the lab's workload does not run on servers. @default 0
 */
export function serverDurationsOf(profile: Profile, pods = 0): ServerDurations {
  return {
    boot: seconds(profile.cloneLock, profile.start, profile.boot),
    // etcd promotes the learner while RKE2 starts: the longer of the two counts. Ready comes after both.
    join: seconds(Math.max(learnerEvery, profile.register), profile.ready),
    // The pods end together, then the guest shuts down. The registration address releases a server at once when its
    // connections happen to be quiet, and in one to three seconds when they are not.
    retire: seconds(pods > 0 ? profile.podStop : 0, profile.shutdown),
    apart: seconds(healthInterval),
  };
}

/**
 * The time in seconds that servers take sequentially, without any overlap: boot of the first, then for each server its
 * join, etcd's interval before its members may change, and the decommissioning of its predecessor. It begins with the
 * clone of the first server and ends when the last VM is off.
 */
export function serialBound({ boot, join, retire, apart }: ServerDurations, servers: number): number {
  return servers === 0 ? 0 : boot + servers * (join + apart + retire);
}

/**
 * The time in seconds below which no tool can come: as `serialBound`, but etcd's interval passes while a server joins
 * and its predecessor is decommissioned, and counts only when it is longer than both together.
 */
export function serialFloor({ boot, join, retire, apart }: ServerDurations, servers: number): number {
  if (servers === 0) return 0;
  return boot + (servers - 1) * Math.max(join + retire, apart) + join + retire;
}
