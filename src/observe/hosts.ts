import { UserErrors, type Problem } from "../runtime/errors.ts";
import type { Config } from "../config/config.ts";
import { placementsOf, type Placement } from "../config/placement.ts";
import type { ObservedCluster } from "./observed-cluster.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { isUnknownHost, silentHostOf } from "../clients/proxmox/errors.ts";
import { Row } from "../clients/proxmox/parse.ts";
import type { SlotPlan } from "../domain/model/types.ts";

/** A storage on a Proxmox host of the configuration, as a place for new VMs. */
export interface CandidateHost {
  host: string;
  storage: string;
  /** Undefined: the host does not answer, so no new VM goes there. */
  found: { freeGiB: number; shared: boolean } | undefined;
}

/** A pool, and the VMs that a run makes for it. */
export interface NewVms {
  placement: Placement;
  made: readonly SlotPlan[];
}

/** Proxmox host of each VM that a run makes, by its name. */
export type Places = ReadonlyMap<string, string>;

/** The place of a VM that a run makes. */
export function placeOf(places: Places, name: string): string {
  const host = places.get(name);
  if (host === undefined) throw new Error(`${name} was given no host`);
  return host;
}

/**
 * Reads the state of every storage of node VMs, on every host that it is used on.
 * @throws UserErrors that names the hosts that Proxmox does not know
 */
export async function readCandidateHosts(
  pve: Proxmox,
  config: Pick<Config, "controlPlane" | "pools" | "site">,
): Promise<CandidateHost[]> {
  const unknown: Problem[] = [];
  const wanted = placementsOf(config).flatMap(({ hosts, storage, furtherStorages, where }) =>
    hosts.flatMap((host, index) =>
      [storage, ...furtherStorages].map((name) => ({ host, storage: name, where: `${where.hosts}[${index}]` })),
    ),
  );
  const [...different] = Map.groupBy(wanted, ({ host, storage }) => `${host} ${storage}`).values();
  const candidates = await Promise.all(
    different
      .flatMap(([first]) => first ?? [])
      .map(async ({ host, storage, where }): Promise<CandidateHost> => {
        const path = `/nodes/${host}/storage/${storage}/status`;
        try {
          const row = new Row(await pve.get(path), path);
          return { host, storage, found: { freeGiB: row.number("avail") / 1024 ** 3, shared: row.flag("shared") } };
        } catch (error) {
          if (isUnknownHost(error)) unknown.push(unknownHost(host, where));
          else if (silentHostOf(error) === undefined) throw error;
          return { host, storage, found: undefined };
        }
      }),
  );
  if (unknown.length > 0) throw new UserErrors(unknown);
  return candidates;
}

function unknownHost(host: string, where: string): Problem {
  return {
    what: `the configuration names the Proxmox host ${host}, and Proxmox knows none of that name`,
    where,
    todo: "correct the name (`pvesh get /nodes` lists them); take it out when that host was removed from the Proxmox cluster",
  };
}

/** The hosts of a pool that answer. */
export function hostsThatAnswer(candidates: readonly CandidateHost[], { hosts, storage }: Placement): string[] {
  return hosts.filter((host) => foundOn(candidates, host, storage) !== undefined);
}

function foundOn(candidates: readonly CandidateHost[], host: string, storage: string): CandidateHost["found"] {
  return candidates.find((one) => one.host === host && one.storage === storage)?.found;
}

/** A line for each host that does not answer. */
export function hostWarnings(candidates: readonly CandidateHost[]): string[] {
  const silent = candidates.filter(({ found }) => found === undefined).map(({ host }) => host);
  return [...new Set(silent)].map((host) => `the Proxmox host ${host} does not answer: no new VM goes there`);
}

/**
 * Checks that every VM of this run can be made on its host.
 * @param overcommit factor by which new disks may exceed the free space
 * @throws UserErrors that names each template that cannot be cloned to its host, and storages without enough space
 */
