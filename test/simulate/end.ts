import type { ClusterPlan } from "../../src/program/cluster-plan.ts";
import { guest } from "../../images/contract.ts";
import { filesOf } from "../../src/clients/proxmox/guest-registries.ts";
import type { Registries } from "../../src/domain/model/registries.ts";
import { cordonedBy, labels, leaving } from "../../src/domain/model/formats.ts";
import { nodeTags } from "../../src/clients/proxmox/tags.ts";
import { isReady } from "./nodes.ts";
import type { World } from "./world.ts";

/** Checks the end of a story: what is configured exists, and nothing else is left. */
export function endChecks(world: World, clusterPlan: ClusterPlan | undefined): void {
  for (const plan of clusterPlan ? [clusterPlan.controlPlane, ...clusterPlan.pools] : []) {
    const wanted = plan.slots.map(({ name }) => name);
    const kept = plan.kept.map(({ name }) => name);
    const vms = [...world.dc.vms.values()].filter((vm) => vm.owner === "ours" && isOf(vm.name, vm.tags, plan.pool));
    compare(
      world,
      `VMs of ${plan.pool}`,
      [...wanted, ...kept],
      vms.map(({ name }) => name),
    );
    for (const vm of vms)
      if (vm.running === kept.includes(vm.name))
        world.story.wrong(`${vm.name} ${vm.running ? "is kept and runs" : "is off"} at the end`);
    const nodes = world.cluster.objects
      .list("nodes")
      .filter(({ metadata }) => metadata.labels?.[labels.pool] === plan.pool);
    compare(
      world,
      `Nodes of ${plan.pool}`,
      wanted,
      nodes.map(({ metadata }) => metadata.name),
    );
    for (const node of nodes) {
      const { name, annotations = {} } = node.metadata;
      const taints = (node.spec?.taints ?? []) as { key: string }[];
      if (!isReady(node)) world.story.wrong(`${name} is not Ready at the end`);
      if (cordonedBy in annotations || node.spec?.unschedulable === true) world.story.wrong(`${name} is left cordoned`);
      if (taints.some(({ key }) => key === leaving.key)) world.story.wrong(`${name} is left with our taint`);
    }
  }
  const { objects } = world.cluster;
  const ours = objects.list("leases").filter(({ metadata }) => metadata.namespace === "evergreen-system");
  for (const { metadata } of ours) world.story.wrong(`the lease ${metadata.name} is left`);
  for (const { metadata } of objects.list("secrets")) {
    if (metadata.name.startsWith("bootstrap-token-")) world.story.wrong("a join token is left");
    const node = metadata.name.replace(/\.node-password\.rke2$/, "");
    // Of a Node that somebody has deleted, a killed step may leave it; the next node of that name forgets it first.
    if (node !== metadata.name && !objects.get("nodes", node) && !world.watcher.deletedByHand.has(node))
      world.story.wrong(`the node password of ${node} is left`);
  }
  const servers = clusterPlan?.controlPlane.slots.map(({ name }) => name) ?? [];
  const voters = world.cluster.control.etcd.voters().map(({ node }) => node);
  compare(world, "Voters of etcd", servers, voters);
  for (const { vm, node, yielding } of world.cluster.control.servers)
    if (yielding && vm.running) world.story.wrong(`${node} is left without requests at the end`);
  for (const { node } of world.cluster.control.etcd.learners()) world.story.wrong(`${node} is a learner at the end`);
  for (const process of world.living()) world.story.wrong(`${process.name} still runs at the end`);
}

/** Checks that RKE2 of every node has started with the configured registries. */
export function registriesCheck(world: World, clusterPlan: ClusterPlan | undefined, registries: Registries): void {
  const { digest, yaml } = filesOf(registries);
  for (const plan of clusterPlan ? [clusterPlan.controlPlane, ...clusterPlan.pools] : [])
    for (const { vmid, name } of plan.slots) {
      const disk = world.dc.vms.get(vmid)?.disk;
      if (disk?.get(guest.registriesLoaded) !== digest || disk.get(guest.registries) !== yaml)
        world.story.wrong(`${name} has other registries at the end`);
    }
}

/** By its tags, or by its name when it never got tags. */
function isOf(name: string, tags: readonly string[], pool: string): boolean {
  return nodeTags(tags)?.pool === pool || name.startsWith(`demo-${pool}-`);
}

function compare(world: World, what: string, wanted: readonly string[], found: readonly string[]): void {
  const [want, is] = [wanted.toSorted().join(", "), found.toSorted().join(", ")];
  if (want !== is) world.story.wrong(`${what} at the end: ${is || "none"}; wanted: ${want}`);
}
