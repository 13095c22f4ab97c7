import type { Vm } from "./data-centre.ts";
import { isUp, type Etcd, type Member } from "./etcd.ts";
import type { Story } from "./story.ts";

/** Watches the promises about etcd, based on the true state and not on what an API reports. */
export class EtcdWatcher {
  /** Fewest servers of all configurations since the story began. */
  fewest = 0;
  /** The whole site is off: nothing that a step could do takes the quorum. */
  isOff = false;
  private readonly story: Story;
  private readonly elapsed: () => number;
  /** A member that has been down for less than this may not have been noticed by any step, in milliseconds. */
  private readonly reaction: () => number;
  private readonly retired = new Set<string>();
  /** Servers that were told to make a cluster in this story, by the uuids of their VMs. */
  private readonly founders = new Map<string, string>();
  /** Members that somebody removes by deleting their Nodes: a step that waits for one may tell it to join again. */
  private readonly deletedByHand = new Map<string, { slot: string; at: number }>();
  private runBegan = 0;
  /** Voters that were unhealthy when they were removed: etcd adds no member while such a voter is there. */
  private given = 0;
  private readonly downSince = new Map<string, number>();
  private etcd: Etcd | undefined;

  constructor(story: Story, elapsed: () => number, reaction: () => number) {
    this.story = story;
    this.reaction = reaction;
    this.elapsed = elapsed;
  }

  attach(etcd: Etcd): void {
    this.etcd = etcd;
  }

  changed(): void {
    const { story, fewest, etcd } = this;
    if (etcd === undefined) return;
    for (const member of etcd.members) {
      if (isUp(member)) this.downSince.delete(member.uuid);
      else if (!this.downSince.has(member.uuid)) this.downSince.set(member.uuid, this.elapsed());
    }
    const [voters, learners] = [etcd.voters(), etcd.learners()];
    story.tell("etcd", () => etcd.members.map(inWords).join(", "));
    // The founder is the only voter for a while, and a fault may turn it off.
    const [only] = voters;
    if (!etcd.hasQuorum() && !this.isOff && !(voters.length === 1 && only && this.founders.has(only.uuid)))
      story.wrong(`etcd has no quorum: ${voters.map(inWords).join(", ")}`);
    if (learners.length > 1) story.wrong(`two learners at once: ${learners.map(({ node }) => node).join(", ")}`);
    const slots = new Set(voters.map(({ node }) => slotOf(node)));
    if (slots.size >= fewest) this.given = 0;
    if (voters.length < fewest - this.given - this.lostByHand(0).length)
      story.wrong(`${voters.length} voters, and there were ${fewest} servers before`);
  }

  /** A member that was removed must not come back, and its disk must not be used again. */
  joined(node: string, uuid: string): void {
    if (this.retired.has(uuid)) this.story.wrong(`${node} was taken out of etcd and comes back`);
  }

  /** @param isWell whether its Node is Ready and its API server serves */
  removes({ uuid, learner, upSince }: Member, isWell: boolean): void {
    this.retired.add(uuid);
    if (!learner && (upSince === undefined || !isWell)) this.given += 1;
  }

  /** A machine is told to go off: a learner may get its vote after that, and nobody but an operator takes it out then. */
  goesOff(node: string, uuid: string, by: string): void {
    const member = this.etcd?.member(uuid);
    if (member?.learner === true && this.elapsed() - member.since > this.reaction())
      this.story.wrong(`${by} turns ${node} off, which is a learner of etcd`);
  }

  /** A guest is given the join data of a server, for the first time or again. */
  toldToJoin(node: string, uuid: string, by: string): void {
    if (this.retired.has(uuid) && !this.deletedByHand.has(uuid))
      this.story.wrong(`${by} tells ${node} to join, which was taken out of etcd`);
    const others = this.etcd?.members.filter((one) => one.uuid !== uuid) ?? [];
    if (this.etcd?.member(uuid)) return;
    const learner = others.find((one) => one.learner && this.elapsed() - one.since > this.reaction());
    if (learner) this.story.wrong(`${by} tells ${node} to join while ${learner.node} is a learner`);
    const dead = this.deadAmong(others);
    if (dead) this.story.wrong(`${by} tells ${node} to join while the voter ${dead.node} is dead`);
  }

