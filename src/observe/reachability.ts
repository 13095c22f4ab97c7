import { clock } from "../runtime/clock.ts";
import { UserError } from "../runtime/errors.ts";
import { SERVER_POOL } from "../config/config.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { KubernetesError } from "../clients/kubernetes/errors.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { readVm } from "../clients/proxmox/vms.ts";
import { quorumOf } from "../domain/availability/quorum.ts";
import type { ObservedVm } from "../domain/model/types.ts";

/*
 * Why a cluster that exists cannot be asked. A server starts with its host once it was claimed (a claim turns that on, a
 * retirement off), so Proxmox knows the members when nobody else does.
 */

const LOST_QUORUM = 'docs/recovery.md, "The quorum is lost"';

/** Milliseconds for the one question whether the API serves. */
const patienceMs = 5_000;

/**
 * Without a way into the cluster there must not be one yet: one whose servers are down now is an outage, and planning on an
 * empty picture would make a second cluster.
 */
export async function requireReachableCluster(pve: Proxmox, vms: readonly ObservedVm[]): Promise<void> {
  const members = (await serversThatStart(pve, vms)).map(({ name }) => name);
  const agents = vms.filter((vm) => vm.pool !== SERVER_POOL && vm.running).map((vm) => vm.name);
  if (members.length === 0 && agents.length === 0) return;
  throw new UserError({
    what: "the cluster exists but none of its servers answers",
    where: `${members.length > 0 ? `servers that were members: ${members.join(", ")}` : "no server VM at all"}; agents that run: ${agents.join(", ") || "none"}`,
    todo: `start the server VMs and wait until the API answers (${LOST_QUORUM}); to give the cluster up, destroy the stack; to take one over that others made, adopt its servers too (npx evergreen adopt)`,
  });
}

/**
 * With too few servers running nothing that the API says can be relied on, if it says anything within minutes.
 * @throws UserError that names every server and the recipe to follow
 */
export async function requireQuorum(pve: Proxmox, vms: readonly ObservedVm[], client: Kubernetes): Promise<void> {
  const servers = vms.filter(({ pool }) => pool === SERVER_POOL);
  const runs = servers.filter(({ running }) => running);
  const off = await serversThatStart(
    pve,
    servers.filter(({ running, unreachable }) => !running && unreachable === undefined),
  );
  // One that cannot be asked is a member that nobody can count on.
  const away = servers.filter(({ unreachable }) => unreachable !== undefined);
  const members = runs.length + off.length + away.length;
  if (runs.length >= quorumOf(members)) return;
  // One that was made anew from a snapshot has fewer members than there are VMs.
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

/** @throws UserError in the place of an answer which says that the API server is there and its etcd is not */
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

/** Also those that cannot be asked: there may be a cluster that only they know. */
async function serversThatStart(pve: Proxmox, vms: readonly ObservedVm[]): Promise<ObservedVm[]> {
  const servers = vms.filter(({ pool }) => pool === SERVER_POOL);
  const starts = await Promise.all(
    servers.map(async (vm) => vm.unreachable !== undefined || (await readVm(pve, vm)).onBoot),
  );
  return servers.filter((_, index) => starts[index]);
}
