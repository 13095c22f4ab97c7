import { UserErrors } from "../runtime/errors.ts";
import { isCalled, listVms, type ListedVm } from "../clients/proxmox/vms.ts";
import { imageTags } from "../domain/model/formats.ts";
import { findUntracked, recordedElsewhere } from "./missing-vms.ts";
import { keptWords } from "../domain/drain/local-data.ts";
import { isAdopted, parseNodeName } from "../domain/model/generation.ts";
import { SERVER_POOL } from "../config/config.ts";
import { hasJoined } from "../domain/rollout/slot-state.ts";
import type { NodeRecord } from "../domain/model/types.ts";
import type { ExclusiveUse } from "./exclusive-use.ts";
import { VM_TYPE, type KnownVm } from "./engine-state.ts";
import { undoCreate } from "./pending-creates.ts";
import type { ObservedCluster } from "../observe/observed-cluster.ts";
import type { OpenStack } from "../observe/open-stack.ts";

/**
 * Destroys clones that are in no state because their plugin was killed: they have a node name of this cluster, are off,
 * have never joined, and still have the tags of their template or are recorded as made. The state can be the wrong one,
 * or a restored old one, so the cluster's records must show that the VM was never a member: a VM that is off may hold the
 * only copy of etcd's data. Another VM that was configured is left alone, because a copy of a node looks the same.
 * @returns how many were destroyed
 */
export async function removeUntrackedClones(
  site: OpenStack,
  known: readonly Pick<KnownVm, "vmid" | "name">[],
  fence: Pick<ExclusiveUse, "check">,
  report: (what: string, how: string) => void,
): Promise<number> {
  let destroyed = 0;
  // Listed again: since the state was observed, creates were undone, and a clone that was waited for may have become
  // visible.
  for (const vm of await findUntracked(site.pve, known, site.config)) {
    await fence.check();
    const { vmid, name = "" } = vm;
    const isBare = vm.tags.includes(imageTags.image);
    const record = recordOf(site.observed, vm);
    // The VM of a retired record may be gone, and its number and name another's: `reportUnknownNodes` says what to do.
    if (!isBare && record?.phase === "retired") continue;
    const node = recordedElsewhere(vm, site.observed);
    let how: string;
    if (site.observed.kubernetes === undefined) how = UNHEARD;
    else if (node) how = `left alone: it is ${node.name}, which was made as VM ${node.vmid}; pulumi up says what to do`;
    else if (!isBare && record === undefined) how = `${CONFIGURED}, destroy VM ${vmid} (${name}) by hand`;
    else {
      const undone = await undoCreate(site, { urn: "", type: VM_TYPE, inputs: { name, vmId: vmid } }, fence);
      // A node that has joined, or is to come back with its data: `reportUnknownNodes` says what to do.
      if (undone.id !== undefined) continue;
      how = undone.how;
    }
    report(`VM ${vmid} (${name}) is in no state of the engine`, how);
    if (how.startsWith("destroyed")) destroyed += 1;
  }
  return destroyed;
}

const CONFIGURED =
  "left alone: it was configured, and may be a copy of a node or a restored backup. If it is, take our tags off it or rename it. If a run that was killed has made it";

/**
 * Reports node VMs that the cluster remembers and that the engine's state does not have, as after the import of an older
 * state, or in the wrong backend. The engine makes a VM that it wants and does not know, and fails on its VMID.
 * @param known the VMs of the state, and of creates that the repair has decided: a VMID may have been used again since
 */
export async function reportUnknownNodes(
  { pve, config, observed }: OpenStack,
  known: readonly { vmid: number | undefined; name: string | undefined }[],
  report: (what: string, how: string) => void,
): Promise<void> {
  if (observed.kubernetes === undefined) return;
  const isKnown = (vm: ListedVm) => known.some(({ vmid, name = "" }) => vmid === vm.vmid && isCalled(vm, name));
  for (const vm of await listVms(pve)) {
    const { vmid, pool, template } = vm;
    const node = recordOf(observed, vm);
    if (node === undefined || template || pool !== config.site.proxmoxPool || isKnown(vm)) continue;
    // A run that was killed or failed records a node as retired before its VM is off and its Node is gone.
    const isLeaving = vm.status !== "stopped" || observed.nodes.some(({ name }) => name === node.name);
    const todo = node.phase === "retired" && isLeaving ? leaving(node, config) : whatToDo(node, config);
    report(`VM ${vmid} (${node.name}) is in no state of the engine, and is recorded as ${node.phase}`, todo);
  }
}

