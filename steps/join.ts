import { Deadline } from "../common/deadline.ts";
import { UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import type { Access } from "../kubernetes/access.ts";
import type { Fence } from "../kubernetes/lease.ts";
import { forgetPassword, restore, uuidOf } from "../kubernetes/nodes.ts";
import { writeFacts } from "../kubernetes/record.ts";
import { proveVm } from "../proxmox/identity.ts";
import { tagsOf } from "../proxmox/tags.ts";
import { isRunning, listVms, requireSight, type ListedVm, type VmConfig } from "../proxmox/vms.ts";
import { findAccess } from "../kubernetes/access.ts";
import type { Node } from "../kubernetes/types.ts";
import type { NodeRecord } from "../rollout/types.ts";
import { admit } from "./admission.ts";
import { awaitCalm, awaitMembers, byMembers, byNodes, calmBy, requireMayJoin, requireSkew } from "./control-plane.ts";
import { foundCluster } from "./founding.ts";
import type { SlotInput } from "./input.ts";
import { readJoinLog } from "./join-log.ts";
import { otherNodes } from "./leavers.ts";
import { expectedNode, isMarked, known, lacking, type Known } from "./member.ts";
import { clusterSite, holding, look, quietly, slotLease, tickets, type Run, type Scene } from "./run.ts";
import { imageOf } from "./image.ts";
import { powerOn } from "./power-on.ts";
import { retireNode } from "./retirement.ts";
import { beginning, isVerdict, judgeFailed } from "./verdict.ts";
import { serveAgain } from "./yield.ts";

/** What later runs are told of the node. */
export interface Joined {
  name: string;
  vmid: number;
  /** SMBIOS uuid of the VM. */
  uuid: string;
}

/** Makes the node of a slot a verified member. Does nothing when it is one. */
export async function join(run: Run, input: SlotInput): Promise<Joined> {
  const scene = await lookForJoin(run, input);
  const vm = await ownVm(run, scene.vms, input);
  const { access } = scene;
  if (access === undefined) return await joinFirst(run, input, vm, scene.vms);

  const before = await known(access.client, input);
  const member = await memberAlready(run, input, vm, before);
  if (member) return member;
  return await holding(run, access, slotLease(input), input.site.timeouts.lease, async (fence) => {
    const now = await known(access.client, input);
    const joinedMeanwhile = await memberAlready(run, input, vm, now);
    if (joinedMeanwhile) return joinedMeanwhile;
    return await joinNode(run, input, { access, fence, vm, known: now });
  });
}

/** A server looks for the others first: it cannot join the cluster through itself. */
async function lookForJoin(run: Run, input: SlotInput): Promise<Scene> {
  if (input.role === "agent") return await look(run, input);
  const scene = await look(run, input, input.vmid);
  if (scene.access) return scene;
  const self = scene.vms.filter((vm) => vm.vmid === input.vmid && vm.status === "running");
  const access = await findAccess(run.pve, self, clusterSite(input)).catch(() => undefined);
  return { vms: scene.vms, access };
}

/** The VM of the node, where it is now. @throws UserError when there is none */
async function ownVm(run: Run, vms: readonly ListedVm[], input: SlotInput): Promise<ListedVm> {
  const vm = vms.find(({ vmid }) => vmid === input.vmid);
  if (vm) return vm;
  await requireSight(run.pve, input.site.proxmoxPool);
  throw new UserError({
    what: `the VM of ${input.node} is gone: it was deleted outside of Evergreen`,
    where: `VMID ${input.vmid}, Proxmox pool ${input.site.proxmoxPool}`,
    todo: "run `npx evergreen repair`, then pulumi up: another VM is made",
  });
}

/**
 * The answer when nothing is to do: a member whose memory, VM and Node agree. The VM's host is asked: the list is seconds
 * old, and a Node looks Ready for most of a minute after its VM has lost its power.
 */
async function memberAlready(
  run: Run,
  input: SlotInput,
  vm: ListedVm,
  { node, own }: Known,
): Promise<Joined | undefined> {
  if (node === undefined || own === undefined) return undefined;
  if (own.phase !== "joined" && own.phase !== "handedOver") return undefined;
  if (own.vmid !== input.vmid || isMarked(node)) return undefined;
  if (lacking(node, expectedNode(input, own.uuid)).length > 0 || !(await isRunning(run.pve, vm))) return undefined;
  return { name: input.node, vmid: input.vmid, uuid: own.uuid };
}

/** The first server makes the cluster; what it needs from a cluster that exists comes after. */
async function joinFirst(run: Run, input: SlotInput, vm: ListedVm, vms: readonly ListedVm[]): Promise<Joined> {
  if (input.role === "agent") {
    throw new UserError({
      what: `${input.node} cannot join: the cluster ${input.cluster} has no server that has started RKE2`,
      where: `pool ${input.site.serverPool} in the Proxmox pool ${input.site.proxmoxPool}`,
      todo: "run pulumi up for the whole stack: the control plane comes first",
    });
  }
  const config = await identity(run, input, vm, undefined);
  const access = await foundCluster(run, input, config, vms);
  const facts = await known(access.client, input);
  return await holding(run, access, slotLease(input), input.site.timeouts.lease, (fence) =>
    joinNode(run, input, { access, fence, vm, known: facts }),
  );
}

interface Joining {
  access: Access;
  fence: Fence;
  vm: ListedVm;
  known: Known;
  /** The boot that the Node told of when its VM was still off. */
  bootBefore?: string | undefined;
}

async function joinNode(run: Run, input: SlotInput, joining: Joining): Promise<Joined> {
  const { access, fence } = joining;
  const { client } = access;
  const config = await identity(run, input, joining.vm, joining);
  const own = await remember(input, joining, config);
  try {
    await fence.check();
    // Who has no Node has no right to the name either, but its password can outlive it (rancher/rke2#4852).
    if (joining.known.node === undefined) await forgetPassword(client, input.node);
    const bootBefore = await bootThatEnded(run, config, joining.known);
    await powerOn(run, config, joining.vm.status);
    await imageOf(run, input, config);
    const arriving = { ...joining, bootBefore };
    const node =
      input.role === "agent"
        ? await admitAgent(run, input, arriving, config)
        : await admitServer(run, input, arriving, config);
    if (isMarked(node)) await restore(client, input.node);
    const since = client.now().toISOString();
    const phase = own.phase === "handedOver" ? "handedOver" : "joined";
    await fence.check();
    await writeFacts(client, input.pool, {
      nodes: [{ ...own, phase, since: own.phase === phase ? own.since : since }],
    });
    say(`${input.node} is a member`);
    return { name: input.node, vmid: input.vmid, uuid: config.uuid };
  } catch (failure) {
    run.stop.throwIfAborted();
    const error = await readJoinLog(run, config, failure, client.now());
    if (isVerdict(error)) {
      const generation = { id: input.generation, spec: input.spec };
      const why = `${input.node}: ${error.problem.what}`;
      await quietly("the verdict", () => judgeFailed(client, input.pool, generation, why, own));
    }
    throw error;
  }
}

/** Agents come to a control plane that is well, and whose servers are all as new as they are. */
async function admitAgent(
  run: Run,
  input: SlotInput,
  { access, bootBefore }: Joining,
  config: VmConfig,
): Promise<Node> {
  requireSkew(input, await awaitCalm(byNodes(access), calmBy(run, input)));
  return await admit(run, input, access, config, bootBefore);
}

/**
 * One member of etcd comes or goes at a time. A server that is a member already, as after a power cut, is only waited for.
 * It has come when everybody agrees on the members, and serves at its own address.
 */
async function admitServer(run: Run, input: SlotInput, joining: Joining, config: VmConfig): Promise<Node> {
  const { access, bootBefore } = joining;
  // The founder is alone: there is nobody whose peace it could disturb.
  if (access.server.vmid === config.vmid) return await admit(run, input, access, config, bootBefore);
  return await holding(run, access, tickets(input), input.site.timeouts.lease, async () => {
    await removeDead(run, input, joining);
    const sight = await byMembers(run, input, access);
    const others = await awaitCalm(sight, calmBy(run, input), [input.node, input.address]);
    requireMayJoin(input, others);
    const node = await admit(run, input, access, config, bootBefore);
    const members = [...others.map(({ name }) => name), input.node];
    const deadline = new Deadline(`etcd to be well with ${input.node}`, input.site.timeouts.gate, run.stop);
    await awaitMembers(access, sight, members, deadline);
    if (isMarked(node)) await serveAgain(run, config);
    return node;
  });
}

/** While a voter is dead etcd admits nobody, so a predecessor whose VM is off goes before its successor comes. */
async function removeDead(run: Run, input: SlotInput, { access, fence, known: { record } }: Joining): Promise<void> {
  const others = await otherNodes(access.client, input, await listVms(run.pve), record);
  for (const one of others) {
    if (one.node === undefined || one.vm === undefined || (await isRunning(run.pve, one.vm))) continue;
    say(`${one.name} is off: it is taken out of etcd before its successor joins`);
    await retireNode(one, { run, access, fence, input });
  }
}

/**
 * Proves that the VM is ours. A uuid that was recorded once is the only one from then on. Without one, only a VM that
 * has never run may be trusted: it is the clone that was made for this slot in this run.
 */
async function identity(run: Run, input: SlotInput, vm: ListedVm, joining: Joining | undefined): Promise<VmConfig> {
  // What was retired under this name may have been destroyed since: a generation that comes back gets another VM.
  const own = joining?.known.own;
  const recorded =
    own?.phase === "retired"
      ? besides(own.uuid, recordedBefore(run, input))
      : (own?.uuid ?? recordedBefore(run, input));
  const config = await proveVm(run.pve, vm.host, {
    vmid: input.vmid,
    name: input.node,
    tags: tagsOf(input),
    uuid: recorded,
  });
  const node = joining?.known.node;
  if (node && uuidOf(node) !== config.uuid) throw namesake(input, uuidOf(node), config);
  const first = input.role === "server" && (joining === undefined || joining.access.server.vmid === vm.vmid);
  if (recorded === undefined && !first && (config.onBoot || (await isRunning(run.pve, vm))))
    throw startedByOthers(input, vm);
  return config;
}

/** What the state remembers, unless it is what was retired. */
function besides(retired: string, before: string | undefined): string | undefined {
  return before === retired ? undefined : before;
}

function namesake(input: SlotInput, uuid: string, config: VmConfig): UserError {
  return new UserError({
    what: `a Node ${input.node} exists and is another machine: its SMBIOS uuid is ${uuid || "unknown"}, the VM has ${config.uuid}`,
    where: `VM ${input.vmid} on ${config.host}`,
    todo: "find the machine that registered under this name, and delete that Node if it is gone",
  });
}

function startedByOthers(input: SlotInput, vm: ListedVm): UserError {
  return new UserError({
    what: `${input.node} was started by somebody else: nobody remembers it, and it is not as it was cloned`,
    where: `VM ${vm.vmid} on ${vm.host}`,
    todo: "shut it down and switch `start at boot` off if it is a fresh clone of ours; if it is not, move our range of VMIDs",
  });
}

/** The uuid in what this step printed when it ran last: the state is a memory too. */
export function recordedBefore(run: Run, input: SlotInput): string | undefined {
  try {
    const { name, uuid } = JSON.parse(run.previous) as Partial<Joined>;
    return name === input.node ? uuid : undefined;
  } catch {
    return undefined;
  }
}

/** Records the VM before it is started: from now on its uuid is its identity. */
async function remember(input: SlotInput, { access, known: facts }: Joining, config: VmConfig): Promise<NodeRecord> {
  const now = access.client.now();
  const generation = beginning(facts.record.generations, { id: input.generation, spec: input.spec }, now);
  const serving = facts.own?.phase === "joined" || facts.own?.phase === "handedOver";
  const record: NodeRecord = {
    name: input.node,
    slot: input.slot,
    generation: input.generation,
    vmid: input.vmid,
    uuid: config.uuid,
    ...(input.address === undefined ? {} : { address: input.address }),
    phase: "made",
    since: now.toISOString(),
  };
  const own = serving && facts.own ? facts.own : record;
  if (own !== facts.own || generation) {
    await writeFacts(access.client, input.pool, { nodes: [own], ...(generation ? { generations: [generation] } : {}) });
  }
  return own;
}

/** The boot that a Node tells of although its VM is off; undefined when there is no such Node. */
async function bootThatEnded(run: Run, config: VmConfig, { node }: Known): Promise<string | undefined> {
  if (node === undefined || (await isRunning(run.pve, config))) return undefined;
  return node.status?.nodeInfo?.bootID;
}
