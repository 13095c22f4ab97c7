import { momentNow, type Moment } from "../../runtime/clock.ts";
import { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { awaitControllers } from "../../clients/kubernetes/controllers.ts";
import { drain } from "../../clients/kubernetes/eviction.ts";
import { proveGone } from "../../clients/kubernetes/gone.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import { readMembersRetrying } from "../../clients/kubernetes/etcd-members.ts";
import { removeMember } from "../../clients/kubernetes/etcd.ts";
import { withdrawEviction } from "../../clients/kubernetes/longhorn.ts";
import { awaitGone, cordon, deleteNode, findNode, isReady, uncordon } from "../../clients/kubernetes/nodes.ts";
import { writeFacts } from "../../clients/kubernetes/record.ts";
import type { ServerNode } from "../../clients/kubernetes/servers.ts";
import type { Node } from "../../clients/kubernetes/types.ts";
import { awaitDetached } from "../../clients/kubernetes/volumes.ts";
import { requireUnprotected } from "../../clients/proxmox/destroy.ts";
import type { ExpectedVm } from "../../clients/proxmox/identity.ts";
import { unmark } from "../../clients/proxmox/marks.ts";
import { isRunning, readPower, type ListedVm, type VmConfig } from "../../clients/proxmox/vms.ts";
import { hasJoined } from "../../domain/rollout/slot-state.ts";
import type { NodeRecord } from "../../domain/model/types.ts";
import { isFresh } from "../cluster/availability.ts";
import {
  awaitControlPlaneForAgents,
  awaitHealthyControlPlane,
  probeMembers,
  requireControllers,
  type ServerProbe,
  ControlPlaneRefusal,
} from "../cluster/control-plane.ts";
import { probeLeaving, requireMayLeave } from "../cluster/leaving-etcd.ts";
import { requireDataMayGo, sayData } from "./data.ts";
import { refresh, type Decommissioning, type DepartingNode } from "./departing-nodes.ts";
import { isKnownDead, turnOffDead } from "./dead-node.ts";
import { requireMayDrain } from "./forecast.ts";
import { lastLook, partIn, StandingChanged, uncordoned } from "./last-look.ts";
import { requireChangeable, switchOff, type SeenPower } from "./power-off.ts";
import { attemptQuietly, type StepContext } from "../context.ts";
import { forgetStorage, moveStorage, requireStorageMayGo } from "./storage.ts";
import { watchJoin } from "./unfinished-join.ts";
import { resumeServing, stepDownAdopted, stepDown } from "./step-down.ts";
import { connect } from "../cluster/connect.ts";

/** Throws when a node may not be disturbed now. */
type MayBegin = () => Promise<void>;

/** What some nodes need besides. */
interface Manner extends Decommissioning {
  mayBegin?: MayBegin | undefined;
  /** No other node takes the slot now. */
  isUnreplaced?: true;
  /** What is proved once the Node of a server is gone. @default everything */
  proof?: "members" | "none";
}

/**
 * Decommissions a node: cordon, move its storage, evict, detach volumes, wipe, power off, delete its Node. Each part is
 * skipped when it was done before. A node that is dead while its VM runs is turned off instead of drained. Long waits
 * follow the observations that choose the parts, so a node whose state has changed by their end is processed from the
 * beginning. When the node cannot be drained, it resumes serving and its VM stays. No agent is drained before the control
 * plane is healthy.
 * @param mayBegin called after every wait, right before the node is disturbed, and again once its storage has moved.
 *   @default always allowed
 */
export const decommissionNode = (one: DepartingNode, work: Decommissioning, mayBegin?: MayBegin): Promise<void> =>
  decommission(one, { ...work, mayBegin });

/**
 * The same for a node whose slot another node takes. Once the Node of a server is gone, everything is proved but the
 * controllers, which pause until the lease of their lost leader expires, while another server can join: the next
 * decommissioning checks them, or the end of the pool's run.
 */
export const decommissionReplaced = (one: DepartingNode, work: Decommissioning, mayBegin: MayBegin): Promise<void> =>
  decommission(one, { ...work, mayBegin, proof: "members" });

/** The same for a node that a run left that did not finish, and that is not replaced now. */
export const decommissionUnreplaced = (one: DepartingNode, work: Decommissioning, mayBegin: MayBegin): Promise<void> =>
  decommission(one, { ...work, mayBegin, isUnreplaced: true });

/**
 * The same for a server that had left etcd before: nothing is proved once its Node is gone, because another server is
 * dead and goes next.
 */
export const decommissionBrokenOff = (one: DepartingNode, work: Decommissioning): Promise<void> =>
  decommission(one, { ...work, proof: "none" });

/** @param again deadline for repeated attempts, when the state of the node has changed before */
async function decommission(found: DepartingNode, given: Manner, again?: Deadline): Promise<void> {
  const since = momentNow();
  // The list may be seconds old, and this decides whether the node is drained.
  const power = found.vm && (await readPower(given.context.pve, found.vm));
  const running = power?.running === true;
  const departing =
    found.vm === undefined
      ? await proveAbsent(found, given)
      : running
        ? await refresh(given.access.client, found)
        : found;
  // A server without a Node counts too: it may be a member of etcd already, also when it has lost its power since.
  const mayBeMember =
    departing.role === "server" &&
    (departing.node !== undefined || departing.vm !== undefined || !isRetired(departing));
  const options = mayBeMember ? { ...given, access: await connectWithout(departing, given) } : given;
  const { access, input, context } = options;
  const { node, name } = departing;
  const probe = mayBeMember ? await probeMembers(context, input, access, readMembersRetrying) : undefined;
  const lookAgain = async (why: string) => {
    const until = again ?? new Deadline(`${name} to stay as it is`, input.site.timeouts.gate, context.stop);
    if (until.passed) throw until.error(why);
    say(`${why}: it is looked at once more`);
    await decommission(await refresh(access.client, found), given, until);
  };
  // What may take long comes before the observations that decide.
  const join = probe && node === undefined ? await watchJoin(departing, probe, options) : undefined;
  try {
    await join?.awaitEnd();
  } catch (error) {
    await lookAgain(standingChanged(error));
    return;
  }
  if (probe && node && running) await requireControllers(context, input, access.client);
  const dead = node !== undefined && running && (await isKnownDead(node, options));
  const seen = node && !isReady(node) ? await findNode(access.client, name) : node;
  // Replicas of Longhorn stay on the disk of a node whose Node somebody has deleted, and cannot be copied then.
  const mayHold = node !== undefined || (departing.vm !== undefined && isMember(departing.own));
  const canMove = node !== undefined && running && !dead;
  const storage = mayHold ? await requireStorageMayGo(name, canMove, options) : undefined;
  const vm: FreshVm | undefined =
    node && power?.running ? await findChangeableVm(departing, options, { power, since }) : departing.vm;
  // `member` is false when a killed run has removed the member already: without its API server the node ends no pods.
  // A node that is dead was waited for, and one that is off does not come.
  const look = probe && canMove ? probeLeaving(departing, options, probe) : probe;
  const servers = look && (await look(context.stop));
  const member = servers && (node ? isMemberOf(servers, name) : partIn(servers, departing) === "voter");
  if (servers && member) await requireMayLeave(access.client, departing, servers, given.isUnreplaced === true);
  if (vm && (node || isMember(departing.own))) await requireDataMayGo(departing, options, vm.fresh?.config);
  const drains = node !== undefined && running && !dead && member !== false;
  if (drains) await requireMayDrain(access.client, new Set([name]), input.site.timeouts.drain);
  if (node && running) await sayData(departing, options);
  const mayBegin = async () => {
    // Etcd's rules are those of servers: an agent only needs what it leaves behind to be well.
    if (drains && departing.role === "agent") await awaitControlPlaneForAgents(context, input, access);
    await given.mayBegin?.();
  };
  // Renewing a lease may take long, and what was observed before is old then.
  await options.fence.check();
  const asked = momentNow();
  await mayBegin();
  // Its first observations are old when a later one had to wait for an answer.
  if (!isFresh(asked)) await mayBegin();
  const before = standing(running, seen);
  const now = isFresh(since) ? before : await readStanding(departing, options);
  if (before !== now) {
    await lookAgain(`${name} is ${now} by now, and was ${before}`);
    return;
  }
  if (vm && node && drains) await drainNode({ ...departing, vm, storage }, node, vm, { ...options, mayBegin });
  // No cordon keeps pods, and what is bound for them, from a node that has just gone down.
  else if (vm && node) await requireDataMayGo(departing, options);
  // Before a dead server is turned off: its etcd may have a vote still that the others need, and votes for its removal.
  const after = node && probe && look && member ? await leaveEtcd(departing, node, { probe, look }, options) : access;
  const decided = { departing, isDrained: drains, probe };
  const held = { ...options, access: after, fence: lastLook(decided, { ...options, client: after.client }) };
  try {
    if (vm && dead) await turnOffDead(vm, departing, held);
    await options.fence.check();
    // Recorded before the guest is wiped: the outcome of that may never be known, and its Node looks Ready for a while.
    if (node) await recordRetired(after.client, departing);
    if (vm && !dead) await switchOff(vm, running, departing.expected, { ...held, wipes: join === undefined });
    // It may have joined while it shut down.
    if (vm) await join?.awaitEnd("off");
  } catch (error) {
    await lookAgain(standingChanged(error));
    return;
  }
  await options.fence.check();
  await deleteNode(after.client, name, node?.metadata?.uid);
  if (node && probe) await awaitRemoved(name, after, options, member === true);
  // Without a Node it is recorded only once the VM is off: for a retired node an old list is trusted.
  if (!node) await recordRetired(after.client, departing);
  if (storage) await forgetStorage(after.client, storage, options);
  if (departing.adopted && vm) await handBack(vm, departing.expected, options);
  say(`${name} is retired${running ? " and off" : ""}`);
}

/** A VM with its configuration, if that was read right before, and when. */
type FreshVm = ListedVm & { fresh?: { config: VmConfig; since: Moment } };

/**
 * Finds out before the node is disturbed what Proxmox would refuse.
 * @returns the VM where it is now
 */
async function findChangeableVm(
  { adopted, vm, expected }: DepartingNode,
  { input, context }: Manner,
  seen: SeenPower,
): Promise<FreshVm | undefined> {
  if (vm === undefined) return undefined;
  const since = momentNow();
  const config = await requireChangeable(context, vm, expected, input.site, seen);
  // The VM of an adopted node stays.
  if (!adopted) requireUnprotected(config);
  return { ...vm, host: config.host, fresh: { config, since } };
}

const isMemberOf = (servers: readonly ServerNode[], name: string): boolean =>
  servers.some((server) => server.name === name && server.member !== "none");

/** Why a node is looked at once more. */
function standingChanged(error: unknown): string {
  if (!(error instanceof StandingChanged)) throw error;
  return error.message;
}

const isRetired = ({ own }: DepartingNode): boolean => own?.phase === "retired";

const isMember = (own: NodeRecord | undefined): boolean => own !== undefined && hasJoined(own);

/** State of a node, as far as it decides whether the node is drained, turned off or only removed. */
function standing(running: boolean, node: Node | undefined): string {
  return `${running ? "on" : "off"} and ${node ? (isReady(node) ? "Ready" : "not Ready") : "without a Node"}`;
}

async function readStanding({ name, vm }: DepartingNode, { access, context }: Manner): Promise<string> {
  const [running, node] = await Promise.all([
    vm === undefined ? false : isRunning(context.pve, vm),
    findNode(access.client, name),
  ]);
  return standing(running, node);
}

/**
 * Proves that a node whose VM is not in the list is gone. The VM may run out of the token's sight: then nothing is
 * removed.
 */
async function proveAbsent(departing: DepartingNode, { access, context }: Manner): Promise<DepartingNode> {
  const { name, expected, node } = departing;
  if (expected.vmid === 0)
    throw new UserError({
      what: `Node ${name} has no VM that the token can see, and nobody remembers which it had`,
      where: `Node ${name}, SMBIOS uuid ${expected.uuid ?? "unknown"}`,
      todo: "find the machine by that uuid. If it is a VM out of the token's sight, put it back into the Proxmox pool of the nodes; if it is gone, delete the Node (kubectl delete node), then run again",
    });
  const { vmid, uuid } = expected;
  const left = await proveGone(context.pve, access.client, { name, vmid, uuid }, { stop: context.stop });
  return { ...departing, node: node && left };
}

/**
 * Connects through the other servers: the connection may lead through the departing server, which is off before its
 * decommissioning is over.
 */
async function connectWithout({ name, vm }: DepartingNode, options: Manner): Promise<Access> {
  const { input, context, fence } = options;
  const { access } = await connect(context, input, vm?.vmid);
  if (access === undefined) throw lastServer(name);
  access.client.fences.add(fence);
  return access;
}

function lastServer(name: string): ControlPlaneRefusal {
  return new ControlPlaneRefusal({
    what: `${name} cannot leave: no other server runs that has started RKE2`,
    where: name,
    todo: 'bring another server back. If this one has made the cluster and never became Ready: docs/recovery.md, "A first creation did not get through"',
  });
}

/** Removes our marks from the VM of an adopted node: it is in no state of the engine, so it is not destroyed. */
async function handBack(vm: ListedVm, expected: ExpectedVm, { fence, context }: Manner): Promise<void> {
  await fence.check();
  await unmark(context.pve, vm.host, expected);
  say(`VM ${expected.vmid} (${expected.name}) is out of the cluster and off; it stays, and is yours to delete`);
}

/**
 * Removes the member from etcd, after its node was drained unless it is dead: its API server ends with it, and a kubelet without an API
 * server ends no pods any more (CAPRKE2#431). The record says retired before that: from here on there is no way back
 * for the node.
 * @param look gives the server time to serve when it may leave only because it does not
 * @returns another connection to the cluster: the connections of the old one may lead to the server that has just left
 */
async function leaveEtcd(
  departing: DepartingNode,
  node: Node,
  { probe, look }: { probe: ServerProbe; look: ServerProbe },
  options: Manner,
): Promise<Access> {
  const { access, fence, input, context } = options;
  const { name } = departing;
  // The check of the fence may take long, so it comes before the observation that decides, and again after it.
  await fence.check();
  const servers = await look(context.stop);
  // A step that failed or was killed may have requested the removal: RKE2 takes its time.
  const isOut = !isMemberOf(servers, name);
  const mayLeave = async (seen: readonly ServerNode[]) =>
    await requireMayLeave(access.client, departing, seen, options.isUnreplaced === true);
  if (!isOut) await mayLeave(servers);
  await fence.check();
  await recordRetired(access.client, departing);
  if (!isOut) {
    const deadline = new Deadline(`etcd's member of ${name} to be removed`, input.site.timeouts.gate, context.stop);
    // The server that gave no answer may be down, and the member's leave is one too many then.
    await removeMember(access.client, node, deadline, async () => {
      const now = await probe(context.stop);
      if (isMemberOf(now, name)) await mayLeave(now);
    });
  }
  say(`${name} is no member of etcd any more`);
  return await connectWithout(departing, options);
}

/** Waits until the Node and the member are gone, and the other servers are healthy, as far as `proof` asks for it. */
async function awaitRemoved(
  name: string,
  after: Access,
  { proof, input, context }: Manner,
  wasMember: boolean,
): Promise<void> {
  const { gate } = input.site.timeouts;
  await awaitGone(after.client, name, new Deadline(`Node ${name} to be gone`, gate, context.stop));
  if (proof === "none" && !wasMember) return;
  const probe = await probeMembers(context, input, after);
  const deadline = new Deadline(`the control plane to be healthy without ${name}`, gate, context.stop);
  // A server that got its join data in an earlier run may join now: a learner that has not started has no name yet.
  const others = (await awaitHealthyControlPlane(probe, deadline)).map((server) => server.name);
  say(`etcd's members are ${others.toSorted().join(", ")}`);
  if (proof === undefined) await awaitControllers(after.client, deadline);
}

async function drainNode(departing: DepartingNode, node: Node, vm: FreshVm, options: Manner): Promise<void> {
  const { access, fence, input, context } = options;
  const { client } = access;
  const { timeouts } = input.site;
  const { name, storage } = departing;
  try {
    await fence.check();
    await cordon(client, node, context.id, options.mayBegin);
    await requireDataMayGo(departing, options, vm.fresh && isFresh(vm.fresh.since) ? vm.fresh.config : undefined);
    if (departing.role === "server")
      await (departing.adopted ? stepDownAdopted(context, vm) : stepDown(context, vm, timeouts.agent));
    if (storage) {
      await moveStorage(storage, options);
      // Hours may have passed.
      await fence.check();
      await options.mayBegin?.();
    }
    const evict = async () => {
      const deadline = new Deadline(`${name} to be empty`, timeouts.drain, context.stop);
      const evicted = await drain(client, { node: name, deadline, check: () => fence.check() });
      say(`${name}: ${evicted} pods evicted`);
      return await awaitDetached(client, name, new Deadline(`the volumes of ${name}`, timeouts.volumes, context.stop));
    };
    // A pod that tolerates the cordon may have come during the wait for volumes.
    if (await evict()) await evict();
    // Its volume may have been bound for it.
    await requireDataMayGo(departing, options);
    const now = await findNode(client, name);
    if (now !== undefined && now.spec?.unschedulable !== true) throw uncordoned(name);
  } catch (error) {
    await attemptQuietly(`${name} could not be given back`, () =>
      restoreIfOurs(context, client, { ...departing, vm }, fence),
    );
    throw error;
  }
}

/**
 * Undoes the preparation of a node that stays, unless another process works on it by now. The cordon is removed last:
 * it tells the next run that something has to be undone.
 */
async function restoreIfOurs(
  context: StepContext,
  client: Kubernetes,
  { name, role, storage, vm }: DepartingNode,
  fence: Fence,
): Promise<void> {
  await fence.requireOwned();
  if (storage) await attemptQuietly(`Longhorn still empties ${name}`, () => withdrawEviction(client, storage));
  if (role === "server" && vm) await resumeServing(context, vm);
  await uncordon(client, name);
  say(`${name} serves again`);
}

/** Records that the node was decommissioned; the record is kept until a run sees that its VM is gone. */
export async function recordRetired(
  client: Kubernetes,
  { pool, own }: Pick<DepartingNode, "pool" | "own">,
): Promise<void> {
  if (own === undefined || own.phase === "retired") return;
  const since = client.now().toISOString();
  await writeFacts(client, pool, { nodes: [{ ...own, phase: "retired", since }] });
}