/** What a claim has recorded of this VM; its SMBIOS uuid is compared before anything is done to it. */
function recordOf(
  { records }: Pick<ObservedCluster, "records">,
  vm: Pick<ListedVm, "vmid" | "name" | "tags">,
): NodeRecord | undefined {
  const nodes = [...records.values()].flatMap((record) => record.nodes);
  return nodes.find((node) => node.vmid === vm.vmid && isCalled(vm, node.name) && !isAdopted(node));
}

function whatToDo(node: NodeRecord, config: OpenStack["config"]): string {
  const { phase, vmid, keeps } = node;
  if (phase !== "retired") return unknown(node, config);
  const left = "left alone: its node has left the cluster, and no update destroys it";
  if (keeps === undefined) return `${left}. Destroy VM ${vmid} by hand`;
  return `${left}. It holds ${keptWords(keeps)}: take its tags away, or updates fail on it, and destroy VM ${vmid} by hand once nobody needs that data`;
}

/** The handover of its slot takes a node out whose retirement was broken off; where there is none, nothing does. */
function leaving(node: NodeRecord, config: OpenStack["config"]): string {
  if (!placeIn(config, node).isWanted) return unknown(node, config);
  return "left alone: it is not off yet, or still has its Node: run pulumi up, which ends that, then repair again";
}

function unknown(node: NodeRecord, config: OpenStack["config"]): string {
  const { pool, slot, isWanted } = placeIn(config, node);
  const why = isWanted
    ? "an update would make it again, and fail because its number is taken"
    : "its slot is not wanted any more, and an update retires only what the state has";
  const grow = isWanted ? "" : `give pool ${pool} ${slot + 1} slots again until this is over, `;
  return `left alone: ${why}. Is this the backend that the stack is in, with its newest state? If no newer state is left, ${grow}raise the \`rollout\` counter of its pool, without a canary, and move the data of volumes that only this node can reach: the next update replaces it by a node that the engine knows, and leaves it off`;
}

/** The slot of a node, and whether the configuration wants a node there. */
function placeIn(
  { cluster, controlPlane, pools }: OpenStack["config"],
  { name }: Pick<NodeRecord, "name">,
): { pool: string; slot: number; isWanted: boolean } {
  const { pool = "", slot = 0 } = parseNodeName(name, cluster) ?? {};
  const slots = pool === SERVER_POOL ? controlPlane.servers : (pools.find((one) => one.name === pool)?.slots ?? 0);
  return { pool, slot, isWanted: slot < slots };
}

/**
 * Refuses members in slots that are not wanted whose VM is in the state without a claim or a join, as after the import
 * of an older state. The delete of these decommissions a node; the engine would destroy the VM of a member that serves. In
 * a slot that is wanted the next update claims the VM, or its handover decommissions the node.
 * @throws UserErrors that names every such VM
 */
export function refuseUnclaimedMembers(
  { config, observed }: Pick<OpenStack, "config" | "observed">,
  known: readonly KnownVm[],
): void {
  const isMember = (vm: KnownVm): boolean => {
    const record = recordOf(observed, { ...vm, tags: [] });
    return (record !== undefined && hasJoined(record)) || observed.nodes.some(({ name }) => name === vm.name);
  };
  const problems = known.flatMap((vm) => {
    const { vmid, name, host } = vm;
    const { pool, slot, isWanted } = placeIn(config, vm);
    if (vm.claimed === true || isWanted || !isMember(vm)) return [];
    return [
      {
        what: `VM ${vmid} of ${name} is in the state of the engine and its claim is not: the engine would destroy it as it is, and ${name} is a member of the cluster`,
        where: `VM ${vmid}${host === undefined ? "" : ` on ${host}`}, slot ${slot} of pool ${pool}`,
        todo: `nothing was begun. Is this the newest state? If no newer one is left, give pool ${pool} ${slot + 1} slots again and run pulumi up, which claims the VM; take the slot away after that`,
      },
    ];
  });
  if (problems.length > 0) throw new UserErrors(problems);
}

const UNHEARD =
  "left alone: there is no cluster that could say whether it was a member. If there is one, start its servers; is this the backend that the stack is in? If no server has ever joined, destroy the VM by hand";
