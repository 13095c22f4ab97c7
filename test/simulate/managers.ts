import type { Chance } from "./chance.ts";
import type { Server } from "./server.ts";
import type { VirtualTime } from "./time.ts";

/**
 * A lease of 15 s, looked at every 2 s by those who would have it, who then read all objects of a large cluster first: longer
 * than many joins, so that a step which does not ask is seen.
 */
const [leastPause, mostPause] = [13_000, 45_000];

/**
 * kube-controller-manager and kube-scheduler: those of one server work. When it ends nobody does until its lease has run
 * out; seen as 25 failed requests, for endpoints still named pods that were gone (issue 6).
 */
export class Managers {
  private leader: Server | undefined;
  private pausedUntil = 0;
  private taken: string | undefined;
  private readonly time: VirtualTime;
  private readonly chance: Chance;

  constructor(time: VirtualTime, chance: Chance) {
    this.time = time;
    this.chance = chance;
  }

  /** @returns the server whose removal from etcd is why nobody works at this moment */
  get pausedBy(): string | undefined {
    return this.time.elapsed() < this.pausedUntil ? this.taken : undefined;
  }

  /** Some server leads, and the first to come has it while nobody does. */
  serves(server: Server): void {
    this.leader ??= server;
  }

  /** @param removed its member was taken out of etcd @param others who serve */
  ends(server: Server, removed: boolean, others: readonly Server[]): void {
    if (server !== this.leader) return;
    this.leader = others.length > 0 ? this.chance.pick(others) : undefined;
    this.pausedUntil = this.time.elapsed() + this.chance.between(leastPause, mostPause);
    this.taken = removed ? server.node : undefined;
  }

  /** Does something when somebody works, `ms` from then on. */
  after(ms: number, task: () => void): void {
    this.time.after(Math.max(0, this.pausedUntil - this.time.elapsed()) + ms, task);
  }
}
