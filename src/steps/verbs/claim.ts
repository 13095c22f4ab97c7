import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { SilentServers, type Access } from "../../clients/kubernetes/access.ts";
import { requireFree } from "../../clients/kubernetes/gone.ts";
import { uuidOf } from "../../clients/kubernetes/nodes.ts";
import { writeFacts } from "../../clients/kubernetes/record.ts";
import { proveVm } from "../../clients/proxmox/identity.ts";
import { tagsOf } from "../../clients/proxmox/tags.ts";
import { isRunning, requireSight, type ListedVm, type VmConfig } from "../../clients/proxmox/vms.ts";
import { hasJoined } from "../../domain/rollout/slot-state.ts";
import { addressesIn } from "../../domain/model/address.ts";
import type { NodeRecord, VmDisk } from "../../domain/model/types.ts";
import type { SlotInput } from "../input.ts";
import { claimedAs, claimedBefore, type Claimed } from "../node/claimed.ts";
import { findLeftAlone } from "../node/left-alone.ts";
import { readNodeView, type NodeView } from "../node/node-view.ts";
import { powerOn } from "../node/power-on.ts";
import { withLease, slotLease, type StepContext } from "../context.ts";
import { beginning } from "../node/verdict.ts";
import { connectThroughPeers, type Connection } from "../cluster/connect.ts";

/**
 * Runs right after a clone: proves that the VM is the one made for this node, and records its SMBIOS uuid. From then on
 * the VM is known by more than its VMID, which may belong to another VM later. A server boots at once, with RKE2 held
 * back until it gets its join data, so that its boot is over when its turn to join comes. Does nothing to a member.
 */
export async function claim(context: StepContext, input: SlotInput): Promise<Partial<Claimed>> {
  const asItWas = await findLeftAlone(context, input);
  if (asItWas) return asItWas;
  const { vms, access, uid } = await lookOnceBooted(context, input);
  const vm = await findOwnVm(context, vms, input);
  // Before there is a cluster with a pool record, this output is the record: the engine keeps it in the state.
  if (access === undefined) return claimedAs(input, await proveIdentity(context, input, vm, { founder: false }));
  const member = memberOf(input, await readNodeView(access.client, input));
  if (member) return claimedAs(input, member);
  return await withLease(context, access, slotLease(input), input.site.timeouts.lease, async (fence) => {
    const view = await readNodeView(access.client, input);
    const joinedMeanwhile = memberOf(input, view);
    if (joinedMeanwhile) return claimedAs(input, joinedMeanwhile);
    const founder = isBootstrapServer(access, vm);
    const config = await proveIdentity(context, input, vm, { view, founder });
    const neverRan = recordedUuid(context, input, view) === undefined && view.own?.uuid !== config.uuid && !founder;
    await remember(input, access, view, config, neverRan ? config.furtherDisks : undefined);
    // A guest that already has its join data would join as soon as it boots, out of its turn.
    if (input.role === "server" && neverRan) {
      say(`${input.node} boots ahead; it joins when its turn comes`);
      await fence.check();
      await powerOn(context, config, uid);
    }
    return claimedAs(input, config);
  });
}

/** The record of a node that has joined with this VM. */
function memberOf({ vmid }: SlotInput, { own }: NodeView): NodeRecord | undefined {
  return own?.vmid === vmid && hasJoined(own) ? own : undefined;
}

/**
 * Whether this VM is the server that the kubeconfig was read from. When no other server has a kubeconfig, this server
 * bootstrapped the cluster.
 */
export function isBootstrapServer({ server }: Access, { vmid }: Pick<ListedVm, "vmid">): boolean {
  return server.vmid === vmid;
}

/**
 * Connects to the cluster once the other servers have booted. In a first creation they only boot, and for a while they
 * cannot say whether there is a cluster.
 */
async function lookOnceBooted(context: StepContext, input: SlotInput): Promise<Connection> {
  if (input.role === "agent") return await connectThroughPeers(context, input);
  let silence: SilentServers | undefined;
  const deadline = new Deadline("the other servers to boot", input.site.timeouts.agent, context.stop);
  const connection = deadline.poll(500, () =>
    connectThroughPeers(context, input).catch((error: unknown) => {
      if (!(error instanceof SilentServers)) throw error;
      silence = error;
      return undefined;
    }),
  );
  return await connection.catch((error: unknown) => {
    throw error instanceof DeadlineError && silence ? silence : error;
  });
}

/**
 * The VM of the node, on the host where it is now.
 * @throws UserError when there is no such VM
 */
export async function findOwnVm(context: StepContext, vms: readonly ListedVm[], input: SlotInput): Promise<ListedVm> {
  const vm = vms.find(({ vmid }) => vmid === input.vmid);
  if (vm) return vm;
  // The list may show no name for a clone that is seconds old.
  const made = vms.find(({ vmid, name = input.node }) => vmid === input.madeVmid && name === input.node);
  if (made) throw unconfigured(input, made);
  await requireSight(context.pve, input.site.proxmoxPool);
  await requireFree(context.pve, { name: input.node, vmid: input.vmid });
  throw new UserError({
    what: `the VM of ${input.node} is gone: it was deleted outside of Evergreen`,
    where: `VMID ${input.vmid}, Proxmox pool ${input.site.proxmoxPool}`,
    todo: "run `npx evergreen repair`, then pulumi up: another VM is made",
  });
}

