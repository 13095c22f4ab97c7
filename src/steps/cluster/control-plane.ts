import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { messageOf, UserError, type Problem } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { serverVms, type Access } from "../../clients/kubernetes/access.ts";
import { awaitControllers } from "../../clients/kubernetes/controllers.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { readMembers } from "../../clients/kubernetes/etcd-members.ts";
import { readServerToken } from "../../clients/kubernetes/server-token.ts";
import { readServers, readServersAndMembers, type ServerNode } from "../../clients/kubernetes/servers.ts";
import { isCalled, isHostSilent, listVms, type ListedVm } from "../../clients/proxmox/vms.ts";
import {
  quorumOf,
  controlPlaneUnhealthyReason,
  whyMembersAreNot,
  whyServerMayNotJoin,
} from "../../domain/availability/quorum.ts";
import { whyAgentMayNotJoin } from "../../domain/versions/versions.ts";
import type { ClusterInput, SlotInput } from "../input.ts";
import type { StepContext } from "../context.ts";
import { clusterSite } from "./connect.ts";

const places = "the servers, each asked at its own address, port 6443";

/** Reads the state of the servers at this moment. */
export type ServerProbe = (signal: AbortSignal) => Promise<ServerNode[]>;

/** Reads the servers by their Nodes: enough for a step that only needs a healthy control plane. */
export function probeNodes(access: Access): ServerProbe {
  return (signal) => readServers(access, signal);
}

/**
 * Reads the servers by their Nodes and by etcd's member list: for a step that adds or removes a member.
 * @param read how the list is read. @default once: for a probe that is repeated anyway
 */
export async function probeMembers(
  context: StepContext,
  { site }: ClusterInput,
  access: Access,
  read: typeof readMembers = readMembers,
): Promise<ServerProbe> {
  const token = await readServerToken(context.pve, access.server);
  return async (signal) => {
    const members = await read(access, site.registrationAddress, token, signal);
    return await readServersAndMembers(access, members, signal);
  };
}

/** Narrows a probe to one server. */
export function only(name: string, probe: ServerProbe): ServerProbe {
  return async (signal) => (await probe(signal)).filter((server) => server.name === name);
}

/** Deadline for a control plane that is unhealthy to become healthy. */
export function settleDeadline(context: StepContext, { site }: ClusterInput): Deadline {
  return new Deadline("the control plane to be healthy", site.timeouts.gate, context.stop);
}

/**
 * Waits until the control plane is healthy; after every change it is unhealthy for a moment. Nothing is disturbed
 * before that.
 * @param besides names, or addresses of members without a name, that may be unhealthy: the server that is being
 *   repaired
 * @returns the other servers
 * @throws ControlPlaneRefusal that names what is unhealthy
 */
export async function awaitHealthyControlPlane(
  probe: ServerProbe,
  deadline: Deadline,
  besides: readonly string[] = [],
): Promise<ServerNode[]> {
  let why = "";
  const settled = deadline.poll(
    500,
    async () => {
      const servers = await probe(deadline.signal()).catch((error: unknown) => {
        // An election, or an API server that has just stopped: the next poll tells. An error caused by the deadline
        // itself says nothing.
        if (why === "" || !deadline.passed) why = messageOf(error);
        return undefined;
      });
      const others = servers?.filter(({ name }) => !besides.includes(name));
      if (others) why = controlPlaneUnhealthyReason(others) ?? "";
      return why === "" ? others : undefined;
    },
    () => why,
  );
  return await settled.catch((error: unknown) => {
    // This is no verdict on the node that waits for the control plane.
    throw error instanceof DeadlineError
      ? refused({ what: `the control plane is not healthy, so nothing is disturbed: ${why}` })
      : error;
  });
}

/**
 * Waits until the control plane is healthy enough for agents to join and leave. A server on a silent Proxmox host is
 * down for as long as its host is silent: the other servers are enough while they have quorum and nothing else is wrong
 * with them.
 * @returns all servers, including the silent ones: no agent may be newer than any of them
 */
export async function awaitControlPlaneForAgents(
  context: StepContext,
  input: ClusterInput,
  access: Access,
): Promise<ServerNode[]> {
  const probe = probeNodes(access);
  let all: ServerNode[] = [];
  const others: ServerProbe = async (signal) => {
    all = await probe(signal);
    if (controlPlaneUnhealthyReason(all) === undefined) return all;
    const away = await findServersOnSilentHosts(context, input);
    const rest = all.filter(({ name }) => !away.some((vm) => isCalled(vm, name)));
    const healthy = rest.filter(({ member, health }) => member === "voter" && health === "healthy").length;
    const voters = all.filter(({ member }) => member === "voter").length;
    return healthy >= quorumOf(voters) ? rest : all;
  };
  await awaitHealthyControlPlane(others, settleDeadline(context, input));
  return all;
}

/**
 * The servers whose Proxmox host does not answer. Only hosts of VMs that have no status in the list are asked.
 */
async function findServersOnSilentHosts(context: StepContext, input: ClusterInput): Promise<ListedVm[]> {
  const servers = serverVms(await listVms(context.pve), clusterSite(input)).filter(
    ({ status }) => status === "unknown",
  );
  const silent = await Promise.all(servers.map((vm) => isHostSilent(context.pve, vm)));
  return servers.filter((_, index) => silent[index]);
}

/**
 * Requires working controllers before a server is disturbed: the server that left before it may have led them, in this
 * run or in a run that was killed right after.
 * @throws ControlPlaneRefusal that names the controllers that do not work
 */
