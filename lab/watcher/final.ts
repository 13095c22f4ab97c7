/** What must hold when a run has ended. The test or the demo requests the check: only they know that it has ended. */
import { type Finding, type Model, tagOf, type VmFact } from "./model.ts";

export function checkFinal(model: Model): Finding[] {
  return [...leftCordons(model), ...orphans(model), ...slots(model)];
}

function leftCordons(model: Model): Finding[] {
  return [...model.nodes.values()]
    .filter((node) => !node.schedulable)
    .map((node) => ({
      invariant: "cordon-left",
      subject: node.name,
      evidence: "unschedulable after the end of the run",
    }));
}

const ownVms = (model: Model): VmFact[] =>
  [...model.vms.values()].filter((vm) => !vm.seeded && !vm.template && tagOf(vm, "eg-cluster-") !== "");

/** VMs without their Node, and Nodes without their VM. */
function orphans(model: Model): Finding[] {
  const vms = ownVms(model);
  const names = new Set(vms.map((vm) => vm.name));
  return [
    ...vms
      .filter((vm) => model.nodes.get(vm.name)?.uuid.toLowerCase() !== vm.uuid.toLowerCase())
      .map((vm) => ({
        invariant: "orphan" as const,
        subject: `VM ${vm.vmid}`,
        evidence: `${vm.name} (${vm.running ? "running" : "off"}) is no Node of the cluster`,
      })),
    ...[...model.nodes.keys()]
      .filter((name) => !names.has(name))
      .map((name) => ({ invariant: "orphan" as const, subject: name, evidence: "a Node without its VM" })),
  ];
}

/** Each slot of the pools whose limits are known has exactly one VM. */
function slots(model: Model): Finding[] {
  const findings: Finding[] = [];
  for (const [pool, limits] of Object.entries(model.limits)) {
    const bySlot = Map.groupBy(
      ownVms(model).filter((vm) => tagOf(vm, "eg-pool-") === pool),
      (vm) => tagOf(vm, "eg-slot-"),
    );
    for (const [slot, vms] of bySlot) {
      if (vms.length < 2) continue;
      const evidence = vms.map((vm) => vm.name).join(", ");
      findings.push({ invariant: "duplicate", subject: `${pool} slot ${slot}`, evidence });
    }
    if (bySlot.size === limits.slots) continue;
    const evidence = `${bySlot.size} slots have a VM, ${limits.slots} should`;
    findings.push({ invariant: "empty-slot", subject: pool, evidence });
  }
  return findings;
}
