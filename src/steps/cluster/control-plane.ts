import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { messageOf, UserError, type Problem } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { serverVms, type Access } from "../../clients/kubernetes/access.ts";
import { awaitControllers } from "../../clients/kubernetes/controllers.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { readMembers } from "../../clients/kubernetes/etcd-members.ts";
import { readWantedServers } from "../../clients/kubernetes/record.ts";
import { readServerToken } from "../../clients/kubernetes/server-token.ts";
import { readServers, readServersAndMembers, type ServerNode } from "../../clients/kubernetes/servers.ts";
import { nodeTags } from "../../clients/proxmox/tags.ts";
import { isHostSilent, listVms } from "../../clients/proxmox/vms.ts";
import { nodeName } from "../../domain/model/generation.ts";
import {
  quorumOf,
  controlPlaneUnhealthyReason,
  whyMembersAreNot,
  whyServerMayNotJoin,
  whyServerMayNotLeave,
} from "../../domain/availability/quorum.ts";
import { whyAgentMayNotJoin } from "../../domain/versions/versions.ts";
import type { ClusterInput, SlotInput } from "../input.ts";
import type { StepContext } from "../context.ts";
import { clusterSite } from "./connect.ts";

const places = "the servers, each asked at its own address, port 6443";

/** How a step sees the servers at this moment. */
export type ServerProbe = (signal: AbortSignal) => Promise<ServerNode[]>;

/** By their Nodes: enough for whoever only wants a control plane that is well. */
export function probeNodes(access: Access): ServerProbe {
  return (signal) => readServers(access, signal);
}

/** By their Nodes and by etcd's own list of members: for whoever adds one or takes one out. */
export async function probeMembers(context: StepContext, { site }: ClusterInput, access: Access): Promise<ServerProbe> {
  const token = await readServerToken(context.pve, access.server);
  return async (signal) => {
    const members = await readMembers(access, site.registrationAddress, token, signal);
    return await readServersAndMembers(access, members, signal);
  };
}

/** One server alone, as somebody sees all. */
export function only(name: string, probe: ServerProbe): ServerProbe {
  return async (signal) => (await probe(signal)).filter((server) => server.name === name);
}

/** How long a step waits for a control plane that is not well. */
export function settleDeadline(context: StepContext, { site }: ClusterInput): Deadline {
  return new Deadline("the control plane to be well", site.timeouts.gate, context.stop);
}

/**
 * Waits until the control plane is calm, which it is not for a moment after every change. Nothing is disturbed before.
 * @param besides names, or addresses of members without one, that are allowed to be ill: the server that is to be mended
 * @returns the others
 * @throws UserError with what is not calm, by name
 */
export async function awaitHealthyControlPlane(
  probe: ServerProbe,
  deadline: Deadline,
  besides: readonly (string | undefined)[] = [],
): Promise<ServerNode[]> {
  let why = "";
  const calm = deadline.poll(
    500,
    async () => {
      const servers = await probe(deadline.signal()).catch((error: unknown) => {
        // An election, or an API server that has just gone: the next look tells. One that the deadline ends says nothing.
        if (why === "" || !deadline.passed) why = messageOf(error);
        return undefined;
      });
      const others = servers?.filter(({ name }) => !besides.includes(name));
      if (others) why = controlPlaneUnhealthyReason(others) ?? "";
      return why === "" ? others : undefined;
    },
    () => why,
  );
  return await calm.catch((error: unknown) => {
    // No verdict on whoever waited for it.
    throw error instanceof DeadlineError
      ? refused({ what: `the control plane is not well, so nothing is disturbed: ${why}` })
      : error;
  });
}

/** Whether etcd has this server among its voters, as soon as anybody says who they are. */
export async function isVoterAlready(probe: ServerProbe, deadline: Deadline, name: string): Promise<boolean> {
  let why = "";
  const servers = deadline.poll(
    500,
    () =>
      probe(deadline.signal()).catch((error: unknown) => {
        if (why === "" || !deadline.passed) why = messageOf(error);
        return undefined;
      }),
    () => why,
  );
  const known = await servers.catch((error: unknown) => {
    throw error instanceof DeadlineError
      ? refused({ what: `the control plane is not well, so nothing is disturbed: ${why}` })
      : error;
  });
  return known.some((server) => server.name === name && server.member === "voter");
}

/**
 * Waits until agents may come and go. A server on a Proxmox host that does not answer is down for as long as that lasts: the
 * others will do, while they are most of all and nothing else is wrong with them.
 * @returns all servers, also that one: no agent may be newer than it
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
    const away = await onSilentHosts(context, input);
    const rest = all.filter(({ name }) => !away.has(name));
    const healthy = rest.filter(({ member, health }) => member === "voter" && health === "healthy").length;
    const voters = all.filter(({ member }) => member === "voter").length;
    return healthy >= quorumOf(voters) ? rest : all;
  };
  await awaitHealthyControlPlane(others, settleDeadline(context, input));
  return all;
}

/** Names of the servers whose Proxmox host does not answer. Only those are asked for whom the list has no status. */
async function onSilentHosts(context: StepContext, input: ClusterInput): Promise<Set<string>> {
  const servers = serverVms(await listVms(context.pve), clusterSite(input)).filter(
    ({ status }) => status === "unknown",
  );
  const names = await Promise.all(
    servers.map(async (vm) => {
      const { cluster = "", pool = "", slot = 0, generation = "" } = nodeTags(vm.tags) ?? {};
      const silent = await isHostSilent(context.pve, vm);
      return silent ? [vm.name ?? nodeName(cluster, pool, slot, generation)] : [];
    }),
  );
  return new Set(names.flat());
}

