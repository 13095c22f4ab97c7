import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { mayBeCalled } from "../../clients/kubernetes/etcd-members.ts";
import { hasBeenInEtcd } from "../../clients/kubernetes/etcd.ts";
import { findLonghornNode, withdrawEviction } from "../../clients/kubernetes/longhorn.ts";
import { forgetPassword, heartbeatOf, uncordon, untaintOutOfService } from "../../clients/kubernetes/nodes.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import { requireOwnCluster } from "../../clients/kubernetes/own-cluster.ts";
import { writeFacts } from "../../clients/kubernetes/record.ts";
import type { ServerNode } from "../../clients/kubernetes/servers.ts";
import { isRunning, type ListedVm } from "../../clients/proxmox/vms.ts";
import type { Node } from "../../clients/kubernetes/types.ts";
import { hasJoined } from "../../domain/rollout/slot-state.ts";
import type { NodeRecord } from "../../domain/model/types.ts";
import { awaitReady, type Arrival } from "../node/await-ready.ts";
import { proveIdentity, isBootstrapServer, findOwnVm, remember } from "./claim.ts";
import {
  awaitHealthyControlPlane,
  awaitControlPlaneForAgents,
  awaitMembers,
  probeMembers,
  settleDeadline,
  isOnlyUnhealthyServer,
  only,
  requireMayJoin,
  requireSkew,
  explainNotAdmitted,
  type ServerProbe,
} from "../cluster/control-plane.ts";
import { findInEtcd, isOwnMember, nameTaken, readStandingInEtcd } from "../cluster/own-member.ts";
import { Disturbance } from "../cluster/disturbance.ts";
import { attributeFailure, hiccup, unjudged } from "../node/attribution.ts";
import { bootRecord, hasRestarted, recordRestart } from "../node/boot.ts";
import { claimedAs, claimedBefore, type Claimed } from "../node/claimed.ts";
import { bootstrapCluster } from "../cluster/bootstrap.ts";
import type { SlotInput } from "../input.ts";
import { readOrder } from "../node/join-data.ts";
import { MemberRemoved, readJoinLog } from "../node/join-log.ts";
import {
  expectedNode,
  isMarked,
  readNodeView,
  missingForMembership,
  applyLabels,
  lacksLabels,
  type Joining,
  type NodeView,
} from "../node/node-view.ts";
import { withLease, attemptQuietly, slotLease, disruptionLeases, type StepContext } from "../context.ts";
import {
  deletedServer,
  explainDeletion,
  removedServer,
  turnOffUnregistered,
  type Registration,
} from "../node/deleted-node.ts";
import { readImage } from "../node/image.ts";
import { findLeftAlone } from "../node/left-alone.ts";
import { powerOn } from "../node/power-on.ts";
import { clearIncomplete, removeDead } from "../node/predecessors.ts";
import { tellWaysOn } from "../node/ways-on.ts";
import { recordRetired } from "../node/decommission.ts";
import { ImageFault, judgeFailed, NodeUnhealthy } from "../node/verdict.ts";
import { resumeServing } from "../node/step-down.ts";
import { connectThroughPeers, type Connection } from "../cluster/connect.ts";

/** Makes the node of a slot a verified member. Does nothing when it is a member already. */
export async function join(context: StepContext, input: SlotInput): Promise<Partial<Claimed>> {
  const asItWas = await findLeftAlone(context, input);
  if (asItWas) return asItWas;
  const connection = await connectThroughPeers(context, input);
  const vm = await findOwnVm(context, connection.vms, input);
  const { access, uid } = connection;
  if (access === undefined) return await joinFirst(context, input, vm, connection.vms);

  const before = await readNodeView(access.client, input);
  const member = await findMember(context, input, vm, access.client, before);
  if (member && !hasRestarted(before)) return member;
  return await withLease(context, access, slotLease(input), input.site.timeouts.lease, async (fence) => {
    // Another step may have joined it during the wait.
    const view = await readNodeView(access.client, input);
    const joinedMeanwhile = await findMember(context, input, vm, access.client, view, fence);
    if (joinedMeanwhile === undefined) return await joinNode(context, input, vm, { access, fence, view, uid });
    await recordRestart(access.client, input.pool, view);
    return joinedMeanwhile;
  });
}

