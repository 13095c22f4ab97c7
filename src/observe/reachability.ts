import { clock } from "../runtime/clock.ts";
import { UserError } from "../runtime/errors.ts";
import { SERVER_POOL } from "../config/config.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { isGoingAway, isMarkedMember } from "../clients/proxmox/membership.ts";
import { isUntoldFounder } from "../clients/proxmox/untold.ts";
import { KubernetesError } from "../clients/kubernetes/errors.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { readVm } from "../clients/proxmox/vms.ts";
import { quorumOf } from "../domain/availability/quorum.ts";
import type { ObservedVm } from "../domain/model/types.ts";

/* Why an existing cluster cannot be reached: what its VMs show of it when no API server answers. */

const LOST_QUORUM = 'docs/recovery.md, "The quorum is lost"';

const ALL_LOST = 'docs/recovery.md, "All servers are lost, and a snapshot is left"';

/** Longest wait for the API server's readiness, in milliseconds. */
const patienceMs = 5_000;

/** What a server's VM shows of a cluster. */
interface Seen {
  vm: ObservedVm;
  /** Whether there is a cluster that it belongs to. */
  isMember: boolean;
  /** Whether a destroy of that cluster has begun. */
  isGoingAway: boolean;
}

/**
 * Checks, when there is no connection to the cluster, that the cluster does not exist yet. If it exists and its servers
 * are down, this is an outage, and a plan on an empty observed state would make a second cluster.
 * @throws UserError that names the servers that were members and the agents that run
 */
export async function requireReachableCluster(pve: Proxmox, vms: readonly ObservedVm[]): Promise<void> {
  const servers = await Promise.all(vms.filter(({ pool }) => pool === SERVER_POOL).map((vm) => lookAt(pve, vm)));
  const members = servers.filter(({ isMember }) => isMember).map(({ vm }) => inWords(vm));
  const agents = vms.filter((vm) => vm.pool !== SERVER_POOL && vm.running).map((vm) => vm.name);
  if (members.length === 0 && agents.length === 0) {
    refuseFormer(vms);
    return;
  }
  const isDestroyed = servers.some(({ isGoingAway }) => isGoingAway);
  throw new UserError({
    what: "the cluster exists but none of its servers answers",
    where: `${members.length > 0 ? `servers that were members: ${members.join(", ")}` : "no server VM in sight of the token"}; agents that run: ${agents.join(", ") || "none"}`,
    todo: `${isDestroyed ? "a destroy of it was broken off: go on with it (pulumi destroy), or, when the cluster stays, " : ""}start the server VMs (qm start on their Proxmox hosts), back in the Proxmox pool if they were moved out of it, wait until the API answers, then run again (${LOST_QUORUM}); if all of them are lost: ${ALL_LOST}; if none of them has ever served: docs/recovery.md, "A first creation did not get through"; to give the cluster up: docs/recovery.md, "Give up a cluster that does not answer"; to take one over that others made, adopt its servers too (npx evergreen adopt)`,
  });
}

/**
 * VMs that left their cluster, as one that is kept for its data, stay its VMs: beside them the next cluster of the name
 * would be another one.
 */
function refuseFormer(vms: readonly ObservedVm[]): void {
  const former = vms.filter(({ uidTag }) => uidTag !== undefined);
  if (former.length === 0) return;
  throw new UserError({
    what: "VMs of an earlier cluster of this name exist, and none of its servers is seen",
    where: former.map((vm) => `${inWords(vm)} has ${vm.uidTag ?? ""}`).join("; "),
    todo: `bring its servers back, when they were moved out of the Proxmox pool, or can be restored from a backup (${LOST_QUORUM}); if they are lost, or the cluster is given up, destroy these VMs in Proxmox VE once nobody needs what is on their disks, have the engine forget them (npx pulumi refresh) and go on: another cluster is made then, in which a snapshot can be restored (${ALL_LOST})`,
  });
}

async function lookAt(pve: Proxmox, vm: ObservedVm): Promise<Seen> {
  // It could be a member: nobody can say.
  if (vm.unreachable !== undefined) return { vm, isMember: true, isGoingAway: false };
  if (vm.running && (await isUntoldFounder(pve, vm))) return { vm, isMember: false, isGoingAway: false };
  const isLeaving = await isGoingAway(pve, vm);
  const isMember = vm.running || isLeaving || isMarkedMember(await readVm(pve, vm), vm);
  return { vm, isMember, isGoingAway: isLeaving };
}

const inWords = ({ name, vmid, host }: ObservedVm): string => `${name} (VM ${vmid} on ${host})`;

/**
 * Checks that enough servers run for a quorum: without it the API's answers are not reliable, and can take minutes.
 * @throws UserError that names every server and the recovery recipe to follow
 */
export async function requireQuorum(pve: Proxmox, vms: readonly ObservedVm[], client: Kubernetes): Promise<void> {
  const servers = vms.filter(({ pool }) => pool === SERVER_POOL);
  const runs = servers.filter(({ running }) => running);
  const off = await findMembers(
    pve,
    servers.filter(({ running, unreachable }) => !running && unreachable === undefined),
  );
  // A server on a host that does not answer is a member, but it does not count as running.
  const away = servers.filter(({ unreachable }) => unreachable !== undefined);
  const members = runs.length + off.length + away.length;
  if (runs.length >= quorumOf(members)) return;
  // A cluster that was restored from a snapshot has fewer members than VMs, so a ready API server is enough.
  if (await client.isReady(clock.timeout(patienceMs))) return;
  throw new UserError({
    what: `etcd has lost its quorum: ${runs.length} of ${members} servers ${runs.length === 1 ? "runs" : "run"}, and ${quorumOf(members)} are needed`,
    where: [
      ...off.map(({ name, vmid }) => `${name} (VM ${vmid}) is off`),
      ...away.map(({ name, host }) => `${name} is on ${host}, which does not answer`),
      ...runs.map(({ name }) => `${name} runs`),
    ].join("; "),
    todo: `start the server VMs that are off, and delete nothing: ${LOST_QUORUM}`,
  });
}

/** @throws UserError instead of an error that means that the API server answers and its etcd does not (status 5xx) */
export async function explainUnreachable<T>(vms: readonly ObservedVm[], question: Promise<T>): Promise<T> {
  return await question.catch((error: unknown) => {
    if (!(error instanceof KubernetesError) || error.status < 500) throw error;
    const servers = vms.filter(({ pool }) => pool === SERVER_POOL);
    throw new UserError(
      {
        what: `the cluster's API answers and does not serve: ${error.message}`,
        where: servers.map(powerOf).join("; "),
        todo: `look at rke2-server on the servers that run; when most of them have lost their data: ${LOST_QUORUM}`,
      },
      { cause: error },
    );
  });
}

function powerOf({ name, host, running, unreachable }: ObservedVm): string {
  if (unreachable !== undefined) return `${name} is on ${host}, which does not answer`;
  return `${name} ${running ? "runs" : "is off"}`;
}

/** Those that are members as far as their configuration says. */
async function findMembers(pve: Proxmox, vms: readonly ObservedVm[]): Promise<ObservedVm[]> {
  const are = await Promise.all(vms.map(async (vm) => isMarkedMember(await readVm(pve, vm), vm)));
  return vms.filter((_, index) => are[index]);
}