/**
 * Before a server is disturbed: the one that left before it may have led the controllers, in this run or in one that was
 * killed right after.
 * @throws UserError with who does not work
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
    // No verdict on whoever waited for them.
    throw error instanceof DeadlineError
      ? refused({ what: `the controllers do not work, so nothing is disturbed: ${error.problem.where}` })
      : error;
  }
}

/** @throws UserError with the reason when this server may not become a member now */
export function requireMayJoin(input: SlotInput, others: readonly ServerNode[]): void {
  // The only server of its slot is replaced with consent, which the plan has asked for; any other slot is growth.
  const replaced = others.some(({ slot }) => slot === String(input.slot));
  const consent = !replaced || input.strategy.replaceOnlyServer === true ? "accepted" : "refused";
  const why = whyServerMayNotJoin(input.node, others, consent);
  if (why !== undefined) throw refused({ what: `${input.node} may not become a member of etcd now: ${why}` });
}

/** @throws UserError when an agent of this version may not join these servers */
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

/**
 * As many voters stay as the last rollout wanted. A slot that is handed over waits for none that is still empty (seed 1069 of
 * the simulation); what is half-made does: it may be the voter that an empty slot lacks (seeds 328, 1240).
 * @throws UserError with the reason when this member may not be taken out now
 */
export async function requireMayLeave(
  client: Kubernetes,
  name: string,
  servers: readonly ServerNode[],
  isHalfMade: boolean,
): Promise<void> {
  const slotsOf = (some: readonly ServerNode[]) => new Set(some.map(({ slot }) => slot)).size;
  // Nobody has told before the first rollout: a slot that has another server keeps one, one that has none is given up.
  const told = (await readWantedServers(client)) ?? slotsOf(servers.filter((server) => server.name !== name));
  const wanted = isHalfMade ? told : Math.min(told, slotsOf(servers));
  const why = whyServerMayNotLeave(name, servers, Math.max(1, wanted));
  if (why !== undefined) throw refused({ what: `${name} may not be taken out of etcd now: ${why}` });
}

/** The control plane is not in a state for a change. Nothing was changed, and no image is to blame. */
export class ControlPlaneRefusal extends UserError {}

function refused(problem: Pick<Problem, "what">): ControlPlaneRefusal {
  return new ControlPlaneRefusal({
    ...problem,
    where: places,
    todo: 'nothing was changed. Bring the servers that are named back to health, then run pulumi up again; docs/recovery.md has the recipes: "The quorum is lost", "A server did not get through its join"',
  });
}

/**
 * Waits until the change of a member is over everywhere: the members are the expected ones and no stranger, and every server
 * serves at its own address. A server of ours is no stranger: one that an earlier run told to join
 * comes by itself as soon as etcd lets it (seed 237 of the simulation).
 * @throws DeadlineError with what is missing
 */
export async function awaitMembers(probe: ServerProbe, expected: readonly string[], deadline: Deadline): Promise<void> {
  let why = "";
  await deadline.poll(
    500,
    async () => {
      why = await whyNotSettled(probe, expected, deadline.signal()).catch(messageOf);
      return why === "" ? true : undefined;
    },
    () => why,
  );
  say(`etcd's members are ${expected.toSorted().join(", ")}`);
}

async function whyNotSettled(probe: ServerProbe, expected: readonly string[], signal: AbortSignal): Promise<string> {
  const servers = await probe(signal);
  const members = servers.filter(({ member }) => member !== "none");
  const late = members.filter(({ name, slot }) => slot !== undefined && !expected.includes(name));
  const all = [...expected, ...late.map(({ name }) => name)];
  return controlPlaneUnhealthyReason(members) ?? whyMembersAreNot(all, servers) ?? "";
}

/**
 * Why it may be no fault of a server that etcd has not let in: one of the others, which were all calm when it began, is not any
 * more, and etcd takes nobody meanwhile (seed 43215 of the simulation). One that is a voter was let in.
 */
export async function notAdmittedReason(
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

/** Why some of the servers are not calm. @param seen all of them, or why they could not be seen */
export function unhealthyReason(seen: readonly ServerNode[] | string, names: ReadonlySet<string>): string | undefined {
  if (typeof seen === "string") return `the other servers could not be seen: ${seen}`;
  return controlPlaneUnhealthyReason(seen.filter(({ name }) => names.has(name)));
}

/** Whether one server alone keeps the control plane from being calm. What cannot be seen is nobody's fault. */
export async function isOnlyUnhealthyServer(probe: ServerProbe, name: string, signal: AbortSignal): Promise<boolean> {
  const servers = await probe(signal).catch(() => undefined);
  return (
    servers !== undefined &&
    controlPlaneUnhealthyReason(servers) !== undefined &&
    controlPlaneUnhealthyReason(servers.filter((server) => server.name !== name)) === undefined
  );
}
