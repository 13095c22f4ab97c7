import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError, UserErrors } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { findAccess, SilentServers, type Access } from "../../clients/kubernetes/access.ts";
import { KubernetesUnreachable } from "../../clients/kubernetes/errors.ts";
import { findServing } from "../../clients/kubernetes/teardown.ts";
import { affinityNodeOf, withoutNode } from "../../clients/kubernetes/local-data.ts";
import { nameOf } from "../../clients/kubernetes/nodes.ts";
import { requireOwnCluster } from "../../clients/kubernetes/own-cluster.ts";
import { readAllNodes, readSlotRecord } from "../../clients/kubernetes/record.ts";
import { paths, type Node, type PersistentVolume, type Pod } from "../../clients/kubernetes/types.ts";
import { hasMemberTag, nodeTags } from "../../clients/proxmox/tags.ts";
import { silentHostOf } from "../../clients/proxmox/errors.ts";
import { askWhereItIs, readVm, type ListedVm, type VmConfig } from "../../clients/proxmox/vms.ts";
import {
  claimsElsewhere,
  keptWords,
  localVolumeProblems,
  localVolumes,
  mayBeLocal,
} from "../../domain/drain/local-data.ts";
import { scratchWords } from "../../domain/drain/scratch-data.ts";
import { addedDiskProblem, addedDisks, configuredDisks } from "../../domain/drain/added-disks.ts";
import type { NodeRecord, NodeSpec, VmDisk } from "../../domain/model/types.ts";
import type { SlotInput } from "../input.ts";
import type { Decommissioning, DepartingNode } from "./departing-nodes.ts";
import type { StepContext } from "../context.ts";
import { claimedBefore } from "./claimed.ts";
import { clusterSite } from "../cluster/connect.ts";
import { isGivenUp } from "../cluster/going-away.ts";

/** Logs which data stays on a node: on the VM that is kept for it, and what its pods lose permanently. */
export async function sayData({ name, own }: DepartingNode, { access: { client } }: Decommissioning): Promise<void> {
  if (own?.keeps) say(`${name} leaves with data in volumes on it alone: ${keptWords(own.keeps)}. Its VM stays, off`);
  const { items } = await client.list<Pod>(paths.pods, { fieldSelector: `spec.nodeName=${name}` });
  for (const line of scratchWords(name, items)) say(line);
}

/**
 * Checks for data that exists only on the node, right before the node is disturbed, because a volume may have been
 * bound since the program checked; and again after the cordon, when no new pod arrives. Data that the program knew of,
 * with the consent of the configuration, is in the record already, and its VM outlives this run.
 * @param fresh configuration of its VM, if it was read right before
 * @throws UserErrors when the node has bound volumes whose data is not kept
 */
export async function requireDataMayGo(
  departing: DepartingNode,
  { access: { client }, context }: Decommissioning,
  fresh?: VmConfig,
): Promise<void> {
  const { name, own, vm } = departing;
  if (own?.keeps !== undefined) return;
  await requireNoDiskAdded(context, departing, fresh);
  const node = departing.node
    ? affinityNodeOf(departing.node)
    : withoutNode(name, own, vm === undefined || hasMemberTag(vm.tags));
  const volumes = await client.list<PersistentVolume>(paths.persistentVolumes);
  const candidates = volumes.items.filter((volume) => mayBeLocal(volume, node));
  if (candidates.length === 0) return;
  const [nodes, pods] = await Promise.all([client.list<Node>(paths.nodes), client.list<Pod>(paths.pods)]);
  const stay = nodes.items.filter((one) => nameOf(one) !== name).map(affinityNodeOf);
  const departure = { node, stay, given: {} };
  const perhaps = localVolumes(departure, candidates, pods.items);
  // What another node has taken along that left before.
  const elsewhere = perhaps.some(({ isUncertain }) => isUncertain)
    ? claimsElsewhere(await readAllNodes(client), name)
    : [];
  const found = localVolumes({ ...departure, elsewhere }, candidates, pods.items);
  if (found.length === 0) return;
  const problems = localVolumeProblems(found, "localVolumes of its pool; the node serves on");
  throw new UserErrors(problems.map((one) => ({ ...one, todo: `${one.todo}. With that consent run pulumi up again` })));
}

