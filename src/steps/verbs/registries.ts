import type { Access } from "../../clients/kubernetes/access.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import { findNode, heartbeatOf, isReady, listNodes, nameOf, whyNotReady } from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../clients/kubernetes/record.ts";
import { paths, type Node } from "../../clients/kubernetes/types.ts";
import { isAgentSilent, withAgent } from "../../clients/proxmox/agent.ts";
import { ProxmoxError } from "../../clients/proxmox/errors.ts";
import { explainFixed, isAsWanted, isReloading, noRegistries } from "../../clients/proxmox/guest-registries.ts";
import { proveVm } from "../../clients/proxmox/identity.ts";
import { isRunning, listVms, type ListedVm, type VmConfig } from "../../clients/proxmox/vms.ts";
import { quorumOf } from "../../domain/availability/quorum.ts";
import { labels } from "../../domain/model/formats.ts";
import { hasJoined, mayRun } from "../../domain/rollout/slot-state.ts";
import type { Registries } from "../../domain/model/registries.ts";
import type { NodeRecord } from "../../domain/model/types.ts";
import { momentNow, msSince } from "../../runtime/clock.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { lookAtOthers } from "../cluster/availability.ts";
import { connect } from "../cluster/connect.ts";
import {
  awaitHealthyControlPlane,
  ControlPlaneRefusal,
  probeMembers,
  settleDeadline,
  type ServerProbe,
} from "../cluster/control-plane.ts";
import { allFences, disruptionLeases, slotLease, withLease, type StepContext } from "../context.ts";
import type { RegistriesInput } from "../input.ts";
import { applyRegistries, bringRegistries, RegistriesRefused } from "../node/registries.ts";

/** A node of the pool that has registered, as it is seen before any is changed. */
interface Member {
  own: NodeRecord;
  vm: ListedVm | undefined;
  isReady: boolean;
  /** Its RKE2 has started with the configured registries. */
  isDone: boolean;
  /** An earlier run may have asked for a restart that is still to come. */
  isReloading: boolean;
  /** Why it cannot be changed now. */
  why?: string;
}

/** A node whose registries are to change, at work under the lease of its slot. */
interface Reload {
  context: StepContext;
  input: RegistriesInput;
  access: Access;
  own: NodeRecord;
  vm: ListedVm;
}

/** The node cannot be changed now. It keeps its registries, and the next update asks it again. */
class NotNow extends Error {
  /** It was told to restart RKE2, and nothing says that this is over. */
  readonly mayRestart: boolean;

  constructor(why: string, mayRestart = false) {
    super(why);
    this.mayRestart = mayRestart;
  }
}

/**
 * Gives the members of a pool other registries in place, one after the other: RKE2 restarts and reads them, containers
 * go on. Whether a node is Ready again is seen before the next one. A node that cannot be changed now is named and left
 * alone: the rest of the run may be what brings it back.
 * @throws UserError when a node does not come back: no other one is changed
 */
export async function registries(
  context: StepContext,
  input: RegistriesInput,
): Promise<{ changed: string[]; left: string[] }> {
  const { vms, access } = await connect(context, input);
  // Before there is a cluster, joins alone write them.
  if (access === undefined) return { changed: [], left: [] };
  const changed: string[] = [];
  const left: string[] = [];
  let unsure: string | undefined;
  for (const { own, vm, why, isReloading: mayRestart } of await findOutdated(context, input, access.client, vms)) {
    try {
      if (unsure !== undefined) throw new NotNow(`RKE2 of ${unsure} may restart at any moment`);
      if (why !== undefined || vm === undefined) throw new NotNow(why ?? "its VM is not seen");
      if (await change({ context, input, access, own, vm })) changed.push(own.name);
    } catch (error) {
      if (!(error instanceof NotNow)) throw error;
      say(`${own.name} keeps the registries that it has: ${error.message}`);
      left.push(own.name);
      if (mayRestart || error.mayRestart) unsure ??= own.name;
    }
  }
  return { changed, left };
}

/**
 * The nodes of the pool whose RKE2 has not started with the configured registries: first those that may restart at
 * any moment, then those that are not Ready, because they have the least to lose. One whose join is not over may lack
 * the very images that they bring.
 */