/**
 * The result when there is nothing to do: record, VM and Node agree that the node is a member. The VM's host is asked,
 * because the list is seconds old and a Node looks Ready for most of a minute after its VM has lost its power.
 * @param fence of the leases, under which the Node gets labels that it lacks. Without it such a Node has something to do
 */
async function findMember(
  context: StepContext,
  input: SlotInput,
  vm: ListedVm,
  client: Kubernetes,
  { node, own }: NodeView,
  fence?: Fence,
): Promise<Claimed | undefined> {
  if (node === undefined || own === undefined) return undefined;
  if (!hasJoined(own) || own.vmid !== input.vmid || isMarked(node)) return undefined;
  const expected = expectedNode(input, { uuid: own.uuid, host: vm.host });
  if (missingForMembership(node, expected).length > 0 || !(await isRunning(context.pve, vm))) return undefined;
  if (fence === undefined && lacksLabels(node, expected)) return undefined;
  await fence?.check();
  await applyLabels(client, node, expected);
  return claimedAs(input, own);
}

/** Joins the first server, which bootstraps the cluster; the work that needs an existing cluster comes after that. */
async function joinFirst(
  context: StepContext,
  input: SlotInput,
  vm: ListedVm,
  vms: readonly ListedVm[],
): Promise<Claimed> {
  if (input.role === "agent") {
    throw new UserError({
      what: `${input.node} cannot join: the cluster ${input.cluster} has no server that has started RKE2`,
      where: `pool ${input.site.serverPool} in the Proxmox pool ${input.site.proxmoxPool}`,
      todo: "run pulumi up for the whole stack: the control plane comes first",
    });
  }
  const config = await proveIdentity(context, input, vm, { founder: true });
  const access = await bootstrapCluster(context, input, config, vms);
  const uid = await requireOwnCluster(access, vms, input.cluster);
  const view = await readNodeView(access.client, input);
  return await withLease(context, access, slotLease(input), input.site.timeouts.lease, (fence) =>
    joinNode(context, input, vm, { access, fence, view, uid }),
  );
}

