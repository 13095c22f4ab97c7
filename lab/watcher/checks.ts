/** The invariants of a rollout as pure checks over the model. */
import {
  type BudgetFact,
  type Finding,
  isMemberOf,
  type Model,
  type NodeFact,
  type PodFact,
  tagOf,
  type VmFact,
} from "./model.ts";

/** Everything that must hold after every event. */
export function checkAlways(model: Model): Finding[] {
  return [
    ...checkBudgets(model),
    ...checkMembers(model),
    ...checkVersions(model),
    ...checkAvailability(model),
    ...checkSurge(model),
  ];
}

const matches = (selector: Readonly<Record<string, string>>, labels: Readonly<Record<string, string>>) =>
  Object.entries(selector).every(([key, value]) => labels[key] === value);

/**
 * Names of VMs without power: what the API reports of their Nodes and pods is outdated. A clone left by a killed plugin
 * is off and may have the name of a running node, which is another VM.
 */
const withoutPower = (model: Pick<Model, "vms">) => {
  const vms = [...model.vms.values()];
  const running = new Set(vms.filter((vm) => vm.running).map((vm) => vm.name));
  return new Set(vms.map((vm) => vm.name).filter((name) => !running.has(name)));
};

/** Pods that count for a budget, as the disruption controller counts them: ready and not being deleted. */
export function healthyPods(model: Pick<Model, "pods" | "vms">, budget: BudgetFact): number {
  const off = withoutPower(model);
  return podsUnder(model, budget).filter((pod) => whyUnhealthy(pod, off) === undefined).length;
}

function podsUnder(model: Pick<Model, "pods">, budget: BudgetFact): PodFact[] {
  return [...model.pods.values()].filter(
    (pod) => pod.namespace === budget.namespace && matches(budget.selector, pod.labels),
  );
}

function whyUnhealthy(pod: PodFact, off: ReadonlySet<string>): string | undefined {
  if (off.has(pod.node)) return "its VM is off";
  if (pod.ended) return "it has ended";
  if (pod.deleting) return `it is being deleted (${pod.disruption || "plainly"})`;
  return pod.ready ? undefined : "it is not ready";
}

function unhealthyPods(model: Pick<Model, "pods" | "vms">, budget: BudgetFact): string[] {
  const off = withoutPower(model);
  return podsUnder(model, budget).flatMap((pod) => {
    const why = whyUnhealthy(pod, off);
    return why === undefined ? [] : [`${pod.name} on ${pod.node || "no node"}: ${why}`];
  });
}

export function checkBudgets(model: Model): Finding[] {
  const findings: Finding[] = [];
  for (const [key, budget] of model.budgets) {
    const healthy = healthyPods(model, budget);
    if (!model.armedBudgets.has(key) || healthy >= budget.desiredHealthy) continue;
    findings.push({
      invariant: "budget",
      subject: key,
      evidence: `${healthy} healthy pods, the budget demands ${budget.desiredHealthy}; ${unhealthyPods(model, budget).join("; ")}`,
    });
  }
  return findings;
}

export function checkMembers(model: Model): Finding[] {
  const voters = model.members.filter((member) => !member.learner);
  const learners = model.members.filter((member) => member.learner);
  const healthy = voters.filter((member) => member.healthy);
  const quorum = Math.floor(voters.length / 2) + 1;
  const findings: Finding[] = [];
  const names = (members: readonly { name: string }[]) => members.map(({ name }) => name).join(", ");
  if (voters.length > 0 && healthy.length < quorum) {
    findings.push({
      invariant: "quorum",
      subject: "etcd",
      evidence: `${healthy.length} of ${voters.length} voters are healthy (${names(healthy)}), quorum is ${quorum}`,
    });
  }
  if (learners.length > 1) {
    findings.push({ invariant: "one-learner", subject: "etcd", evidence: `learners at once: ${names(learners)}` });
  }
  // The list is empty before the first server and after the lab has lost its last one: the quorum check covers that.
  if (voters.length > 0 && voters.length < model.serverSlots.size) {
    findings.push({
      invariant: "members-kept",
      subject: "etcd",
      evidence: `voters ${names(voters)} for ${model.serverSlots.size} server slots`,
    });
  }
  return findings;
}

/** Major, minor and patch of a version such as `v1.34.4+rke2r1`. */
const versionNumbers = (version: string) => /(\d+)\.(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number) ?? [];

