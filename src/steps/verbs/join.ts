import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import { forgetPassword, restore, untaintOutOfService } from "../../clients/kubernetes/nodes.ts";
import { writeFacts } from "../../clients/kubernetes/record.ts";
import type { ServerNode } from "../../clients/kubernetes/servers.ts";
import { isRunning, type ListedVm, type VmConfig } from "../../clients/proxmox/vms.ts";
import type { Node } from "../../clients/kubernetes/types.ts";
import { hasJoined } from "../../domain/rollout/slots.ts";
import type { NodeRecord } from "../../domain/model/types.ts";
import { admit, type Arrival } from "../node/admission.ts";
import { claimedAs, identity, isFounder, ownVm, remember, type Claimed } from "./claim.ts";
import {
  awaitCalm,
  awaitCalmForAgents,
  awaitMembers,
  byMembers,
  calmBy,
  isAloneNotCalm,
  isVoterAlready,
  only,
  requireMayJoin,
  requireSkew,
  whyNotLetIn,
  type Sight,
} from "../cluster/control-plane.ts";
import { Disturbance } from "../cluster/disturbance.ts";
import { excused, hiccup, unjudged } from "../node/excuse.ts";
import { foundCluster } from "../cluster/founding.ts";
import type { SlotInput } from "../input.ts";
import { MemberRemoved, readJoinLog } from "../node/join-log.ts";
import { expectedNode, isMarked, known, lacking, putLabels, type Known } from "../node/member.ts";
import { holding, quietly, slotLease, tickets, type Run } from "../run.ts";
import { imageOf } from "../node/image.ts";
import { leftAlone } from "../node/left-alone.ts";
import { powerOn } from "../node/power-on.ts";
import { clearHalfMade, removeDead } from "../node/predecessors.ts";
import { retired } from "../node/retirement.ts";
import { ImageFault, judgeFailed, Unwell } from "../node/verdict.ts";
import { serveAgain } from "../node/yield.ts";
import { lookAround } from "../cluster/scene.ts";