/** @param listed its VM, as the list shows it */
async function joinNode(
  context: StepContext,
  input: SlotInput,
  listed: ListedVm,
  { access, fence, view, uid }: Omit<Joining, "vm"> & Pick<Connection, "uid">,
): Promise<Claimed> {
  const { client } = access;
  const founder = isBootstrapServer(access, listed);
  const vm = await proveIdentity(context, input, listed, { view, founder });
  const joining = { access, fence, view, vm };
  // The claim has recorded the node already, unless there was no cluster to record it in.
  const own = await remember(input, access, view, vm);
  // A restored etcd remembers less than the state, which has the output of this join since it was over.
  const hasJoinedHere = input.role === "agent" && claimedBefore(context, input)?.uuid === vm.uuid;
  const wasMember = hasJoined(own) || hasJoinedHere;
  const silenceBefore = client.silence;
  const leavesEtcd = input.role === "server" && !founder;
  const registration: Registration = { leavesEtcd, lostNode: false, wasTold: false, hadNode: false };
  try {
    await clearIncomplete(context, input, joining);
    await fence.check();
    // Without a Node the name is free, but its node password can outlive the Node (rancher/rke2#4852).
    if (view.node === undefined) await forgetPassword(client, input.node);
    const isOff = listed.status === "stopped" || (await turnOffUnregistered(context, input, joining, wasMember));
    registration.wasTold = !isOff && !wasMember && (await hasBeenTold(context, input, joining));
    const bootBefore = await readEndedBoot(context, joining);
    // A run that was killed while it turned a dead node off may have left the out-of-service taint.
    if (view.node) await untaintOutOfService(client, view.node);
    await powerOn(context, vm, uid);
    await readImage(context, input, vm);
    // Only now: a guest whose agent is silent does not boot, which is another matter.
    registration.lostNode = view.node === undefined && wasMember;
    const heartbeatBefore = bootBefore === undefined ? await readEndedHeartbeat(context, input, joining) : undefined;
    const onNode = () => (registration.hadNode = true);
    const arrival = { bootBefore, heartbeatBefore, isMember: hasJoined(own), onNode };
    const admit = input.role === "agent" ? admitAgent : admitServer;
    const node = await admit(context, input, joining, arrival);
    if (isMarked(node)) await uncordon(client, input.node);
    if (view.own?.phase === "retired") await keepReplicas(client, input.node);
    const since = client.now().toISOString();
    const phase = own.phase === "handedOver" ? "handedOver" : "joined";
    await fence.check();
    await writeFacts(client, input.pool, {
      nodes: [{ ...own, ...bootRecord(client, node, own), phase, since: own.phase === phase ? own.since : since }],
    });
    say(`${input.node} is a member`);
    return claimedAs(input, vm);
  } catch (failure) {
    context.stop.throwIfAborted();
    const read = await readJoinLog(context, vm, failure, client.now());
    const readStanding = () => readStandingInEtcd(context, input, access);
    const cause = await explainDeletion(client, vm, registration, readStanding, read);
    const { registrationAddress } = input.site;
    const { pool, slot, generation } = input;
    const accused = { name: input.node, pool, slot, generation, vm, client, silenceBefore, registrationAddress };
    const error = await attributeFailure(context, accused, cause);
    await rememberFailure(input, client, own, error);
    throw tellWaysOn(input, view.record, own, error);
  }
}

/** Lets Longhorn keep the replicas of a node that returns: they were told to move before it was recorded as retired. */
async function keepReplicas(client: Kubernetes, name: string): Promise<void> {
  const storage = await findLonghornNode(client, name);
  if (storage) await withdrawEviction(client, storage);
}

/**
 * Whether an earlier run has told a server to join that is no member now: it may have been one for a moment, and RKE2
 * takes a server out of etcd whose Node somebody deletes.
 */
async function hasBeenTold(context: StepContext, input: SlotInput, { view, vm }: Joining): Promise<boolean> {
  if (input.role !== "server" || view.node !== undefined) return false;
  return (await readOrder(context, input.site, vm)) === "told";
}

async function rememberFailure(input: SlotInput, client: Kubernetes, own: NodeRecord, error: unknown): Promise<void> {
  // The next plan then gives the slot to another incarnation (simulation seed 770005).
  if (error instanceof MemberRemoved)
    await attemptQuietly("that the server is over", () => recordRetired(client, { pool: input.pool, own }));
  if (!(error instanceof ImageFault)) return;
  const generation = { id: input.generation, spec: input.spec };
  const why = `${input.node}: ${error.problem.what} (${error.problem.where})`;
  await attemptQuietly("the verdict", () => judgeFailed(client, input.pool, generation, why, own));
}

/** Lets an agent join once the control plane is healthy and no server is older than the agent. */
async function admitAgent(
  context: StepContext,
  input: SlotInput,
  { access, vm }: Joining,
  arrival: Arrival,
): Promise<Node> {
  requireSkew(input, await awaitControlPlaneForAgents(context, input, access));
  return await awaitReady(context, input, access, vm, arrival);
}

/**
 * Lets a server join etcd; one member joins or leaves at a time. A new server has joined when all servers agree on the
 * members and it serves at its own address. A voter that is back, as after a power cut, and does not only have the name
 * of one, is only waited for: that changes no membership, so the others need not be healthy, and the decommissioning of
 * one of them may wait for it (simulation seed 771964).
 */