async function findOutdated(
  context: StepContext,
  input: RegistriesInput,
  client: Kubernetes,
  vms: readonly ListedVm[],
): Promise<Member[]> {
  const { cluster, pool } = input;
  const nodes = new Map((await listNodes(client, { cluster, pool })).map((node) => [nameOf(node), node]));
  const records = (await readPoolRecord(client, pool)).nodes.filter((one) => mayRun(one) && nodes.has(one.name));
  const members = await Promise.all(
    records.map(async (own): Promise<Member> => {
      const node = nodes.get(own.name);
      const vm = vms.find(({ vmid }) => vmid === own.vmid);
      const seen = { own, vm, isReady: node !== undefined && isReady(node), isDone: false, isReloading: false };
      try {
        return { ...seen, ...(await observe(context, input, own, vm)) };
      } catch (error) {
        if (!(error instanceof NotNow)) throw error;
        return { ...seen, why: error.message };
      }
    }),
  );
  const rank = ({ own, ...one }: Member): number => own.slot + (one.isReady ? 1e6 : 0) + (one.isReloading ? 0 : 1e9);
  return members.filter(({ isDone }) => !isDone).toSorted((a, b) => rank(a) - rank(b));
}

/** @throws NotNow when the guest cannot be asked */
async function observe(
  { pve, stop }: StepContext,
  { plan, registries }: RegistriesInput,
  own: NodeRecord,
  vm: ListedVm | undefined,
): Promise<Seen> {
  const host = plan.slots.find(({ name }) => name === own.name)?.unreachable;
  if (host !== undefined) throw new NotNow(`its Proxmox host ${host} did not answer`);
  if (vm === undefined) throw new NotNow("its VM is not seen");
  return await askNow(async () => {
    if (!(await isRunning(pve, vm))) throw new NotNow("its VM is off");
    // An agent is silent for a moment while its guest is busy, as when RKE2 restarts.
    return await withAgent(own.name, stop, () => lookInto(pve, vm, registries));
  });
}

type Seen = Pick<Member, "isDone" | "isReloading" | "why">;

async function lookInto(pve: StepContext["pve"], vm: ListedVm, wanted: Registries | undefined): Promise<Seen> {
  if (await isAsWanted(pve, vm, wanted)) return { isDone: true, isReloading: false };
  const why = await explainFixed(pve, vm, wanted ?? noRegistries);
  return { isDone: false, isReloading: await isReloading(pve, vm), ...(why === undefined ? {} : { why }) };
}

/** @returns whether it was changed: another step may have done so meanwhile */
async function change(reload: Reload): Promise<boolean> {
  const { context, input, access, own } = reload;
  const { lease } = input.site.timeouts;
  return await withLease(context, access, slotLease({ pool: input.pool, slot: own.slot }), lease, async (slot) => {
    const names = disruptionLeases(input).slice(0, await findRoom(reload));
    return await withLease(context, access, names, lease, async (disruption) => {
      const vm = (await listVms(context.pve)).find(({ vmid }) => vmid === own.vmid) ?? reload.vm;
      if (await askNow(() => isAsWanted(context.pve, vm, input.registries))) return false;
      await replaceInPlace({ ...reload, vm }, allFences(slot, disruption));
      say(`${own.name} has the configured registries`);
      return true;
    });
  });
}

/** A guest or a host that does not answer now is no reason to keep the rest of the pool from being repaired. */
async function askNow<T>(ask: () => Promise<T>): Promise<T> {
  return await ask().catch((error: unknown) => {
    if (error instanceof DeadlineError) throw new NotNow(error.problem.where);
    if (!(error instanceof ProxmoxError)) throw error;
    throw new NotNow(isAgentSilent(error) ? "its guest agent does not answer" : error.message);
  });
}

/** How many nodes of the pool may be out now, those that are not counted. @throws NotNow when there is no room */
async function findRoom({ context, input, access, own }: Reload): Promise<number> {
  const all = disruptionLeases(input).length;
  // For servers etcd alone decides.
  if (input.role === "server") return all;
  const node = await findNode(access.client, own.name);
  // It has nothing to lose.
  if (node === undefined || !isReady(node)) return all;
  const { room, down } = await lookAtOthers(context, access.client, { ...input, slot: own.slot });
  if (room <= 0)
    throw new NotNow(`${down.join(", ")}, and at most ${input.strategy.maxUnavailable} may be out at once`);
  return Math.min(room, all);
}

