/** The restart of RKE2 on a node for other registries: when it may be, and that the node comes back. */
import type { Access } from "../../clients/kubernetes/access.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import { findNode, heartbeatOf, isReady, nameOf, whyNotReady } from "../../clients/kubernetes/nodes.ts";
import { readPoolRecord } from "../../clients/kubernetes/record.ts";
import { paths, type Node } from "../../clients/kubernetes/types.ts";
import { noRegistries } from "../../clients/proxmox/guest-registries.ts";
import { proveVm } from "../../clients/proxmox/identity.ts";
import type { ListedVm, VmConfig } from "../../clients/proxmox/vms.ts";
import { quorumOf } from "../../domain/availability/quorum.ts";
import { labels } from "../../domain/model/formats.ts";
import { hasJoined } from "../../domain/rollout/slot-state.ts";
import type { NodeRecord } from "../../domain/model/types.ts";
import { momentNow, msSince } from "../../runtime/clock.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { lookAtOthers } from "../cluster/availability.ts";
import {
  awaitHealthyControlPlane,
  ControlPlaneRefusal,
  probeMembers,
  settleDeadline,
  type ServerProbe,
} from "../cluster/control-plane.ts";
import { disruptionLeases, type StepContext } from "../context.ts";
import type { RegistriesInput } from "../input.ts";
import { askNow, NotNow } from "./not-now.ts";
import { applyRegistries, bringRegistries, RegistriesRefused } from "./registries.ts";

/** A node whose registries are to change, at work under the lease of its slot. */
export interface Reload {
  context: StepContext;
  input: RegistriesInput;
  access: Access;
  own: NodeRecord;
  vm: ListedVm;
}

/** How many nodes of the pool may be out now, those that are not counted. @throws NotNow when there is no room */
export async function findRoom({ context, input, access, own }: Reload): Promise<number> {
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

export async function replaceInPlace(reload: Reload, fence: Fence): Promise<void> {
  const { context, input, access, own } = reload;
  const { registries = noRegistries } = input;
  const { client } = access;
  let before = await readNode(client, own);
  const wasReady = isReady(before);
  const isDownAlone = !wasReady && (await isOnlyServer(reload));
  const probe = input.role === "server" && !isDownAlone ? await probeMembers(context, input, access) : undefined;
  const mayRestart = async (seconds: number): Promise<void> => {
    before = await readNode(client, own);
    const deadline = new Deadline("the control plane to be healthy", seconds, context.stop);
    for (;;) {
      await (probe ? requireQuorumWithout(own.name, probe, deadline, wasReady) : findRoom(reload));
      const looked = momentNow();
      await fence.check();
      // Another server may have fallen while the API took its time.
      if (msSince(looked) <= staysTrue) return;
      if (deadline.passed) throw new NotNow("the cluster's API takes seconds for an answer");
    }
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

/** How long what was seen of the others counts, in milliseconds; a lease is checked in far less. */
const staysTrue = 1000;

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
