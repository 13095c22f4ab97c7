import { findNode, listNodes, nameOf } from "../../clients/kubernetes/nodes.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import type { Node } from "../../clients/kubernetes/types.ts";
import type { ExpectedVm } from "../../clients/proxmox/identity.ts";
import { nodeTags, tagsOf } from "../../clients/proxmox/tags.ts";
import type { ListedVm } from "../../clients/proxmox/vms.ts";
import type { LonghornNode } from "../../domain/drain/longhorn.ts";
import { isAdopted, nodeName } from "../../domain/model/generation.ts";
import type { StepPlan } from "../../domain/model/step-environment.ts";
import type { NodeRecord, PoolRecord, Role } from "../../domain/model/types.ts";
import type { ClusterInput, PoolInput, SlotInput } from "../input.ts";
import type { StepContext } from "../context.ts";
import { labels } from "../../domain/model/formats.ts";
import type { NodeView } from "./node-view.ts";

/** A departing node: any part of it may be gone already. */
export interface DepartingNode extends NodeView {
  name: string;
  role: Role;
  pool: string;
  /** Not made by us: its VM stays, off, and is handed back. */
  adopted: boolean;
  vm: ListedVm | undefined;
  /** Identity that its VM must have. */
  expected: ExpectedVm;
  /** Undefined: Longhorn keeps nothing there, or was not asked yet. */
  storage?: LonghornNode | undefined;
}

/**
 * Reads the Node again: a booting machine may register its Node at any moment and have pods right after, and a node
 * that served may be down by now.
 */
export async function refresh(client: Kubernetes, one: DepartingNode): Promise<DepartingNode> {
  return { ...one, node: await findNode(client, one.name) };
}

/** What every part of a decommissioning works with. */
export interface Decommissioning {
  context: StepContext;
  access: Access;
  fence: Fence;
  input: ClusterInput;
}

/**
 * Every other node of a slot, by what exists: VMs by our tags, Nodes by our labels. The engine's state does not count:
 * a killed run may have made nodes that are in no state.
 */
export async function findOtherNodes(
  client: Kubernetes,
  input: SlotInput,
  vms: readonly ListedVm[],
  record: PoolRecord,
): Promise<DepartingNode[]> {
  const { cluster, pool, slot } = input;
  const nodes = (await listNodes(client, { cluster, pool, slot })).filter((node) => nameOf(node) !== input.node);
  const ours = withoutCopies(vms, record).filter((vm) => {
    const tags = nodeTags(vm.tags);
    if (tags?.cluster !== cluster || tags.pool !== pool || tags.slot !== slot) return false;
    return !vm.template && vm.pool === input.site.proxmoxPool && tags.generation !== input.generation;
  });
  const generations = new Set([
    ...ours.map((vm) => nodeTags(vm.tags)?.generation ?? ""),
    ...nodes.map((node) => node.metadata?.labels?.[labels.generation] ?? ""),
  ]);
  return [...generations].map((generation) =>
    departingNode(input, generation, {
      vm: ours.find((vm) => nodeTags(vm.tags)?.generation === generation),
      node: nodes.find((node) => node.metadata?.labels?.[labels.generation] === generation),
      record,
    }),
  );
}

/**
 * The list without copies of recorded nodes: a backup that was restored under another VMID has the name, tags and uuid
 * of its node. A name returns under another VMID only after its VM was decommissioned and destroyed.
 */
export function withoutCopies(vms: readonly ListedVm[], { nodes }: PoolRecord): ListedVm[] {
  const numbers = new Set(vms.map(({ vmid }) => vmid));
  const isCopy = ({ vmid, tags }: ListedVm) => {
    const { slot, generation } = nodeTags(tags) ?? {};
    const own = nodes.find((one) => one.slot === slot && one.generation === generation);
    return own !== undefined && own.vmid !== vmid && (own.phase !== "retired" || numbers.has(own.vmid));
  };
  return vms.filter((vm) => !isCopy(vm));
}

/** Whether the plan decommissions a node that has a slot now. */
export function isAnyNodeLeaving({ plan }: PoolInput, { nodes }: PoolRecord): boolean {
  const planned = new Set(plan.slots.map(({ name }) => name));
  return nodes.some((node) => node.phase === "handedOver" && !planned.has(node.name) && !keepsSlot(plan, node));
}

/**
 * True for an adopted node whose slot is not in the plan: this run makes no node in that slot, so the adopted node
 * stays.
 */
export function keepsSlot(plan: StepPlan, node: Pick<NodeRecord, "name" | "generation" | "slot">): boolean {
  return isAdopted(node) && plan.slots.every(({ slot }) => slot !== node.slot);
}

/** A node of a pool as a departing node, from what is left of it. */
export function departingNode(
  { cluster, pool, role, slot }: Pick<SlotInput, "cluster" | "pool" | "role" | "slot">,
  generation: string,
  { vm, node, record }: { vm: ListedVm | undefined; node: Node | undefined; record: PoolRecord },
): DepartingNode {
  // An adopted node has a name of its own, and was recorded under it before it got a tag or a label.
  const own = record.nodes.find((one) => one.slot === slot && one.generation === generation);
  const name = own?.name ?? nodeName(cluster, pool, slot, generation);
  const vmid = vm?.vmid ?? own?.vmid ?? 0;
  const tags = tagsOf({ cluster, pool, slot, generation });
  return {
    name,
    role,
    pool,
    adopted: isAdopted({ name, generation }),
    vm,
    node,
    record,
    own,
    // Without a record the Node is the evidence: it reported the uuid of the VM that it runs in.
    expected: { vmid, name, tags, uuid: own?.uuid ?? node?.status?.nodeInfo?.systemUUID },
  };
}

/** Whether something of the node runs or is known to the cluster: else it needs no drain and no disruption lease. */
export const isThere = ({ vm, node, own }: DepartingNode): boolean =>
  node !== undefined ||
  vm?.status === "running" ||
  vm?.status === "unknown" ||
  (own !== undefined && own.phase !== "retired");

/**
 * Whether the node's decommissioning began and its Node still exists: its VM may run, although it is no member any
 * more.
 */
export const isBrokenOff = ({ node, own }: DepartingNode): boolean => node !== undefined && own?.phase === "retired";
