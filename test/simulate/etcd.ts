import type { Chance } from "./chance.ts";
import type { Faults } from "./faults.ts";
import type { VirtualTime } from "./time.ts";

/** Identity of a member: its server's Node, its address, and the SMBIOS uuid of its VM. */
export interface Identity {
  node: string;
  address: string;
  uuid: string;
}

export interface Member extends Identity {
  learner: boolean;
  /** Whether it has ever started: before that, etcd does not know its name. */
  started: boolean;
  /** Since when it runs and is connected; undefined while it does not. */
  upSince: number | undefined;
  /** When it was last connected before that; undefined while it is, or never was. */
  upUntil?: number | undefined;
  /** When it was added; a learner has caught up with the leader at `readyAt`, unless it is down then. */
  since: number;
  readyAt: number;
}

/** Waiting times of RKE2 and etcd, in milliseconds (k3s pkg/etcd/etcd.go, etcd server.go). */
const promotionEvery = 15_000;
const stalledAfter = 300_000;
const healthInterval = 5_000;

/** The members of etcd, and the changes that etcd refuses. This is the true state: it knows no Nodes and no API. */
export class Etcd {
  members: readonly Member[] = [];
  /** Until when no write succeeds, because the leader was lost. */
  electionUntil = 0;
  /** Until when a learner makes no progress. */
  stalledUntil = 0;
  /** Nodes whose learner made no progress for a while. */
  readonly stalledNodes = new Set<string>();
  private leader = "";
  private ticks = false;
  private readonly listeners: (() => void)[] = [];
  private readonly time: VirtualTime;
  private readonly chance: Chance;
  private readonly faults: Faults;

  constructor(time: VirtualTime, chance: Chance, faults: Faults) {
    this.time = time;
    this.chance = chance;
    this.faults = faults;
  }

  onChange(listener: () => void): void {
    this.listeners.push(listener);
  }

  voters(): Member[] {
    return this.members.filter(({ learner }) => !learner);
  }

  learners(): Member[] {
    return this.members.filter(({ learner }) => learner);
  }

  member(uuid: string): Member | undefined {
    return this.members.find((one) => one.uuid === uuid);
  }

  hasQuorum(): boolean {
    const voters = this.voters();
    return voters.filter(isUp).length > voters.length / 2;
  }

  /** Adds a voter that exists before the story begins. */
  plant(identity: Identity): void {
    const now = this.time.elapsed();
    this.members = [
      ...this.members,
      { ...identity, learner: false, started: true, upSince: now, since: now, readyAt: now },
    ];
    this.leader ||= identity.uuid;
  }

  /** Adds a learner. @returns etcd's refusal */
  add(identity: Identity): string | undefined {
    const now = this.time.elapsed();
    if (!this.hasQuorum() || now < this.electionUntil) return "etcdserver: request timed out";
    if (this.members.some(({ node }) => node === identity.node)) return "duplicate node name found";
    if (this.learners().length > 0) return "etcdserver: too many learner members in cluster";
    if (this.voters().some(({ upSince }) => upSince === undefined || now - upSince < healthInterval))
      return "etcdserver: unhealthy cluster";
    const stall = this.faults.stall();
    if (stall > 0) this.stalledNodes.add(identity.node);
    this.stalledUntil = Math.max(this.stalledUntil, now + stall);
    const readyAt = now + this.chance.between(1000, 6000) + stall;
    const member = { ...identity, learner: true, started: false, upSince: undefined, since: now, readyAt };
    this.members = [...this.members, member];
    this.tick();
    this.changed();
    return undefined;
  }

  /** Removes a member. @param will called right before a member is removed @returns etcd's refusal */
  remove(uuid: string, will: () => void = () => undefined): string | undefined {
    const member = this.member(uuid);
    if (member === undefined) return undefined;
    if (!this.hasQuorum() || this.time.elapsed() < this.electionUntil) return "etcdserver: request timed out";
    if (this.members.length === 1) return "refusing to remove the last member of the etcd cluster";
    const rest = this.voters().filter((one) => one !== member);
    if (rest.filter(isUp).length <= rest.length / 2)
      return "etcdserver: re-configuration failed due to not enough started members";
    will();
    this.lost(uuid);
    this.members = this.members.filter((one) => one !== member);
    this.changed();
    return undefined;
  }

  /** The process of a member starts. @returns false when it is not, or no longer, a member */
  start(uuid: string): boolean {
    const member = this.member(uuid);
    if (member === undefined) return false;
    if (isUp(member)) return true;
    const now = this.time.elapsed();
    const { readyAt, upUntil = now } = member;
    const isBehind = readyAt > upUntil;
    this.put({
      ...member,
      started: true,
      upSince: now,
      upUntil: undefined,
      readyAt: isBehind ? readyAt + now - upUntil : readyAt,
    });
    return true;
  }

  /** The process of a member has ended, or the other members cannot reach it. */
  stop(uuid: string): void {
    const member = this.member(uuid);
    if (!member || !isUp(member)) return;
    this.put({ ...member, upSince: undefined, upUntil: this.time.elapsed() });
    this.lost(uuid);
  }

  /** Hands the leadership over, without an election. */
  yields(uuid: string): void {
    if (this.leader === uuid) this.leader = this.next(uuid);
  }

  private lost(uuid: string): void {
    if (this.leader !== uuid) return;
    this.leader = this.next(uuid);
    this.electionUntil = this.time.elapsed() + this.chance.between(1000, 2000);
    // A new leader does not know how far a learner has come that is down.
    const readyAt = (learner: Member) => Math.max(learner.readyAt, this.electionUntil);
    this.members = this.members.map((one) => (one.learner && !isUp(one) ? { ...one, readyAt: readyAt(one) } : one));
  }

  private next(but: string): string {
    return this.voters().find((one) => isUp(one) && one.uuid !== but)?.uuid ?? but;
  }

  private put(member: Member): void {
    this.members = this.members.map((one) => (one.uuid === member.uuid ? member : one));
    this.changed();
  }

  /**
   * The leader checks the learners: it promotes those that caught up and removes those that have stalled. Whether one
   * that has caught up is still up does not matter: RKE2 asks for its promotion first, and etcd looks at its log alone
   * (k3s pkg/etcd/etcd.go, trackLearnerProgress; etcd server.go, isLearnerReady).
   */
  private tick(): void {
    if (this.ticks || this.learners().length === 0) return;
    this.ticks = true;
    const now = this.time.elapsed();
    this.time.after(promotionEvery - (now % promotionEvery), () => {
      this.ticks = false;
      if (this.hasQuorum()) for (const learner of this.learners()) this.judge(learner);
      this.tick();
    });
  }

  private judge(learner: Member): void {
    const now = this.time.elapsed();
    const heard = isUp(learner) ? now : learner.upUntil;
    if (heard !== undefined && heard >= learner.readyAt) this.put({ ...learner, learner: false });
    else if (now - learner.since > stalledAfter) this.remove(learner.uuid);
  }

  private changed(): void {
    for (const listener of this.listeners) listener();
  }
}

/** RKE2 names a member after its Node, followed by eight hex digits of its own. */
export const memberName = ({ node, uuid }: Pick<Identity, "node" | "uuid">): string => `${node}-${uuid.slice(0, 8)}`;

export function isUp({ upSince }: Member): boolean {
  return upSince !== undefined;
}
