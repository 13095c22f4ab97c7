import { clock } from "../../runtime/clock.ts";
import { messageOf, UserError, UserErrors, type Problem } from "../../runtime/errors.ts";
import { readGoingAwayNote, writeGoingAwayNote } from "../proxmox/notes.ts";
import type { Proxmox } from "../proxmox/client.ts";
import { nodeTags } from "../proxmox/tags.ts";
import type { ListedVm } from "../proxmox/vms.ts";
import { isAdopted } from "../../domain/model/generation.ts";
import { serverVms, type ClusterSite } from "./access.ts";
import type { Kubernetes } from "./client.ts";
import { readGoingAway, writeGoingAway } from "./cluster-record.ts";

/*
 * A teardown is marked in two places: in the cluster itself, which decides while it can be asked, and in the notes of
 * its servers' VMs, which decide when it can no longer be asked. The notes are written first and removed first, so that
 * none remains that the cluster does not know of.
 */

/** The sources that tell whether a cluster is being torn down. */
export interface Witnesses {
  pve: Proxmox;
  site: ClusterSite;
  vms: readonly ListedVm[];
  /** Undefined: there is no connection to the cluster, or it does not serve. */
  client: Kubernetes | undefined;
}

/** Milliseconds for the check whether the API serves: without a quorum it takes minutes to fail. */
const patienceMs = 5_000;

/** The connection to the cluster, if the cluster serves now. */
export async function findServing<T extends { client: Kubernetes }>(access: T | undefined): Promise<T | undefined> {
  return access && (await access.client.isReady(clock.timeout(patienceMs))) ? access : undefined;
}

/**
 * Whether the whole cluster is being torn down at this moment. @throws when a VM's notes are needed and cannot be read
 */
export async function isBeingTornDown({ pve, site, vms, client }: Witnesses): Promise<boolean> {
  if (client) return await readGoingAway(client);
  const servers = serverVms(vms, site);
  const notes = await Promise.all(servers.map((vm) => readGoingAwayNote(pve, vm)));
  return notes.length > 0 && notes.every((since) => since !== undefined);
}

/**
 * Marks the teardown in every place, or in none. Several steps of a destroy may do so side by side.
 * @returns the number of servers
 * @throws UserError when servers were adopted, and UserErrors that name the servers whose VMs cannot be marked
 */
export async function announceTeardown(witnesses: Witnesses, since: string): Promise<number> {
  const { client, site, vms } = witnesses;
  requireNoneAdopted(witnesses);
  // The VMs may have lost their notes since: an update that withdraws an earlier destroy removes the notes first.
  const isMarked = client !== undefined && (await readGoingAway(client));
  const { changed, failed } = await noteServers(witnesses, since);
  try {
    if (failed.length > 0) throw new UserErrors(failed);
    if (client && !isMarked) await writeGoingAway(client, since);
    return serverVms(vms, site).length;
  } catch (error) {
    // Another step may have marked the cluster meanwhile, on the strength of these notes. In doubt they stay.
    const isMarkedNow = client !== undefined && (await readGoingAway(client).catch(() => true));
    if (!isMarked && !isMarkedNow) await noteServers({ ...witnesses, vms: changed }, undefined);
    throw error;
  }
}

/**
 * Completes the notes of a teardown that the cluster has a mark of: an update may have been killed while it took the marks
 * back. Once the first server is off, only the notes can tell.
 * @throws UserErrors that name the servers whose VMs cannot be marked
 */
export async function writeTeardownNotes(witnesses: Witnesses, since: string): Promise<void> {
  const { failed } = await noteServers(witnesses, since);
  if (failed.length > 0) throw new UserErrors(failed);
}

/**
 * Requires that the servers of a cluster go with it: the engine has no VM of one that was adopted, so the cluster would
 * live on, and its other nodes be turned off with pods on them. Nothing is refused where nothing of ours is left.
 * @throws UserError
 */
export function requireNoneAdopted({ site, vms }: Pick<Witnesses, "site" | "vms">): void {
  const isAdoptedVm = ({ name = "", tags }: ListedVm) =>
    isAdopted({ name, generation: nodeTags(tags)?.generation ?? "" });
  const stay = serverVms(vms, site).filter(isAdoptedVm);
  const isOurs = ({ template, pool, tags }: ListedVm) =>
    !template && pool === site.proxmoxPool && nodeTags(tags)?.cluster === site.cluster;
  if (stay.length === 0 || !vms.some((vm) => isOurs(vm) && !isAdoptedVm(vm))) return;
  throw new UserError({
    what: `the cluster ${site.cluster} cannot be destroyed while servers of it are adopted`,
    where: stay.map(({ name = "a server", vmid, host }) => `${name} (VM ${vmid} on ${host})`).join(", "),
    todo: "nothing was destroyed: a destroy leaves the machines of these running, and would turn the other nodes off with pods on them. To take our nodes out of a cluster that lives on, remove its pools from the configuration and run pulumi up, which drains them; to take the cluster away, let pulumi up replace its adopted servers first (docs/production.md), then pulumi destroy",
  });
}

/**
 * Withdraws the marks of a destroy that was interrupted or refused: the cluster stays. When the cluster itself has no
 * mark, a VM whose notes cannot be read now is left as it is. One that is seen to have the mark is not: it would decide
 * once the cluster cannot be asked.
 * @returns whether there was anything to withdraw
 * @throws UserErrors that name the servers whose VMs keep the mark; the cluster then keeps it too, and the next run
 * tries again
 */
export async function withdrawTeardown(witnesses: Witnesses): Promise<boolean> {
  const { client } = witnesses;
  const marked = client !== undefined && (await readGoingAway(client));
  const { changed, failed, kept } = await noteServers(witnesses, undefined);
  const stays = marked || client === undefined ? failed : kept;
  if (stays.length > 0) throw new UserErrors(stays);
  if (marked) await writeGoingAway(client, undefined);
  return changed.length > 0 || marked;
}

/**
 * @returns which VMs were changed, why some could not be, and which of these are seen to have the mark
 */
async function noteServers(
  { pve, site, vms }: Witnesses,
  since: string | undefined,
): Promise<{ changed: ListedVm[]; failed: Problem[]; kept: Problem[] }> {
  const changed: ListedVm[] = [];
  const [failed, kept]: [Problem[], Problem[]] = [[], []];
  for (const server of serverVms(vms, site)) {
    let isSaid = false;
    try {
      isSaid = (await readGoingAwayNote(pve, server)) !== undefined;
      if (isSaid !== (since !== undefined) && (await writeGoingAwayNote(pve, server, since))) changed.push(server);
    } catch (error) {
      const problem = {
        what: `the notes of ${server.name ?? "a server"} cannot be written: ${messageOf(error)}`,
        where: `VM ${server.vmid} on ${server.host}, where it says whether the cluster ${site.cluster} is being destroyed`,
        todo: "nothing is destroyed before. Wait until Proxmox VE lets that VM be changed (a lock, a host that is off, a cluster without quorum), then run again",
      };
      failed.push(problem);
      if (isSaid) kept.push(problem);
    }
  }
  return { changed, failed, kept };
}