/** Makes the node of a slot a verified member. Does nothing when it is one. */
export async function join(run: Run, input: SlotInput): Promise<Partial<Claimed>> {
  const asItWas = await leftAlone(run, input);
  if (asItWas) return asItWas;
  const scene = await lookAround(run, input);
  const vm = await ownVm(run, scene.vms, input);
  const { access } = scene;
  if (access === undefined) return await joinFirst(run, input, vm, scene.vms);

  const before = await known(access.client, input);
  const member = await memberAlready(run, input, vm, access.client, before);
  if (member) return member;
  return await holding(run, access, slotLease(input), input.site.timeouts.lease, async (fence) => {
    const now = await known(access.client, input);
    const joinedMeanwhile = await memberAlready(run, input, vm, access.client, now);
    if (joinedMeanwhile) return joinedMeanwhile;
    return await joinNode(run, input, { access, fence, vm, known: now });
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
  client: Kubernetes,
  { node, own }: Known,
): Promise<Claimed | undefined> {
  if (node === undefined || own === undefined) return undefined;
  if (!hasJoined(own) || own.vmid !== input.vmid || isMarked(node)) return undefined;
  const expected = expectedNode(input, own.uuid);
  if (lacking(node, expected).length > 0 || !(await isRunning(run.pve, vm))) return undefined;
  await putLabels(client, node, expected);
  return claimedAs(input, own);
}

/** The first server makes the cluster; what it needs from a cluster that exists comes after. */
async function joinFirst(run: Run, input: SlotInput, vm: ListedVm, vms: readonly ListedVm[]): Promise<Claimed> {
  if (input.role === "agent") {
    throw new UserError({
      what: `${input.node} cannot join: the cluster ${input.cluster} has no server that has started RKE2`,
      where: `pool ${input.site.serverPool} in the Proxmox pool ${input.site.proxmoxPool}`,
      todo: "run pulumi up for the whole stack: the control plane comes first",
    });
  }
  const config = await identity(run, input, vm, { founder: true });
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
}

type Arriving = Joining & { arrival: Arrival };

async function joinNode(run: Run, input: SlotInput, joining: Joining): Promise<Claimed> {
  const { access, fence } = joining;
  const { client } = access;
  const founder = isFounder(access, joining.vm);
  const config = await identity(run, input, joining.vm, { known: joining.known, founder });
  // Its claim has recorded it, unless there was no cluster yet to record it in.
  const own = await remember(input, access, joining.known, config);
  const silenceBefore = client.silence;
  try {
    await clearHalfMade(run, input, joining);
    await fence.check();
    // Who has no Node has no right to the name either, but its password can outlive it (rancher/rke2#4852).
    if (joining.known.node === undefined) await forgetPassword(client, input.node);
    const bootBefore = await bootThatEnded(run, config, joining.known);
    // A run that was killed while it turned a dead node off may have said that it is off for good.
    if (joining.known.node) await untaintOutOfService(client, joining.known.node);
    await powerOn(run, config, joining.vm.status);
    await imageOf(run, input, config);
    const arriving = { ...joining, arrival: { bootBefore, isMember: hasJoined(own) } };
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
    return claimedAs(input, config);
  } catch (failure) {
    run.stop.throwIfAborted();
    const { node: name } = input;
    const accused = { name, vm: config, client, silenceBefore };
    const error = await excused(run, accused, await readJoinLog(run, config, failure, client.now()));
    await rememberFailure(input, client, own, error);
    throw error;
  }
}

async function rememberFailure(input: SlotInput, client: Kubernetes, own: NodeRecord, error: unknown): Promise<void> {
  // Whoever plans next gives the slot to another incarnation (seed 770005 of the simulation).
  if (error instanceof MemberRemoved)
    await quietly("that the server is over", () => retired(client, { pool: input.pool, record: own }));
  if (!(error instanceof ImageFault)) return;
  const generation = { id: input.generation, spec: input.spec };
  const why = `${input.node}: ${error.problem.what}`;
  await quietly("the verdict", () => judgeFailed(client, input.pool, generation, why, own));
}

/** Agents come to a control plane that is well, and whose servers are all as new as they are. */
async function admitAgent(run: Run, input: SlotInput, { access, arrival }: Arriving, config: VmConfig): Promise<Node> {
  requireSkew(input, await awaitCalmForAgents(run, input, access));
  return await admit(run, input, access, config, arrival);
}

/**
 * One member of etcd comes or goes at a time. A server that is a voter already, as after a power cut, is only waited for: it
 * changes nothing that others would have to be well for, and may itself be what their retirement waits for (seed 771964 of
 * the simulation). Another has come when everybody agrees on the members, and serves at its own address.
 */
async function admitServer(run: Run, input: SlotInput, joining: Arriving, config: VmConfig): Promise<Node> {
  const { arrival } = joining;
  // The founder is alone: there is nobody whose peace it could disturb.
  if (isFounder(joining.access, config)) return await admit(run, input, joining.access, config, arrival);
  return await holding(run, joining.access, tickets(input), input.site.timeouts.lease, async () => {
    const access = await removeDead(run, input, joining);
    const sight = await byMembers(run, input, access);
    const isBack = await isVoterAlready(sight, calmBy(run, input), input.node);
    const calm = () => awaitCalm(sight, calmBy(run, input), [input.node, input.address]);
    const others = isBack ? [] : await calm();
    if (!isBack) requireMayJoin(input, others);
    // That look may be a minute old by then: an answer of Proxmox that is lost is waited for as long.
    const mayJoin = async () => requireMayJoin(input, await calm());
    const told = isBack ? arrival : { ...arrival, mayJoin };
    const disturbance = new Disturbance(sight, new Set(others.map(({ name }) => name)), run.stop);
    try {
      const node = await admit(run, input, access, config, told).catch(async (error: unknown) => {
        const why = error instanceof Unwell ? await whyNotLetIn(sight, input.node, others, run.stop) : undefined;
        throw error instanceof Unwell && why !== undefined ? unjudged(error, `meanwhile ${why}`) : error;
      });
      await agreed(run, input, { sight, isBack, others });
      if (isMarked(node)) await serveAgain(run, config);
      return node;
    } catch (error) {
      const why = disturbance.longerThan(hiccup);
      throw error instanceof Unwell && why !== undefined ? unjudged(error, why) : error;
    } finally {
      disturbance.end();
    }
  });
}

/** Waits until all servers agree on who is a member. @throws Unwell when the one that came is alone to blame for it */
async function agreed(
  run: Run,
  input: SlotInput,
  { sight, isBack, others }: { sight: Sight; isBack: boolean; others: readonly ServerNode[] },
): Promise<void> {
  const members = [...others.map(({ name }) => name), input.node];
  const deadline = new Deadline(`etcd to be well with ${input.node}`, input.site.timeouts.gate, run.stop);
  const sees = isBack ? only(input.node, sight) : sight;
  await awaitMembers(sees, members, deadline).catch(async (error: unknown) => {
    const isToBlame = error instanceof DeadlineError && (await isAloneNotCalm(sees, input.node, run.stop));
    throw isToBlame ? new Unwell(error.problem, { cause: error }) : error;
  });
}

/** The boot that a Node tells of although its VM is off; undefined when there is no such Node. */
async function bootThatEnded(run: Run, config: VmConfig, { node }: Known): Promise<string | undefined> {
  if (node === undefined || (await isRunning(run.pve, config))) return undefined;
  return node.status?.nodeInfo?.bootID;
}
