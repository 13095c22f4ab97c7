import { availableSlots, checkAlways, checkDeletion, checkDestroyed, checkTouch, healthyPods } from "./checks.ts";
import { checkFinal } from "./final.ts";
import {
  type BudgetFact,
  type Finding,
  isMemberOf,
  type MemberFact,
  type Model,
  type NodeFact,
  type PodFact,
  type PoolLimits,
  type Violation,
  type VmFact,
} from "./model.ts";

/** Keeps the model, checks it after every event, and records each violation once as long as it lasts. */
export class Watcher {
  private readonly vms = new Map<number, VmFact>();
  private readonly nodes = new Map<string, NodeFact>();
  private readonly pods = new Map<string, PodFact>();
  private readonly budgets = new Map<string, BudgetFact>();
  private readonly armedBudgets = new Set<string>();
  private readonly armedPools = new Set<string>();
  private readonly serverSlots = new Set<string>();
  private members: MemberFact[] = [];
  private limits: Record<string, PoolLimits> = {};
  private readonly kept: Violation[] = [];
  private lasting = new Set<string>();
  /** Uids of pods whose deletion was checked, since it is reported more than once. */
  private readonly judged = new Set<string>();
  private evictions = 0;
  private readonly now: () => Date;

  constructor(now: () => Date = () => new Date()) {
    this.now = now;
  }

  get model(): Model {
    const { vms, nodes, pods, budgets, armedBudgets, members, serverSlots, limits, armedPools } = this;
    return { vms, nodes, pods, budgets, armedBudgets, members, serverSlots, limits, armedPools };
  }

  get violations(): readonly Violation[] {
    return this.kept;
  }

  /** Pods evicted through the eviction API since the last reset. */
  get evicted(): number {
    return this.evictions;
  }

  /** Clears the violations and the count of evictions, but not the model. */
  reset(): void {
    this.kept.length = 0;
    this.evictions = 0;
    this.lasting.clear();
  }

  /** Sets the limits of pools. A pool's availability is checked once all its slots have been available. */
  setLimits(limits: Record<string, PoolLimits>): void {
    this.limits = limits;
    this.armedPools.clear();
    this.check();
  }

  /** A VM was created, changed, started or stopped. `by` is the token that requested it; undefined: the lab itself. */
  vm(kind: string, vm: VmFact, by: string | undefined): void {
    this.vms.set(vm.vmid, vm);
    if (by !== undefined) this.keep(checkTouch(kind, vm, by));
    this.check();
  }

  /** An action inside a VM, which shows in no fact about the VM. */
  touched(kind: string, vmid: number, by: string): void {
    const vm = this.vms.get(vmid);
    if (vm) this.keep(checkTouch(kind, vm, by));
  }

  /** A VM was destroyed. `node` is the Node of its name as the API shows it after that moment. */
  destroyed(vmid: number, by: string | undefined, node: Pick<NodeFact, "uuid"> | undefined): void {
    const vm = this.vms.get(vmid);
    if (!vm) return;
    this.vms.delete(vmid);
    if (by !== undefined) this.keep([...checkTouch("destroyed", vm, by), ...checkDestroyed(vm, node, this.members)]);
    this.check();
  }

  node(node: NodeFact): void {
    this.nodes.set(node.name, node);
    this.check();
  }

  nodeGone(name: string): void {
    this.nodes.delete(name);
    this.check();
  }

  pod(pod: PodFact): void {
    this.pods.set(pod.uid, pod);
    if (pod.deleting) this.judge(pod);
    this.check();
  }

  /** @param pod state in the watch's last event; undefined: it vanished in a gap of the watch */
  podGone(uid: string, pod: PodFact | undefined): void {
    this.pods.delete(uid);
    if (pod) this.judge(pod);
    this.judged.delete(uid);
    this.check();
  }

  budget(budget: BudgetFact): void {
    this.budgets.set(`${budget.namespace}/${budget.name}`, budget);
    this.check();
  }

  budgetGone(namespace: string, name: string): void {
    this.budgets.delete(`${namespace}/${name}`);
    this.armedBudgets.delete(`${namespace}/${name}`);
    this.check();
  }

  setMembers(members: MemberFact[]): void {
    this.members = members;
    this.check();
  }

  /** What is wrong now that a run has ended; not recorded. */
  unfinished(): Finding[] {
    return checkFinal(this.model);
  }

  /** Records what is wrong at the end of a run as violations. */
  finish(): Finding[] {
    const findings = this.unfinished();
    this.keep(findings);
    return findings;
  }

  private judge(pod: PodFact): void {
    if (this.judged.has(pod.uid)) return;
    this.judged.add(pod.uid);
    if (pod.disruption === "EvictionByEvictionAPI") this.evictions += 1;
    this.keep(checkDeletion(pod));
  }

  private check(): void {
    this.arm();
    const findings = checkAlways(this.model);
    const now = new Set(findings.map(keyOf));
    this.keep(findings.filter((finding) => !this.lasting.has(keyOf(finding))));
    this.lasting = now;
  }

  private arm(): void {
    for (const [key, budget] of this.budgets) {
      if (budget.desiredHealthy > 0 && healthyPods(this.model, budget) >= budget.desiredHealthy)
        this.armedBudgets.add(key);
    }
    for (const [pool, { slots }] of Object.entries(this.limits)) {
      if (availableSlots(this.model, pool).size >= slots) this.armedPools.add(pool);
    }
    for (const { name, learner } of this.members) {
      const node = [...this.nodes.values()].find((node) => isMemberOf(name, node.name));
      if (node && !learner && node.slot !== "") this.serverSlots.add(`${node.pool}/${node.slot}`);
    }
  }

  private keep(findings: readonly Finding[]): void {
    const at = this.now().toISOString();
    for (const finding of findings) this.kept.push({ ...finding, at });
  }
}

const keyOf = (finding: Finding) => `${finding.invariant} ${finding.subject}`;