export async function requireControllers(
  context: StepContext,
  { site }: ClusterInput,
  client: Kubernetes,
): Promise<void> {
  const deadline = new Deadline("the controllers to work", site.timeouts.gate, context.stop);
  try {
    await awaitControllers(client, deadline);
  } catch (error) {
    // This is no verdict on the node that waits for the controllers.
    throw error instanceof DeadlineError
      ? refused({ what: `the controllers do not work, so nothing is disturbed: ${error.problem.where}` })
      : error;
  }
}

/**
 * Requires that this server may become a member now.
 * @throws ControlPlaneRefusal with the reason when it may not
 */
export function requireMayJoin(input: SlotInput, others: readonly ServerNode[]): void {
  // Replacing the only server of a slot needs the consent that the plan has checked; a server in any other slot is
  // growth, which the configuration asks for, and which comes after a snapshot (src/steps/verbs/snapshot.ts).
  const replaced = others.some(({ slot }) => slot === String(input.slot));
  const consent = !replaced || input.strategy.replaceOnlyServer === true ? "accepted" : "refused";
  const why = whyServerMayNotJoin(input.node, others, consent);
  if (why === undefined) return;
  const problem = { what: `${input.node} may not become a member of etcd now: ${why}` };
  if (whyServerMayNotJoin(input.node, others, "accepted") !== undefined) throw refused(problem);
  // The plan asks for it where the slot was handed over: here a first creation has ended before that.
  const todo =
    "nothing was changed. Configure the content that this voter has, and run pulumi up: with it the cluster gets its other servers first. Or set controlPlane.replaceOnlyServer to true and accept the risk";
  throw new ControlPlaneRefusal({ ...problem, where: places, todo });
}

/**
 * Requires that an agent of this version may join these servers.
 * @throws UserError with the reason when it may not
 */
export function requireSkew(input: SlotInput, servers: readonly ServerNode[]): void {
  const why = whyAgentMayNotJoin(
    input.spec.rke2,
    servers.map(({ kubelet }) => kubelet),
  );
  if (why === undefined) return;
  throw new UserError({
    what: `${input.node} may not join: ${why}`,
    where: `slot ${input.slot} of pool ${input.pool}`,
    todo: "let the servers come first: pulumi up for the whole stack",
  });
}

/** The control plane is in no state for a change. Nothing was changed, and no image is to blame. */
export class ControlPlaneRefusal extends UserError {}

/** The refusal of a change of members. */
export function refused(problem: Pick<Problem, "what">): ControlPlaneRefusal {
  return new ControlPlaneRefusal({
    ...problem,
    where: places,
    todo: 'nothing was changed. Bring the servers that are named back to health, then run pulumi up again; docs/recovery.md has the recipes: "A server is dead", "The quorum is lost", "A server did not get through its join"',
  });
}

/**
 * Waits until the change of a member is complete: etcd has the expected members and no foreign member, and every server
 * serves at its own address. A server of ours is not foreign: a server that got its join data in an earlier run joins
 * by itself as soon as etcd admits it.
 * @throws DeadlineError with what is missing
 */
export async function awaitMembers(probe: ServerProbe, expected: readonly string[], deadline: Deadline): Promise<void> {
  let why = "";
  await deadline.poll(
    500,
    async () => {
      why = await explainNotSettled(probe, expected, deadline.signal()).catch(messageOf);
      return why === "" ? true : undefined;
    },
    () => why,
  );
  say(`etcd's members are ${expected.toSorted().join(", ")}`);
}

async function explainNotSettled(
  probe: ServerProbe,
  expected: readonly string[],
  signal: AbortSignal,
): Promise<string> {
  const servers = await probe(signal);
  const members = servers.filter(({ member }) => member !== "none");
  const late = members.filter(({ name, slot }) => slot !== undefined && !expected.includes(name));
  const all = [...expected, ...late.map(({ name }) => name)];
  return controlPlaneUnhealthyReason(members) ?? whyMembersAreNot(all, servers) ?? "";
}

/**
 * Why a server may not be to blame that etcd has not admitted it: another server, which was healthy when the join
 * began, is unhealthy, and meanwhile etcd admits no member. Undefined for a server that is a voter: etcd has admitted
 * it.
 */
export async function explainNotAdmitted(
  probe: ServerProbe,
  name: string,
  others: readonly ServerNode[],
  signal: AbortSignal,
): Promise<string | undefined> {
  if (others.length === 0) return undefined;
  const seen = await probe(signal).catch(messageOf);
  const isIn = (server: ServerNode) => server.name === name && server.member === "voter";
  if (typeof seen !== "string" && seen.some(isIn)) return undefined;
  return unhealthyReason(seen, new Set(others.map((server) => server.name)));
}

/**
 * Why some of the servers are unhealthy; undefined: they are healthy.
 * @param seen all servers, or why they could not be read
 */
export function unhealthyReason(seen: readonly ServerNode[] | string, names: ReadonlySet<string>): string | undefined {
  if (typeof seen === "string") return `the other servers could not be seen: ${seen}`;
  return controlPlaneUnhealthyReason(seen.filter(({ name }) => names.has(name)));
}

/**
 * Whether one server alone makes the control plane unhealthy. False when the servers cannot be read: no server is to
 * blame then.
 */
export async function isOnlyUnhealthyServer(probe: ServerProbe, name: string, signal: AbortSignal): Promise<boolean> {
  const servers = await probe(signal).catch(() => undefined);
  return (
    servers !== undefined &&
    controlPlaneUnhealthyReason(servers) !== undefined &&
    controlPlaneUnhealthyReason(servers.filter((server) => server.name !== name)) === undefined
  );
}