/** @throws UserError when somebody has attached a disk to the VM, which the plan did not know of */
async function requireNoDiskAdded(
  { pve }: StepContext,
  { name, own, vm, adopted, record }: DepartingNode,
  fresh: VmConfig | undefined,
): Promise<void> {
  if (vm === undefined || adopted) return;
  const generation = own?.generation ?? nodeTags(vm.tags)?.generation;
  const spec = record.generations.find(({ id }) => id === generation)?.spec;
  try {
    const { furtherDisks = [] } = fresh ?? (await askWhereItIs(pve, vm, (now) => readVm(pve, now)));
    refuseAddedDisks({ name, vmid: vm.vmid }, furtherDisks, own, spec);
  } catch (error) {
    // Nobody destroys it there; the release asks again.
    if (silentHostOf(error) === undefined) throw error;
  }
}

/** @throws UserError when a VM has disks that it was not made with */
function refuseAddedDisks(
  vm: { name: string; vmid: number },
  disks: readonly VmDisk[],
  own: NodeRecord | undefined,
  spec: NodeSpec | undefined,
): void {
  const added = addedDisks(disks, own, spec ? configuredDisks(spec) : []);
  if (added.length === 0) return;
  const { todo, ...problem } = addedDiskProblem(vm, added, "localVolumes of its pool");
  throw new UserError({ ...problem, todo: `${todo}. With that consent run pulumi up again` });
}

/**
 * Requires that the record names no data on the node's VM, and that nobody has attached a disk to it since the plan: such
 * a VM is not destroyed before a later run of the program clears the record. While servers go down, as in a destroy, it
 * takes a moment until the record or the teardown mark can be read.
 * @param found connection to the cluster that was found right before. @default it is looked for
 * @throws UserError when the record names data or cannot be read; nothing was done to the VM
 */
export async function requireNothingKept(
  context: StepContext,
  input: SlotInput,
  vms: readonly ListedVm[],
  { furtherDisks = [] }: Pick<VmConfig, "furtherDisks">,
  found?: Access,
): Promise<void> {
  const deadline = new Deadline(`what is remembered of ${input.node}`, input.site.timeouts.agent, context.stop);
  let silence: UserError | undefined;
  let connection = found;
  const kept = deadline.poll(500, () =>
    readKeptRecord(context, input, vms, connection).catch((error: unknown) => {
      if (!(error instanceof SilentServers) && !(error instanceof KubernetesUnreachable)) throw error;
      silence = error;
      connection = undefined;
      return undefined;
    }),
  );
  const remembered = await kept.catch((error: unknown) => {
    throw error instanceof DeadlineError && silence ? silence : error;
  });
  if (remembered === "nothing") return;
  const { own } = remembered;
  if (own?.keeps === undefined) {
    // A clone that nobody has claimed has never run.
    if (own !== undefined || claimedBefore(context, input) !== undefined)
      refuseAddedDisks({ name: input.node, vmid: input.vmid }, furtherDisks, own, input.spec);
    return;
  }
  throw new UserError({
    what: `VM ${input.vmid} of ${input.node} is not destroyed: it holds ${keptWords(own.keeps)}`,
    where: `the record of pool ${input.pool}; the node is ${own.phase} since ${own.since}`,
    todo: "run pulumi up again: it keeps the VM until its time is over (evergreen:localVolumes.keepDays), and destroys it after that",
  });
}

/**
 * What is recorded of a node, or `nothing` for a cluster that is torn down.
 * @throws SilentServers, KubernetesUnreachable: the record cannot be read now. That no server runs any more says
 *   nothing either; AnotherCluster
 */
async function readKeptRecord(
  context: StepContext,
  input: SlotInput,
  vms: readonly ListedVm[],
  found: Access | undefined,
): Promise<{ own: NodeRecord | undefined } | "nothing"> {
  const { pool, slot, node, vmid } = input;
  const site = clusterSite(input);
  const silent = (error: unknown) => {
    if (error instanceof SilentServers) return error;
    throw error;
  };
  const access = found ?? (await findAccess(context.pve, vms, site).catch(silent));
  const client = access instanceof SilentServers ? undefined : (await findServing(access))?.client;
  if (await isGivenUp(context, input, vms, client)) return "nothing";
  if (access instanceof SilentServers) throw access;
  if (access === undefined)
    throw new SilentServers({
      what: `nobody can say whether VM ${vmid} of ${node} holds data: no server runs that has started RKE2`,
      where: `the record of pool ${pool}`,
      todo: "start the server VMs and run pulumi up again; nothing was done to the VM",
    });
  await requireOwnCluster(access, vms, input.cluster);
  const { nodes } = await readSlotRecord(access.client, pool, slot);
  return { own: nodes.find((one) => one.name === node && one.vmid === vmid) };
}