async function admitServer(context: StepContext, input: SlotInput, joining: Joining, arrival: Arrival): Promise<Node> {
  const { view, vm } = joining;
  // The bootstrap server is the only server: its join cannot disturb another server.
  if (isBootstrapServer(joining.access, vm)) return await awaitReady(context, input, joining.access, vm, arrival);
  return await withLease(context, joining.access, disruptionLeases(input), input.site.timeouts.lease, async () => {
    const access = await removeDead(context, input, joining);
    const probe = await probeMembers(context, input, access);
    const found = await findInEtcd(probe, settleDeadline(context, input), input);
    const isOwn = found !== undefined && (arrival.isMember || (await isOwnMember(context, input.site, vm, found)));
    if (found?.member === "voter" && !isOwn) throw nameTaken(vm, found);
    const isBack = found?.member === "voter";
    // Nothing that is waited for brings it back.
    if (arrival.isMember && !isBack && view.node === undefined) throw deletedServer(vm);
    if (found === undefined && (arrival.isMember || hasBeenInEtcd(view.node))) throw removedServer(vm);
    // A learner of another machine has to go first, as any other.
    const itself = found === undefined || isOwn ? mayBeCalled(input, input.node) : [];
    const settled = () => awaitHealthyControlPlane(probe, settleDeadline(context, input), itself);
    const others = isBack ? [] : await settled();
    if (!isBack) requireMayJoin(input, others);
    // The check above may be a minute old by then: that is how long a lost answer of Proxmox is waited for.
    const mayJoin = async () => requireMayJoin(input, await settled());
    const told = isBack ? arrival : { ...arrival, mayJoin };
    const disturbance = new Disturbance(probe, new Set(others.map(({ name }) => name)), context.stop);
    try {
      const node = await awaitReady(context, input, access, vm, told).catch(async (error: unknown) => {
        const why =
          error instanceof NodeUnhealthy
            ? await explainNotAdmitted(probe, input.node, others, context.stop)
            : undefined;
        throw error instanceof NodeUnhealthy && why !== undefined ? unjudged(error, `meanwhile ${why}`) : error;
      });
      await awaitAgreement(context, input, { probe, isBack, others });
      if (isMarked(node)) await resumeServing(context, vm);
      return node;
    } catch (error) {
      const why = disturbance.longerThan(hiccup);
      throw error instanceof NodeUnhealthy && why !== undefined ? unjudged(error, why) : error;
    } finally {
      disturbance.end();
    }
  });
}

/**
 * Waits until all servers agree on the members.
 * @throws NodeUnhealthy when the server that joined is the only unhealthy server
 */
async function awaitAgreement(
  context: StepContext,
  input: SlotInput,
  { probe, isBack, others }: { probe: ServerProbe; isBack: boolean; others: readonly ServerNode[] },
): Promise<void> {
  const members = [...others.map(({ name }) => name), input.node];
  const deadline = new Deadline(`etcd to be healthy with ${input.node}`, input.site.timeouts.gate, context.stop);
  const sees = isBack ? only(input.node, probe) : probe;
  await awaitMembers(sees, members, deadline).catch(async (error: unknown) => {
    const isToBlame = error instanceof DeadlineError && (await isOnlyUnhealthyServer(sees, input.node, context.stop));
    throw isToBlame ? new NodeUnhealthy(error.problem, { cause: error }) : error;
  });
}

/** The boot id that a Node reports although its VM is off; undefined when there is no such Node. */
async function readEndedBoot({ pve }: StepContext, { view: { node }, vm }: Joining): Promise<string | undefined> {
  if (node === undefined || (await isRunning(pve, vm))) return undefined;
  return node.status?.nodeInfo?.bootID;
}

/**
 * The last heartbeat of a Node whose guest has no join data: the Node looks Ready for most of a minute after the join
 * data was wiped, although RKE2 does not run. Undefined when there is no Node, or the guest has its join data.
 */
async function readEndedHeartbeat(
  context: StepContext,
  input: SlotInput,
  { view: { node }, vm }: Joining,
): Promise<string | undefined> {
  if (node === undefined || (await readOrder(context, input.site, vm)) === "told") return undefined;
  return heartbeatOf(node) || undefined;
}