  /**
   * A guest is given join data that names no server: its RKE2 makes a cluster.
   * @param hasServed whether it has made one, and has said so
   */
  toldToFound({ name, uuid }: Pick<Vm, "name" | "uuid">, hasServed: boolean, by: string): void {
    const other = this.founderBeside(uuid);
    if (other !== undefined) this.story.wrong(`${by} tells ${name} to make a second cluster beside ${other}`);
    if (hasServed) this.story.wrong(`${by} tells ${name} to make a cluster, which it has made`);
    this.founders.set(uuid, name);
  }

  /** The RKE2 of a server makes a cluster. */
  founds(node: string, uuid: string): void {
    const other = this.founderBeside(uuid);
    if (other !== undefined) this.story.wrong(`${node} makes a second cluster beside ${other}`);
    this.founders.set(uuid, node);
  }

  /** A VM is gone, and a cluster that it may have made with it. */
  destroyed(uuid: string): void {
    this.founders.delete(uuid);
  }

  /** A run says that it is done: each of its servers is a member, unless somebody has deleted its Node. */
  runDone(servers: readonly string[]): void {
    const voters = new Set(this.etcd?.voters().map(({ node }) => node));
    const byHand = [...this.deletedByHand.values()].map(({ slot }) => slot);
    for (const name of servers)
      if (!voters.has(name) && !byHand.some((slot) => name.startsWith(slot)))
        this.story.wrong(`a run is done, and ${name} is no voter of etcd`);
  }

  private founderBeside(uuid: string): string | undefined {
    const others = [...this.founders].filter(([one]) => one !== uuid).map(([, name]) => name);
    return others[0] ?? this.etcd?.members.find((one) => one.uuid !== uuid)?.node;
  }

  /**
   * RKE2 is asked to remove a member: a healthy member may leave only while all other members are healthy.
   * @param isReady whether its Node is: one that is not counts as unhealthy, and lets nobody else in
   */
  removalAsked(node: string, by: string, isReady: boolean): void {
    const departing = this.etcd?.members.find((one) => one.node === node);
    if (departing === undefined || departing.learner || !isUp(departing)) return;
    const others = this.etcd?.members.filter((one) => one !== departing) ?? [];
    const dead = this.deadAmong(others);
    if (dead) this.story.wrong(`${by} takes ${node} out of etcd while the voter ${dead.node} is dead`);
    const lost = this.lostByHand(this.runBegan).filter((slot) => !node.startsWith(slot));
    // Servers of slots that are given up stand in for those.
    const left = others.filter((one) => !one.learner && isUp(one)).length;
    if (isReady && by.startsWith("handover-") && lost.length > 0 && left < this.fewest)
      this.story.wrong(`${by} takes ${node} out of etcd while nobody has the slot ${lost.join(", ")}`);
    const learner = others.find((one) => one.learner && this.elapsed() - one.since > this.reaction());
    if (learner) this.story.wrong(`${by} takes ${node} out of etcd while ${learner.node} is a learner`);
  }

  runBegins(): void {
    this.runBegan = this.elapsed();
  }

  /** Somebody deletes the Node of a server: RKE2 takes it out of etcd. */
  nodeDeletedByHand(node: string, uuid: string): void {
    this.deletedByHand.set(uuid, { slot: slotOf(node), at: this.elapsed() });
  }

  /** Wanted slots whose servers somebody has taken out of etcd since then, and that have no other voter. */
  lostByHand(since: number): string[] {
    const isWanted = (slot: string) => Number(/-(\d+)-$/.exec(slot)?.[1]) < this.fewest;
    const lost = [...this.deletedByHand.values()].filter(
      ({ at, slot }) => at >= since && this.elapsed() - at > 0 && isWanted(slot),
    );
    const slots = new Set(lost.map(({ slot }) => slot));
    return [...slots].filter((slot) => !(this.etcd?.voters() ?? []).some(({ node }) => node.startsWith(slot)));
  }

  private deadAmong(members: readonly Member[]): Member | undefined {
    const isDead = ({ uuid }: Member) => this.elapsed() - (this.downSince.get(uuid) ?? Infinity) > this.reaction();
    return members.find((one) => !one.learner && !isUp(one) && isDead(one));
  }
}

/** What the names of all servers of a slot begin with. */
const slotOf = (node: string): string => node.replace(/[^-]+$/, "");

function inWords(member: Member): string {
  return `${member.node} (${member.learner ? "learner" : "voter"}${isUp(member) ? "" : ", down"})`;
}