async function replaceInPlace(reload: Reload, fence: Fence): Promise<void> {
  const { context, input, access, own } = reload;
  const { registries = noRegistries } = input;
  const { client } = access;
  let before = await readNode(client, own);
  const wasReady = isReady(before);
  const isDownAlone = !wasReady && (await isOnlyServer(reload));
  const probe = input.role === "server" && !isDownAlone ? await probeMembers(context, input, access) : undefined;
  const mayRestart = async (seconds: number): Promise<void> => {
    const deadline = new Deadline("the control plane to be healthy", seconds, context.stop);
    await (probe ? requireQuorumWithout(own.name, probe, deadline, wasReady) : findRoom(reload));
    before = await readNode(client, own);
    await fence.check();
  };
  const vm = await prove(reload);
  const seconds = input.site.timeouts.join;
  await askNow(() => bringRegistries(context, vm, registries, () => mayRestart(patience)));
  let isWaiting = true;
  try {
    await applyRegistries(context, vm, registries, seconds, () => mayRestart(lastLook));
    isWaiting = false;
    if (!wasReady) return;
    await awaitReadyAgain(client, before, new Deadline(`${own.name} to be Ready again`, seconds, context.stop));
    if (probe) await awaitHealthyControlPlane(probe, settleDeadline(context, input));
  } catch (error) {
    const isRefused = error instanceof RegistriesRefused;
    if (!(isRefused || error instanceof DeadlineError || error instanceof ControlPlaneRefusal)) throw error;
    // Its unit does not work, as with a defect of its image: the rest of the run may be what replaces it.
    if (isWaiting && !isRefused && isReady(await readNode(client, own)))
      throw new NotNow(`its RKE2 runs on as before: ${error.problem.what}; ${error.problem.where}`, true);
    // What keeps it from being Ready is the matter of its join.
    if (!wasReady) throw new NotNow(error.problem.what);
    throw new UserError(
      {
        what: `${own.name} did not come back with the configured registries: ${error.problem.what}`,
        where: error.problem.where,
        todo: `no other node of ${input.pool} was changed after it. Look at RKE2's journal on it, correct evergreen:registries or put it back as it was, and run pulumi up: it is the first to get them. No image was judged`,
      },
      { cause: error },
    );
  }
}

/**
 * Waits until all other servers are healthy, and this one too if it is Ready. The restart of the only server takes the
 * API away for a moment, as any other way would.
 * @throws NotNow when they stay unhealthy, or etcd would have no quorum without this one
 */
async function requireQuorumWithout(
  name: string,
  probe: ServerProbe,
  deadline: Deadline,
  isReady: boolean,
): Promise<void> {
  const servers = await awaitHealthyControlPlane(probe, deadline, isReady ? [] : [name]).catch((error: unknown) => {
    throw error instanceof ControlPlaneRefusal ? new NotNow(error.problem.what) : error;
  });
  const others = servers.filter((server) => server.name !== name && server.member === "voter").length;
  if (others > 0 && others < quorumOf(others + 1))
    throw new NotNow(`etcd has no quorum without it, with ${others + 1} voters`);
}

/**
 * Whether no other server is known: then none has to be healthy for this one to be repaired. The Nodes and the record
 * tell, because etcd's members are listed by RKE2, which a server that is down does not run.
 */
async function isOnlyServer({ input: { pool, role }, access: { client }, own }: Reload): Promise<boolean> {
  if (role !== "server") return false;
  const [{ items }, { nodes }] = await Promise.all([
    client.list<Node>(paths.nodes, { labelSelector: labels.server }),
    readPoolRecord(client, pool),
  ]);
  const known = [...items.map(nameOf), ...nodes.filter(hasJoined).map(({ name }) => name)];
  return known.every((name) => name === own.name);
}

async function readNode(client: Kubernetes, { name }: NodeRecord): Promise<Node> {
  const node = await findNode(client, name);
  if (node === undefined) throw new NotNow("its Node is gone");
  return node;
}

/** Longest wait for other servers before one is restarted, in seconds: what is down longer, the rest of the run mends. */
const patience = 60;

/** The same right before the restart, in seconds: the node was proved to be ours before, and is written to already. */
const lastLook = 10;

async function prove({ context, own, vm }: Reload): Promise<VmConfig> {
  const { name, uuid, vmid } = own;
  return await askNow(() => proveVm(context.pve, vm.host, { vmid, name, uuid, tags: [] }));
}

/** Longer than it takes until the Node of a kubelet that has ended is not Ready any more, in milliseconds. */
const silenceShows = 60_000;

/**
 * A kubelet that starts reports at once. It may have done so before its node was asked, when an earlier run has had it
 * restarted: then it counts that the Node stays Ready.
 */
async function awaitReadyAgain(client: Kubernetes, before: Node, deadline: Deadline): Promise<void> {
  let why = "";
  let since = momentNow();
  await deadline.poll(
    1000,
    async () => {
      // The server that restarts may have led etcd, or be the one that was asked.
      const node = await findNode(client, nameOf(before)).catch(messageOf);
      if (typeof node === "object" && isReady(node)) {
        why = "it has not reported since its RKE2 was restarted";
        return heartbeatOf(node) !== heartbeatOf(before) || msSince(since) > silenceShows ? true : undefined;
      }
      why = node === undefined ? "its Node is gone" : typeof node === "string" ? node : whyNotReady(node);
      since = momentNow();
      return undefined;
    },
    () => why,
  );
}