interface Circumstances {
  /** Absent while there is no cluster. */
  view?: NodeView;
  /** Whether this server bootstraps the cluster, or did so: it runs before there is a cluster to record its uuid in. */
  founder: boolean;
}

/**
 * Proves that the VM is the one made for this node. Once a uuid is recorded, only a VM with that uuid passes. Without a
 * recorded uuid, only a VM that has never run and has the VMID that the engine made is trusted: it is the clone made
 * for this slot. A VM with another VMID is a copy of that clone, with the same name and tags.
 */
export async function proveIdentity(
  context: StepContext,
  input: SlotInput,
  vm: ListedVm,
  { view, founder }: Circumstances,
): Promise<VmConfig> {
  const recorded = recordedUuid(context, input, view);
  const config = await proveVm(context.pve, vm.host, {
    vmid: input.vmid,
    name: input.node,
    tags: tagsOf(input),
    uuid: recorded,
  });
  const node = view?.node;
  if (node && uuidOf(node) !== config.uuid) throw namesake(input, uuidOf(node), config);
  if (recorded !== undefined || founder) return config;
  if (input.madeVmid !== undefined && input.madeVmid !== vm.vmid) throw copied(input, vm, input.madeVmid);
  if (config.onBoot || (await isRunning(context.pve, vm))) throw startedByOthers(input, vm);
  return config;
}

/**
 * The uuid that the pool's record or the state holds. A generation that returns after it was retired gets another VM,
 * unless the engine has not destroyed the old VM yet: then the state still has the claim of this VMID.
 */
function recordedUuid(context: StepContext, input: SlotInput, view: NodeView | undefined): string | undefined {
  const own = view?.own;
  const before = claimedBefore(context, input);
  if (own?.phase !== "retired") return own?.uuid ?? before?.uuid;
  return before?.vmid === input.vmid ? before.uuid : undefined;
}

function namesake(input: SlotInput, uuid: string, config: VmConfig): UserError {
  return new UserError({
    what: `a Node ${input.node} exists and is another machine: its SMBIOS uuid is ${uuid || "unknown"}, the VM has ${config.uuid}`,
    where: `VM ${input.vmid} on ${config.host}`,
    todo: "find the machine that registered under this name, and delete that Node if it is gone",
  });
}

function unconfigured({ node, vmid }: SlotInput, made: ListedVm): UserError {
  return new UserError({
    what: `VM ${made.vmid} was cloned as ${node} and could not be configured: it is not as it shall be, and another one is planned (VM ${vmid})`,
    where: `VM ${made.vmid} on ${made.host}`,
    todo: "run `npx evergreen repair`, then pulumi up: another VM is made",
  });
}

function copied(input: SlotInput, vm: ListedVm, made: number): UserError {
  return new UserError({
    what: `VM ${vm.vmid} has the name and the tags of ${input.node}, and is not the one that was made as it, which was VM ${made}`,
    where: `VM ${vm.vmid} on ${vm.host}`,
    todo: "somebody has copied or restored it: delete the copy, or take name and tags off it, then run `npx evergreen repair` and pulumi up",
  });
}

function startedByOthers(input: SlotInput, vm: ListedVm): UserError {
  return new UserError({
    what: `${input.node} was started by somebody else: nobody remembers it, and it is not as it was cloned`,
    where: `VM ${vm.vmid} on ${vm.host}`,
    todo: "shut it down and switch `start at boot` off if it is a fresh clone of ours; if it is not, move our range of VMIDs",
  });
}

/**
 * Records the VM before anything is done with it: from then on its uuid is its identity. A member keeps its phase.
 * @param madeWith further disks of a VM that has never run
 */
export async function remember(
  input: SlotInput,
  { client }: Access,
  view: NodeView,
  { uuid }: VmConfig,
  madeWith?: readonly VmDisk[],
): Promise<NodeRecord> {
  const now = client.now();
  const generation = beginning(view.record.generations, { id: input.generation, spec: input.spec }, now);
  const disks = view.own?.uuid === uuid ? view.own.disks : madeWith?.map(({ name }) => name);
  const own = unchanged(view.own) ?? {
    name: input.node,
    slot: input.slot,
    generation: input.generation,
    vmid: input.vmid,
    uuid,
    ...addressesIn(input),
    ...(disks && { disks }),
    phase: "made",
    since: now.toISOString(),
    // Its slot is not handed over yet, and pods that were evicted from the slot still have to find a place.
    ...(view.own?.displaced === undefined ? {} : { displaced: view.own.displaced }),
    // A VM that returns still has its data: the VM is kept when its node is decommissioned again before it has joined.
    ...(view.own?.keeps === undefined || view.own.uuid !== uuid ? {} : { keeps: view.own.keeps }),
  };
  if (own !== view.own || generation) {
    await writeFacts(client, input.pool, { nodes: [own], ...(generation ? { generations: [generation] } : {}) });
  }
  return own;
}

/** The existing record, if it needs no change. The record of a node that failed or was retired is written anew. */
function unchanged(own: NodeRecord | undefined): NodeRecord | undefined {
  return own !== undefined && (hasJoined(own) || own.phase === "made") ? own : undefined;
}