/** Negative when `a` is older than `b`. Only Kubernetes' own version decides the skew. */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [versionNumbers(a), versionNumbers(b)];
  for (const [index, number] of left.entries()) {
    const difference = number - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

export function checkVersions(model: Model): Finding[] {
  const nodes = [...model.nodes.values()].filter((node) => node.kubelet !== "");
  const servers = nodes.filter((node) => node.server);
  const oldest = servers.reduce<NodeFact | undefined>(
    (best, node) => (best === undefined || compareVersions(node.kubelet, best.kubelet) < 0 ? node : best),
    undefined,
  );
  if (oldest === undefined) return [];
  return nodes
    .filter((node) => !node.server && compareVersions(node.kubelet, oldest.kubelet) > 0)
    .map((node) => ({
      invariant: "version-order" as const,
      subject: node.name,
      evidence: `${node.kubelet} is newer than server ${oldest.name} (${oldest.kubelet})`,
    }));
}

/** Slots of a pool with a node that takes pods: ready, not cordoned, its VM running. */
export function availableSlots(model: Pick<Model, "nodes" | "vms">, pool: string): Set<string> {
  const off = withoutPower(model);
  const serves = (node: NodeFact) => node.pool === pool && node.ready && node.schedulable && !off.has(node.name);
  return new Set([...model.nodes.values()].filter(serves).map((node) => node.slot));
}

export function checkAvailability(model: Model): Finding[] {
  const findings: Finding[] = [];
  for (const [pool, { slots, maxUnavailable }] of Object.entries(model.limits)) {
    if (!model.armedPools.has(pool)) continue;
    const available = availableSlots(model, pool).size;
    if (available >= slots - maxUnavailable) continue;
    findings.push({
      invariant: "availability",
      subject: pool,
      evidence: `${available} of ${slots} slots have an available node, at most ${maxUnavailable} may lack one`,
    });
  }
  return findings;
}

const poolVms = (model: Model, pool: string) =>
  [...model.vms.values()].filter((vm) => !vm.seeded && tagOf(vm, "eg-pool-") === pool);

export function checkSurge(model: Model): Finding[] {
  const findings: Finding[] = [];
  for (const [pool, { slots, surge, ahead = 0 }] of Object.entries(model.limits)) {
    const running = poolVms(model, pool).filter((vm) => vm.running);
    const nodes = running.filter((vm) => model.nodes.has(vm.name));
    if (running.length <= slots + surge + ahead && nodes.length <= slots + surge) continue;
    findings.push({
      invariant: "surge",
      subject: pool,
      evidence: `${running.length} VMs run, ${nodes.length} of them as nodes, for ${slots} slots, surge ${surge} and ${ahead} ahead: ${running.map((vm) => vm.name).join(", ")}`,
    });
  }
  return findings;
}

/** Owners whose controllers replace or end pods by deleting them: no budget applies to these deletions. */
const exemptOwners = new Set(["DaemonSet", "Job", "Node"]);

/** Checks a pod that was deleted, or whose deletion began. */
export function checkDeletion(pod: PodFact): Finding[] {
  if (exemptOwners.has(pod.owner) || pod.ended || pod.disruption === "EvictionByEvictionAPI") return [];
  const how = pod.disruption === "" ? "a plain delete" : pod.disruption;
  return [
    {
      invariant: "eviction-only",
      subject: `${pod.namespace}/${pod.name}`,
      evidence: `on ${pod.node || "no node"}, deleted by ${how} and not through the eviction API`,
    },
  ];
}

/** Checks that a token other than the lab's own has not changed, started, stopped or destroyed a VM of the lab. */
export function checkTouch(kind: string, vm: VmFact, token: string): Finding[] {
  if (!vm.seeded) return [];
  return [
    {
      invariant: "owned-only",
      subject: `VM ${vm.vmid}`,
      evidence: `${kind} by ${token}, but ${vm.name} is not its own`,
    },
  ];
}

/** Checks that the cluster does not depend on a VM that was destroyed. */
export function checkDestroyed(
  vm: VmFact,
  node: Pick<NodeFact, "uuid"> | undefined,
  members: Model["members"],
): Finding[] {
  const findings: Finding[] = [];
  if (node?.uuid.toLowerCase() === vm.uuid.toLowerCase()) {
    findings.push({
      invariant: "member-destroyed",
      subject: vm.name,
      evidence: `VM ${vm.vmid} was destroyed, its Node exists`,
    });
  }
  const member = members.find(({ name }) => isMemberOf(name, vm.name));
  if (member) {
    findings.push({
      invariant: "member-destroyed",
      subject: vm.name,
      evidence: `VM ${vm.vmid} was destroyed as etcd member ${member.name}`,
    });
  }
  return findings;
}
