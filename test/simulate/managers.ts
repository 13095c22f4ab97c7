import type { Chance } from "./chance.ts";
import type { Server } from "./server.ts";
import type { VirtualTime } from "./time.ts";

/**
 * How long no controllers work after a leader has ended, in milliseconds. The lease of 15 s has to expire, candidates
 * poll it every 2 s, and the next leader first reads all objects of a large cluster. This is longer than many joins, so
 * that a step that does not check the controllers is noticed.
 */
const [leastPause, mostPause] = [13_000, 45_000];

/**
 * kube-controller-manager and kube-scheduler: only those of the leading server work. When it ends, none work until its
 * lease has expired; this was seen as 25 failed requests, because endpoints still named pods that were gone.
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

  /** @returns the server whose removal from etcd is why no controllers work at this moment */
  get pausedBy(): string | undefined {
    return this.time.elapsed() < this.pausedUntil ? this.taken : undefined;
  }

  /** The first server that serves becomes the leader while there is none. */
  serves(server: Server): void {
    this.leader ??= server;
  }

  /** @param removed its member was taken out of etcd @param others servers that serve */
  ends(server: Server, removed: boolean, others: readonly Server[]): void {
    if (server !== this.leader) return;
    this.leader = others.length > 0 ? this.chance.pick(others) : undefined;
    this.pausedUntil = this.time.elapsed() + this.chance.between(leastPause, mostPause);
    this.taken = removed ? server.node : undefined;
  }

  /** Runs a task `ms` from now, or from when controllers work again. */
  after(ms: number, task: () => void): void {
    this.time.after(Math.max(0, this.pausedUntil - this.time.elapsed()) + ms, task);
  }
}