export function requireHosts(
  candidates: readonly CandidateHost[],
  overcommit: number,
  observed: ObservedCluster,
  places: Places,
  vms: readonly NewVms[],
): void {
  const needed = vms.filter(({ made }) => made.length > 0);
  const lost = needed.filter(({ made }) => made.some(({ name }) => !places.has(name)));
  if (lost.length > 0) throw new UserErrors(lost.map(({ placement }) => nowhere(placement)));
  const disks = needed.flatMap(({ placement, made }) =>
    made.map((slot) => ({
      host: placeOf(places, slot.name),
      storage: placement.storage,
      where: placement.where.hosts,
      spec: slot.generation.spec,
    })),
  );
  const byPlace = Map.groupBy(disks, ({ host, storage, spec }) => `${host} ${storage} ${spec.image}`);
  const problems = [...byPlace.values()].flatMap(([one]) =>
    one === undefined ? [] : templateProblems(observed, candidates, { ...one, image: one.spec.image }),
  );
  if (problems.length > 0) throw new UserErrors(problems);
  const all = disks.flatMap(({ host, storage, spec: { diskGiB, hardware } }) => [
    { host, storage, sizeGiB: diskGiB },
    ...(hardware?.disks ?? []).map((disk) => ({ host, storage: disk.storage ?? storage, sizeGiB: disk.sizeGiB })),
  ]);
  checkRoom(candidates, overcommit, all);
}

function nowhere({ hosts, where }: Placement): Problem {
  return {
    what: "no Proxmox host of the configuration answers, and this run makes VMs",
    where: `${where.hosts}: ${hosts.join(", ")}`,
    todo: 'bring one of them back, then run again (docs/recovery.md, "A Proxmox host is down")',
  };
}

/** A linked clone uses its template's storage: a clone on another host needs a storage that both hosts share. */
function templateProblems(
  observed: ObservedCluster,
  candidates: readonly CandidateHost[],
  { host, storage, image, where: path }: { host: string; storage: string; image: string; where: string },
): Problem[] {
  const isSilent = (name: string) => candidates.some((one) => one.host === name && one.found === undefined);
  const copies = observed.images.get(image)?.templates.map((template) => template.host) ?? [];
  if (copies.includes(host)) return [];
  const where = `VMs of ${image} on ${host}; the template is on ${copies.join(", ")}`;
  if (foundOn(candidates, host, storage)?.shared !== true)
    return [
      {
        what: `the template ${image} is not on ${host}, and the storage ${storage} is not shared: no clone of it can be there`,
        where,
        todo: `copy the template to ${host}, with its name and its tags, put it on a shared storage, or take ${host} out of ${path}`,
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
}

/** Checks the space for the new disks at their full size. A storage that is not shared is checked per host. */
function checkRoom(
  candidates: readonly CandidateHost[],
  overcommit: number,
  disks: readonly { host: string; storage: string; sizeGiB: number }[],
): void {
  const checked = new Set<string>();
  const problems = candidates.flatMap(({ host, storage, found }): Problem[] => {
    // A shared storage is one storage, whichever host reports it.
    if (found === undefined || checked.has(storage)) return [];
    if (found.shared) checked.add(storage);
    const here = disks.filter((disk) => disk.storage === storage && (found.shared || disk.host === host));
    const needed = here.reduce((sum, { sizeGiB }) => sum + sizeGiB, 0);
    if (needed <= found.freeGiB * overcommit) return [];
    const times = overcommit === 1 ? "" : `, times an overcommit of ${overcommit}`;
    return [
      {
        what: `${here.length} new disks may grow to ${needed} GiB and ${Math.floor(found.freeGiB)} GiB are free${times}: old and new nodes exist side by side`,
        where: `storage ${storage} on ${host}`,
        todo: "free space there, lower the surge of the pool, use the rolling strategy, or raise evergreen:site.storageOvercommit where thin disks stay small",
      },
    ];
  });
  if (problems.length > 0) throw new UserErrors(problems);
}
