import { UserErrors, type Problem } from "../runtime/errors.ts";
import type { Config } from "../config/config.ts";
import { hostOf, type ObservedCluster } from "./observed-cluster.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { isUnknownHost, silentHostOf } from "../clients/proxmox/errors.ts";
import { Row } from "../clients/proxmox/parse.ts";
import type { SlotPlan } from "../domain/model/types.ts";

type Site = Pick<Config["site"], "hosts" | "storage" | "storageOvercommit">;

/** A Proxmox host of the configuration, as a place for new VMs. */
export interface CandidateHost {
  host: string;
  /** Undefined: the host does not answer, so no new VM goes there. */
  storage: { freeGiB: number; shared: boolean } | undefined;
}

/**
 * Reads the state of the node VMs' storage on every host of the configuration.
 * @throws UserErrors that names the hosts that Proxmox does not know
 */
export async function readCandidateHosts(pve: Proxmox, site: Site): Promise<CandidateHost[]> {
  const unknown: Problem[] = [];
  const places = await Promise.all(
    site.hosts.map(async (host, index) => {
      const path = `/nodes/${host}/storage/${site.storage}/status`;
      try {
        const row = new Row(await pve.get(path), path);
        return { host, storage: { freeGiB: row.number("avail") / 1024 ** 3, shared: row.flag("shared") } };
      } catch (error) {
        if (isUnknownHost(error)) unknown.push(unknownHost(host, index));
        else if (silentHostOf(error) === undefined) throw error;
        return { host, storage: undefined };
      }
    }),
  );
  if (unknown.length > 0) throw new UserErrors(unknown);
  return places;
}

function unknownHost(host: string, index: number): Problem {
  return {
    what: `the configuration names the Proxmox host ${host}, and Proxmox knows none of that name`,
    where: `evergreen:site.hosts[${index}]`,
    todo: "correct the name (`pvesh get /nodes` lists them); take it out when that host was removed from the Proxmox cluster",
  };
}

/** The hosts that new VMs are made on. */
export function hostsThatAnswer(places: readonly CandidateHost[]): string[] {
  return places.filter(({ storage }) => storage !== undefined).map(({ host }) => host);
}

/** A line for each host that does not answer. */
export function hostWarnings(places: readonly CandidateHost[]): string[] {
  return places
    .filter(({ storage }) => storage === undefined)
    .map(({ host }) => `the Proxmox host ${host} does not answer: no new VM goes there`);
}

/**
 * Checks that every VM of this run can be made on its host.
 * @throws UserErrors that names each template that cannot be cloned to its host, and storages without enough space
 */
export function requireHosts(
  places: readonly CandidateHost[],
  site: Site,
  observed: ObservedCluster,
  made: readonly SlotPlan[],
): void {
  if (made.length === 0) return;
  const hosts = hostsThatAnswer(places);
  if (hosts.length === 0) throw new UserErrors([nowhere(places)]);
  const byHost = Map.groupBy(made, (slot) => hostOf(observed, hosts, slot));
  const problems = [...byHost].flatMap(([host, slots]) =>
    templateProblems(
      observed,
      places,
      host,
      site.storage,
      new Set(slots.map(({ generation }) => generation.spec.image)),
    ),
  );
  if (problems.length > 0) throw new UserErrors(problems);
  checkRoom(places, site, made, byHost);
}

function nowhere(places: readonly CandidateHost[]): Problem {
  return {
    what: "no Proxmox host of the configuration answers, and this run makes VMs",
    where: `evergreen:site.hosts: ${places.map(({ host }) => host).join(", ")}`,
    todo: 'bring one of them back, then run again (docs/recovery.md, "A Proxmox host is down")',
  };
}

/** A linked clone uses its template's storage: a clone on another host needs a storage that both hosts share. */
function templateProblems(
  observed: ObservedCluster,
  places: readonly CandidateHost[],
  host: string,
  storage: string,
  images: ReadonlySet<string>,
): Problem[] {
  const isShared = places.some((place) => place.host === host && place.storage?.shared === true);
  const isSilent = (name: string) => places.some((place) => place.host === name && place.storage === undefined);
  return [...images].flatMap((image): Problem[] => {
    const copies = observed.images.get(image)?.templates.map((template) => template.host) ?? [];
    if (copies.includes(host)) return [];
    const where = `VMs of ${image} on ${host}; the template is on ${copies.join(", ")}`;
    if (!isShared)
      return [
        {
          what: `the template ${image} is not on ${host}, and the storage ${storage} is not shared: no clone of it can be there`,
          where,
          todo: `copy the template to ${host}, with its name and its tags, put it on a shared storage, or take ${host} out of evergreen:site.hosts`,
        },
      ];
    if (copies.some((copy) => !isSilent(copy))) return [];
    return [
      {
        what: `the template ${image} cannot be cloned: the Proxmox host that holds it does not answer`,
        where,
        todo: "bring that host back, or move the template's configuration to another one: its storage is shared",
      },
    ];
  });
}

/** Checks the space for the new disks at their full size. A storage that is not shared is checked per host. */
function checkRoom(
  places: readonly CandidateHost[],
  { storage, storageOvercommit }: Site,
  made: readonly SlotPlan[],
  byHost: ReadonlyMap<string, readonly SlotPlan[]>,
): void {
  const problems = places.flatMap(({ host, storage: found }): Problem[] => {
    const here = found?.shared === true ? made : (byHost.get(host) ?? []);
    const needed = here.reduce((sum, { generation }) => sum + generation.spec.diskGiB, 0);
    if (found === undefined || needed <= found.freeGiB * storageOvercommit) return [];
    const times = storageOvercommit === 1 ? "" : `, times an overcommit of ${storageOvercommit}`;
    return [
      {
        what: `${here.length} new disks may grow to ${needed} GiB and ${Math.floor(found.freeGiB)} GiB are free${times}: old and new nodes exist side by side`,
        where: `storage ${storage} on ${host}`,
        todo: "free space there, lower the surge of the pool, use the rolling strategy, or raise evergreen:site.storageOvercommit where thin disks stay small",
      },
    ];
  });
  // A shared storage is one storage, so one problem is enough, whichever host reported it.
  const [first] = problems;
  const isShared = places.some((place) => place.storage?.shared === true);
  if (first) throw new UserErrors(isShared ? [first] : problems);
}
